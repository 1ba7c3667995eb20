"""A client of `mrigen serve`: samples and jobs over HTTP, with patience where the server asks for it.

    with Client("http://127.0.0.1:8000") as client:
        [sample] = client.samples("Glioblastoma", "FLAIR", seed=7, format="png")
        job = client.order(cells="GBM:T1ce=5000", seed=1)
        client.wait(job["id"])
        client.download(job["id"], "set.zip")

`AsyncClient` has the same methods, to be awaited. Both need `pip install 'mrigen[client]'`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import json
import os
import time
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Concatenate, Generic, Literal, ParamSpec, Self, TypeVar

try:
    import httpx
except ImportError:
    raise ImportError("mrigen.client needs httpx: pip install 'mrigen[client]'") from None

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)
Answer = dict[str, Any]

RETRY_S = 2.0
"""Wait before another try where the server does not tell."""
_GONE = (httpx.NetworkError, httpx.RemoteProtocolError, httpx.ConnectTimeout)
"""What happens where a server is gone for a while."""
_LEAST_POLL_S, _MOST_POLL_S = 1.0, 30.0


class ServeError(Exception):
    """The server refused a request, and would not take it later either, or not within the client's patience."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(f"{status}: {detail}")
        self.status, self.detail = status, detail

    @classmethod
    def of(cls, response: httpx.Response) -> Self:
        """What an answer tells."""
        try:
            return cls(response.status_code, response.json()["detail"])
        except (ValueError, KeyError, TypeError):  # of a proxy before it
            return cls(response.status_code, response.text[:200])


class JobFailed(Exception):
    """A job came to an end without its data set; the message is the server's reason."""


@dataclass(frozen=True)
class SampleFile:
    """One sample as the file that was asked for, with all that makes it again."""

    name: str
    content: bytes
    facts: Mapping[str, Any]


class _Calls(ABC, Generic[Http]):
    """What both clients do; they differ in how a request is sent and a time is waited."""

    _connect: type[Http]

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        patience_s: float = 300.0,
        timeout_s: float = 330.0,
    ) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}
        self._http: Http = self._connect(base_url=url, headers=headers, timeout=timeout_s)
        self._patience_s = patience_s

    @abstractmethod
    async def _send(self, request: httpx.Request, stream: bool) -> httpx.Response:
        """The answer; a good one's body is left to be taken if it is a `stream`."""

    @abstractmethod
    async def _take(self, response: httpx.Response, file: BinaryIO) -> None:
        """Write what is left of an answer to a file."""

    @abstractmethod
    async def _sleep(self, seconds: float) -> None:
        """Let so much time pass."""

    async def _answer(
        self, method: str, path: str, body: Answer | None = None, *, stream: bool = False
    ) -> httpx.Response:
        """A good answer; where the server asks to come again later, after that time."""
        waited, once = 0.0, (method, path) == ("POST", "/v1/jobs")  # a second order would be a second job
        while True:
            wait_s, fault = RETRY_S, Exception()
            try:
                response = await self._send(self._http.build_request(method, path, json=body), stream)
            except _GONE as error:
                if once and not isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
                    raise
                fault = error
            else:
                if response.is_success:
                    return response
                fault = ServeError.of(response)
                # Ray Serve's own 500, where a front was lost, has no id.
                lost = response.status_code == 500 and "x-request-id" not in response.headers and not once
                if response.status_code not in (429, 503) and not lost:
                    raise fault
                wait_s = _seconds(response.headers.get("retry-after", ""))
            waited += wait_s
            if waited > self._patience_s:
                raise fault
            await self._sleep(wait_s)

    async def _json(self, method: str, path: str, body: Answer | None = None) -> Any:
        response = await self._answer(method, path, body)
        try:
            return response.json()
        except ValueError:
            raise _stranger(response) from None

    async def _images(
        self, method: str, path: str, body: Answer | None = None, *, stream: bool = False
    ) -> httpx.Response:
        response = await self._answer(method, path, body, stream=stream)
        if "x-mrigen-synthetic" not in response.headers:
            raise _stranger(response)
        return response


class AsyncClient(_Calls[httpx.AsyncClient]):
    """As `Client`, with methods to be awaited."""

    _connect = httpx.AsyncClient

    async def model(self) -> Answer:
        """The model that draws where none is named."""
        return dict(await self._json("GET", "/v1/model"))

    async def models(self) -> list[Answer]:
        """All models of the server; `samples` and `order` choose by `model=` and a name."""
        return list(await self._json("GET", "/v1/models"))

    async def samples(self, /, pathology: str, modality: str, **fields: Any) -> list[SampleFile]:
        """Draw samples; `fields` are the others of `POST /v1/samples`."""
        body = {"pathology": pathology, "modality": modality, **fields}
        response = await self._images("POST", "/v1/samples", body)
        if response.headers["content-type"] == "application/zip":
            archive = zipfile.ZipFile(io.BytesIO(response.content))
            entries = json.loads(archive.read("index.json"))["samples"]
            return [SampleFile(entry["file"], archive.read(entry["file"]), entry) for entry in entries]
        name = response.headers["content-disposition"].partition('filename="')[2].rstrip('"')
        return [SampleFile(name, response.content, _facts(response.headers))]

    async def order(self, /, **fields: Any) -> Answer:
        """Order a data set by the fields of `POST /v1/jobs`; gives the job."""
        return dict(await self._json("POST", "/v1/jobs", fields))

    async def jobs(self) -> list[Answer]:
        """The jobs of this key."""
        return list(await self._json("GET", "/v1/jobs"))

    async def job(self, job_id: str) -> Answer:
        """How far a job is."""
        return dict(await self._json("GET", f"/v1/jobs/{job_id}"))

    async def wait(self, job_id: str) -> Answer:
        """The job, once it is done. Raises JobFailed."""
        while True:
            job: Answer = await self._json("GET", f"/v1/jobs/{job_id}")
            if job["status"] == "failed":
                raise JobFailed(job["detail"])
            if job["status"] == "done":
                return job
            await self._sleep(min(max((job["seconds_left"] or 0) / 10, _LEAST_POLL_S), _MOST_POLL_S))

    async def cancel(self, job_id: str) -> None:
        """Cancel a job, or remove one that has ended, with its samples."""
        await self._answer("DELETE", f"/v1/jobs/{job_id}")

    async def download(
        self, job_id: str, file: str | os.PathLike[str], kind: Literal["zip", "parquet"] = "zip"
    ) -> None:
        """Write the data set of a job to a file, which is there when it is whole."""
        with _written(file) as written:
            path = f"/v1/jobs/{job_id}/samples.{kind}"
            await self._take(await self._images("GET", path, stream=True), written)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.aclose()

    async def _send(self, request: httpx.Request, stream: bool) -> httpx.Response:
        response = await self._http.send(request, stream=stream)
        if not response.is_success:
            await response.aread()
        return response

    async def _take(self, response: httpx.Response, file: BinaryIO) -> None:
        try:
            async for piece in response.aiter_bytes():
                file.write(piece)
        finally:
            await response.aclose()

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def _at_once(
    call: Callable[Concatenate[Any, Arguments], Coroutine[Any, Any, Result]],
) -> Callable[Concatenate[Any, Arguments], Result]:
    """A method of `AsyncClient` for a client whose every step is there at once."""

    @functools.wraps(call)
    def called(self: Any, /, *args: Arguments.args, **fields: Arguments.kwargs) -> Result:
        try:
            call(self, *args, **fields).send(None)
        except StopIteration as ended:
            result: Result = ended.value
            return result
        raise AssertionError("a step was not there at once")

    return called


class Client(_Calls[httpx.Client]):
    """Asks a server, and waits up to `patience_s` in a call where it is full, or gone for a while.

    Calls raise `ServeError` with the server's status and reason, or httpx's TransportError where it does not answer.
    """

    _connect = httpx.Client

    model = _at_once(AsyncClient.model)
    models = _at_once(AsyncClient.models)
    samples = _at_once(AsyncClient.samples)
    order = _at_once(AsyncClient.order)
    jobs = _at_once(AsyncClient.jobs)
    job = _at_once(AsyncClient.job)
    wait = _at_once(AsyncClient.wait)
    cancel = _at_once(AsyncClient.cancel)
    download = _at_once(AsyncClient.download)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    async def _send(self, request: httpx.Request, stream: bool) -> httpx.Response:
        response = self._http.send(request, stream=stream)
        if not response.is_success:
            response.read()
        return response

    async def _take(self, response: httpx.Response, file: BinaryIO) -> None:
        with contextlib.closing(response):
            for piece in response.iter_bytes():
                file.write(piece)

    async def _sleep(self, seconds: float) -> None:
        time.sleep(seconds)


def _seconds(told: str) -> float:
    """What `Retry-After` tells, where it is seconds: a proxy may tell a date."""
    return float(told) if told.isdecimal() else RETRY_S


def _stranger(response: httpx.Response) -> ServeError:
    return ServeError(response.status_code, f"{response.url} does not answer as mrigen serve does: is the URL right?")


def _facts(headers: httpx.Headers) -> dict[str, Any]:
    """What `index.json` tells of a sample, of the headers of one that is answered alone."""
    renamed = {"sample_seed": "seed", "seed": "request_seed"}
    prefix = "x-mrigen-"
    told = {name.removeprefix(prefix).replace("-", "_"): headers[name] for name in headers if name.startswith(prefix)}
    return {renamed.get(name, name): _value(text) for name, text in told.items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


@contextlib.contextmanager
def _written(file: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file that is there once it is whole."""
    target = Path(file)
    partial = target.with_name(f".{target.name}.part")
    try:
        with partial.open("wb") as opened:
            yield opened
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
