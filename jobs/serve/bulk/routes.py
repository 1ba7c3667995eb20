"""The HTTP side of jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response, StreamingResponse
from pydantic import BaseModel

from jobs.serve.bulk.body import MAX_JOB_BYTES, JobBody
from jobs.serve.bulk.download import parquet_of, zip_of
from jobs.serve.bulk.store import Job, JobStore, Status
from jobs.serve.keys import Keys, charged, key_of
from jobs.serve.reading import read_body
from jobs.serve.refusals import Refused, problems
from mrigen.cohort.plan import CohortPlan

RESULTS = {"zip": ("application/zip", zip_of), "parquet": ("application/vnd.apache.parquet", parquet_of)}
"""How a data set can be fetched, by the suffix of its path: its type, and what gives its pieces."""


class JobInfo(BaseModel):
    """The answer of `GET /v1/jobs/{id}`."""

    id: str
    status: Status
    detail: str | None
    """Why it failed."""
    num_samples: int
    num_done: int
    """Samples that stand, in whole shards."""
    seconds_left: int | None
    """At the pace until now; null while none is known."""
    created: datetime
    ended: datetime | None
    kept_until: datetime | None
    """When a job that has ended is removed, with its samples."""
    order: dict[str, Any]
    results: dict[str, str] | None
    """Once it is done: paths of `zip` and `parquet` on this server, and where the server keeps jobs in an object store,
    the `uri` of the data set there."""


def job_routes(store: JobStore, plan: Callable[[JobBody], CohortPlan], keys: Keys | None = None) -> APIRouter:
    """The paths below `/v1/jobs`; `plan` makes the plan of what is ordered, or raises Refused; `keys` have quotas."""
    routes = APIRouter(prefix="/v1/jobs")
    known = problems(404)

    @routes.post("", status_code=202, openapi_extra=_BODY, responses=problems(405, 408, 413, 415, 422, 429, 503))
    async def order_job(request: Request, response: Response) -> JobInfo:
        """Order a data set, in the words of `mrigen generate`; its path is told in `Location`."""
        body = await read_body(request, JobBody, MAX_JOB_BYTES)
        planned = await asyncio.to_thread(plan, body)
        with charged(keys, key_of(request), planned.num_samples):
            job = await asyncio.to_thread(store.add, body, planned, key_of(request))
        request.state.order = {"job": job.id, "count": job.num_samples, "num_steps": planned.sampler.num_steps}
        response.headers["Location"] = f"/v1/jobs/{job.id}"
        return await asyncio.to_thread(_info, store, job)

    @routes.get("")
    def list_jobs(request: Request) -> list[JobInfo]:
        """The jobs that this key has ordered, the oldest first."""
        return [_info(store, job) for job in store.of(key_of(request))]

    @routes.get("/{job_id}", responses=known)
    def get_job(job_id: str, request: Request) -> JobInfo:
        """How far a job is."""
        return _info(store, store.get(job_id, key_of(request)))

    @routes.delete("/{job_id}", status_code=204, responses=known)
    def delete_job(job_id: str, request: Request) -> None:
        """Cancel a job, or remove one that has ended, with its samples."""
        store.delete(store.get(job_id, key_of(request)))

    for suffix, (media_type, pieces) in RESULTS.items():
        content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
        responses = {200: {"description": "The file.", "content": content}, **problems(404, 409)}
        docs: dict[str, Any] = {"response_class": Response, "description": pieces.__doc__, "responses": responses}
        path, name = f"/{{job_id}}/samples.{suffix}", f"fetch_job_{suffix}"
        routes.add_api_route(path, _fetching(store, suffix), name=name, **docs)
    return routes


_BODY = {"requestBody": {"required": True, "content": {"application/json": {"schema": JobBody.model_json_schema()}}}}


def _info(store: JobStore, job: Job) -> JobInfo:
    num_done, seconds_left = store.progress(job)
    results, samples = None, store.samples(job)
    if job.status == "done":
        results = {suffix: f"/v1/jobs/{job.id}/samples.{suffix}" for suffix in RESULTS}
        if samples.local is None:
            results["uri"] = str(samples)
    return JobInfo(
        **job.model_dump(exclude={"key", "order"}),
        order=job.order.model_dump(exclude_none=True),
        kept_until=job.kept_until,
        num_done=num_done,
        seconds_left=seconds_left,
        results=results,
    )


def _fetching(store: JobStore, suffix: str) -> Callable[[str, Request], Response]:
    """What answers by the data set of a job, as the file of a suffix."""

    def samples(job_id: str, request: Request) -> Response:
        job = store.get(job_id, key_of(request))
        if job.status != "done":
            raise Refused(409, f"the job is {job.status}: it has no samples to fetch")
        headers = {"X-Mrigen-Synthetic": "true", "Content-Disposition": f'attachment; filename="{job.id}.{suffix}"'}
        media_type, pieces = RESULTS[suffix]
        sent = () if request.scope["head"] else pieces(store.samples(job))
        return StreamingResponse(sent, media_type=media_type, headers=headers)

    return samples
