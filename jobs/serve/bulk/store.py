"""The queue of jobs on disk: a folder for each, with `job.json` and, below `samples/`, its data set."""

from __future__ import annotations

import logging
import re
import secrets
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pyarrow.fs as pafs
from pydantic import BaseModel, ConfigDict, ValidationError

from jobs.serve.bulk.body import JobBody
from jobs.serve.refusals import Refused
from mrigen.cohort.plan import CohortPlan, read_plan, write_plan
from mrigen.cohort.shard import missing_shards
from mrigen.errors import InputError
from mrigen.labels import Cell
from mrigen.run import SUCCESS
from mrigen.storage import Location

KEPT = timedelta(days=7)
"""How long a job that has ended is kept."""
RETRY_S = 60
_LATE_S = 5.0
"""Workers of a process that was killed may write for so long."""
_FILE = "job.json"
_ID = re.compile(r"job-[0-9a-f]{16}")

_log = logging.getLogger("mrigen")

Status = Literal["queued", "running", "done", "failed"]


class Job(BaseModel):
    """What is known of a job, as it stands in `job.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    key: str | None
    """Name of the client's key: another client does not see the job."""
    order: JobBody
    num_samples: int
    created: datetime
    status: Status = "queued"
    detail: str | None = None
    """Why it failed."""
    ended: datetime | None = None

    @property
    def kept_until(self) -> datetime | None:
        """When it is removed, once it has ended."""
        return self.ended + KEPT if self.ended else None


class JobStore:
    """The jobs of a folder, for one process; its threads may share it. What was running when the last one died waits
    again, in its turn."""

    def __init__(self, folder: Location, max_waiting: int) -> None:
        self._folder, self._max_waiting = folder, max_waiting
        self._lock = threading.RLock()
        self._began: dict[str, tuple[float, int]] = {}
        """Of the job that runs: since when, and the samples that stood then."""
        self._leftovers: dict[str, float] = {}
        """Folders to be removed, and when."""
        self._sweep_after = 0.0
        found = []
        for info in folder.filesystem.get_file_info(pafs.FileSelector(folder.path, allow_not_found=True)):
            if not _ID.fullmatch(info.base_name):
                continue
            if (file := folder / info.base_name / _FILE).is_file():
                found.append(_read(file))
            else:
                self._leftovers[info.base_name] = 0.0
        self._jobs = {job.id: job for job in sorted(found, key=lambda job: job.created)}

    def add(self, order: JobBody, plan: CohortPlan, key: str | None) -> Job:
        """Take a job in. Raises Refused: 429 where too many wait, 503 where the disk or store fails."""
        with self._lock:
            waiting = sum(job.ended is None for job in self._jobs.values())
            if waiting >= self._max_waiting:
                raise Refused(429, f"{waiting} jobs wait already", retry_after_s=RETRY_S)
            job = Job(
                id=f"job-{secrets.token_hex(8)}",
                key=key,
                order=order,
                num_samples=plan.num_samples,
                created=datetime.now(UTC),
            )
            try:
                self._keep(job)  # first: a folder without it is cleared away
                write_plan(plan, self.samples(job))
            except OSError:
                _log.exception("%s cannot be kept", job.id)
                self._jobs.pop(job.id, None)
                self._leftovers[job.id] = 0.0
                raise Refused(503, "no job can be kept now", retry_after_s=RETRY_S) from None
            return job

    def get(self, job_id: str, key: str | None) -> Job:
        """A client's job. Raises Refused(404)."""
        job = self._jobs.get(job_id)
        if job is None or job.key != key:
            raise Refused(404, "there is no such job; it may have been deleted, or its time is over")
        return job

    def of(self, key: str | None) -> list[Job]:
        """A client's jobs, the oldest first."""
        with self._lock:
            return [job for job in self._jobs.values() if job.key == key]

    def next(self) -> Job | None:
        """The job to be done now: of those that have not ended the oldest."""
        with self._lock:
            return next((job for job in self._jobs.values() if job.ended is None), None)

    def stands(self, job: Job) -> bool:
        """Whether it was not deleted."""
        return job.id in self._jobs

    def begin(self, job: Job) -> None:
        """It runs from now on."""
        self._began[job.id] = time.monotonic(), self._num_done(job)
        self._change(job, status="running")

    def end(self, job: Job, fault: str | None) -> None:
        """It is done, or failed by a fault."""
        self._change(job, status="failed" if fault else "done", detail=fault, ended=datetime.now(UTC))

    def progress(self, job: Job) -> tuple[int, int | None]:
        """How many samples of it stand, and the seconds that the others will take at the pace until now."""
        if job.status == "done":
            return job.num_samples, None
        num_done, (since, before) = self._num_done(job), self._began.get(job.id, (0.0, 0))
        if job.status != "running" or num_done <= before:
            return num_done, None
        return num_done, round((job.num_samples - num_done) * (time.monotonic() - since) / (num_done - before))

    def delete(self, job: Job) -> None:
        """Forget a job; its data set is removed by `sweep`."""
        with self._lock:
            if self.stands(job):
                (self._folder / job.id / _FILE).delete()
                job = self._jobs.pop(job.id)
                self._leftovers[job.id] = time.monotonic() + (_LATE_S if job.status == "running" else 0.0)

    def sweep(self) -> None:
        """Remove the data sets of jobs that were deleted, or that ended long ago; what fails, later."""
        if time.monotonic() < self._sweep_after:
            return
        try:
            self._sweep()
        except OSError:
            _log.exception("jobs: what was deleted is removed later")
            self._sweep_after = time.monotonic() + RETRY_S

    def made(self, job: Job) -> tuple[str, dict[Cell, int]]:
        """Of a finished data set the SHA-256 of its model, and the samples of each cell."""
        closed = (self.samples(job) / SUCCESS).read_json()
        counts = {Cell.parse(name): count for name, count in closed["cells"].items()}
        return read_plan(self.samples(job)).model_sha256, counts

    def samples(self, job: Job) -> Location:
        """Where its data set is."""
        return samples_of(self._folder, job.id)

    def _sweep(self) -> None:
        now = datetime.now(UTC)
        with self._lock:
            for job in [job for job in self._jobs.values() if job.kept_until and job.kept_until < now]:
                self.delete(job)
            due = [name for name, when in self._leftovers.items() if when <= time.monotonic()]
        for name in due:
            (self._folder / name).delete()
            del self._leftovers[name]

    def _num_done(self, job: Job) -> int:
        try:
            plan = read_plan(self.samples(job))
            return plan.num_samples - sum(map(plan.num_rows, missing_shards(plan, self.samples(job))))
        except (InputError, FileNotFoundError):
            if self.stands(job):
                raise
            return 0  # deleted meanwhile

    def _change(self, job: Job, **fields: Any) -> None:
        with self._lock:
            if self.stands(job):
                self._keep(self._jobs[job.id].model_copy(update=fields))

    def _keep(self, job: Job) -> None:
        (self._folder / job.id / _FILE).write_json(job.model_dump(mode="json"))
        self._jobs[job.id] = job


def samples_of(folder: Location, job_id: str) -> Location:
    """Where the data set of a job is, in the folder of all."""
    return folder / job_id / "samples"


def _read(file: Location) -> Job:
    try:
        job = Job.model_validate_json(file.read_bytes())
    except ValidationError:
        raise InputError(f"{file} is damaged, or of another version: take its folder away") from None
    return job if job.ended else job.model_copy(update={"status": "queued"})
