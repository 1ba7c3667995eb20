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
import io
import json
import os
import time
import zipfile
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Generic, Literal, Self, TypeVar

try:
    import httpx
except ImportError:
    raise ImportError("mrigen.client needs httpx: pip install 'mrigen[client]'") from None

Result = TypeVar("Result")
Http = TypeVar("Http", httpx.Client, httpx.AsyncClient)
Steps = Generator[httpx.Request | float, Any, Result]
"""What a call does: it yields requests, for which it is sent their answers, and seconds to wait."""
Answer = dict[str, Any]

RETRY_S = 2.0
"""Wait before another try where the server does not tell."""
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


class _Calls(Generic[Http]):
    """What both clients do, as steps; they differ in how a step is taken."""

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

    def _answer(self, method: str, path: str, body: Answer | None = None) -> Steps[httpx.Response]:
        """A good answer; where the server asks to come again later, after that time."""
        waited, once = 0.0, (method, path) == ("POST", "/v1/jobs")  # a second order would be a second job
        while True:
            wait_s, fault = RETRY_S, Exception()
            try:
                response: httpx.Response = yield self._http.build_request(method, path, json=body)
            except httpx.TransportError as error:
                if once and not isinstance(error, httpx.ConnectError):
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
                wait_s = float(response.headers.get("retry-after", RETRY_S))
            waited += wait_s
            if waited > self._patience_s:
                raise fault
            yield wait_s

    def _json(self, method: str, path: str, body: Answer | None = None) -> Steps[Any]:
        response = yield from self._answer(method, path, body)
        return response.json() if response.content else None

    def _samples(self, body: Answer) -> Steps[list[SampleFile]]:
        response = yield from self._answer("POST", "/v1/samples", body)
        if response.headers["content-type"] == "application/zip":
            archive = zipfile.ZipFile(io.BytesIO(response.content))
            entries = json.loads(archive.read("index.json"))["samples"]
            return [SampleFile(entry["file"], archive.read(entry["file"]), entry) for entry in entries]
        name = response.headers["content-disposition"].partition('filename="')[2].rstrip('"')
        return [SampleFile(name, response.content, _facts(response.headers))]

    def _ended(self, job_id: str) -> Steps[Answer]:
        while True:
            job: Answer = yield from self._json("GET", f"/v1/jobs/{job_id}")
            if job["status"] == "failed":
                raise JobFailed(job["detail"])
            if job["status"] == "done":
                return job
            yield min(max((job["seconds_left"] or 0) / 10, _LEAST_POLL_S), _MOST_POLL_S)


class Client(_Calls[httpx.Client]):
    """Asks a server, and waits up to `patience_s` in a call where it is full, or gone for a while.

    Calls raise `ServeError` with the server's status and reason, or httpx's TransportError where it does not answer.
    """

    _connect = httpx.Client

    def model(self) -> Answer:
        """The model behind the server."""
        return dict(self._take(self._json("GET", "/v1/model")))

    def samples(self, pathology: str, modality: str, **fields: Any) -> list[SampleFile]:
        """Draw samples; `fields` are the others of `POST /v1/samples`."""
        return self._take(self._samples({"pathology": pathology, "modality": modality, **fields}))

    def order(self, **fields: Any) -> Answer:
        """Order a data set by the fields of `POST /v1/jobs`; gives the job."""
        return dict(self._take(self._json("POST", "/v1/jobs", fields)))

    def jobs(self) -> list[Answer]:
        """The jobs of this key."""
        return list(self._take(self._json("GET", "/v1/jobs")))

    def job(self, job_id: str) -> Answer:
        """How far a job is."""
        return dict(self._take(self._json("GET", f"/v1/jobs/{job_id}")))

    def wait(self, job_id: str) -> Answer:
        """The job, once it is done. Raises JobFailed."""
        return self._take(self._ended(job_id))

    def cancel(self, job_id: str) -> None:
        """Cancel a job, or remove one that has ended, with its samples."""
        self._take(self._json("DELETE", f"/v1/jobs/{job_id}"))

    def download(self, job_id: str, file: str | os.PathLike[str], kind: Literal["zip", "parquet"] = "zip") -> None:
        """Write the data set of a job to a file, which is there when it is whole."""
        with self._http.stream("GET", f"/v1/jobs/{job_id}/samples.{kind}") as response, _written(file) as written:
            if not response.is_success:
                response.read()
                raise ServeError.of(response)
            for piece in response.iter_bytes():
                written.write(piece)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._http.close()

    def _take(self, steps: Steps[Result]) -> Result:
        try:
            step = next(steps)
            while True:
                if isinstance(step, float):
                    time.sleep(step)
                    step = next(steps)
                    continue
                try:
                    response = self._http.send(step)
                except httpx.TransportError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
        except StopIteration as ended:
            result: Result = ended.value
            return result


class AsyncClient(_Calls[httpx.AsyncClient]):
    """As `Client`, with methods to be awaited."""

    _connect = httpx.AsyncClient

    async def model(self) -> Answer:
        """As `Client.model`."""
        return dict(await self._take(self._json("GET", "/v1/model")))

    async def samples(self, pathology: str, modality: str, **fields: Any) -> list[SampleFile]:
        """As `Client.samples`."""
        return await self._take(self._samples({"pathology": pathology, "modality": modality, **fields}))

    async def order(self, **fields: Any) -> Answer:
        """As `Client.order`."""
        return dict(await self._take(self._json("POST", "/v1/jobs", fields)))

    async def jobs(self) -> list[Answer]:
        """As `Client.jobs`."""
        return list(await self._take(self._json("GET", "/v1/jobs")))

    async def job(self, job_id: str) -> Answer:
        """As `Client.job`."""
        return dict(await self._take(self._json("GET", f"/v1/jobs/{job_id}")))

    async def wait(self, job_id: str) -> Answer:
        """As `Client.wait`."""
        return await self._take(self._ended(job_id))

    async def cancel(self, job_id: str) -> None:
        """As `Client.cancel`."""
        await self._take(self._json("DELETE", f"/v1/jobs/{job_id}"))

    async def download(
        self, job_id: str, file: str | os.PathLike[str], kind: Literal["zip", "parquet"] = "zip"
    ) -> None:
        """As `Client.download`."""
        path = f"/v1/jobs/{job_id}/samples.{kind}"
        async with self._http.stream("GET", path) as response:
            if not response.is_success:
                await response.aread()
                raise ServeError.of(response)
            with _written(file) as written:
                async for piece in response.aiter_bytes():
                    written.write(piece)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._http.aclose()

    async def _take(self, steps: Steps[Result]) -> Result:
        try:
            step = next(steps)
            while True:
                if isinstance(step, float):
                    await asyncio.sleep(step)
                    step = next(steps)
                    continue
                try:
                    response = await self._http.send(step)
                except httpx.TransportError as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(response)
        except StopIteration as ended:
            result: Result = ended.value
            return result


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


@contextmanager
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
