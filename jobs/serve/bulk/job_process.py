"""The process of one job: `mrigen generate` as a client ordered it, on the cluster of the server.

It ends at once with the server; a job that is begun again goes on where it was.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import sys
import threading

from jobs.each_on_ray import EachOnRay
from jobs.placement import Placement
from jobs.serve.bulk.body import JobBody, in_json_words
from jobs.serve.bulk.store import Job, samples_of
from mrigen.errors import InputError
from mrigen.stages.generate import generate_run
from mrigen.storage import FULL, Location


def line_for(job: Job, folder: str, model: str | None, placement: Placement) -> str:
    """What the process is told on its standard input; `folder` is that of all jobs, as the user gave it: a URI may hold
    what opens it."""
    return json.dumps([job.order.model_dump(), folder, job.id, model, dataclasses.asdict(placement)])


def main() -> None:
    """Do what the first line of standard input tells. Exit status 2 and a line on standard output for bad input, 74 for
    a full disk."""
    order, folder, job_id, model, placement = json.loads(sys.stdin.readline())
    threading.Thread(target=end_with_the_server, daemon=True).start()
    body, out, answer = JobBody.model_validate(order), samples_of(Location.parse(folder), job_id), sys.stdout
    of_model = Location.parse(model) if model is not None else None
    with contextlib.redirect_stdout(sys.stderr):  # Ray passes on what its workers print
        try:
            generate_run(out, of_model, EachOnRay(Placement(**placement)), body.order(), command=body.command())
        except InputError as error:
            print(in_json_words(error, of_model, out), file=answer, flush=True)
            sys.exit(2)
        except OSError as error:
            if error.errno not in FULL:
                raise
            print(error)
            sys.exit(os.EX_IOERR)


def end_with_the_server() -> None:
    """Wait until the server is gone, and end this process."""
    os.read(0, 1)  # nothing comes: this returns once the server is gone
    os._exit(1)


if __name__ == "__main__":
    main()
