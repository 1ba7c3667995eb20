"""`mrigen serve`: samples over HTTP."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from jobs.options import RANGED, output_location
from jobs.placement import Placement, connect
from jobs.serve.application import Args, Served, load_facts, locations
from jobs.serve.keys import KEY_VARIABLE, Keys
from jobs.serve.network import base_url, check_port, is_loopback
from mrigen.errors import InputError
from mrigen.process.lease import leased

if TYPE_CHECKING:
    from fastapi import APIRouter
    from ray.serve import Application
    from ray.serve.handle import DeploymentHandle

    from jobs.serve.bulk.store import Job
    from jobs.serve.meter import Meter
    from mrigen.cohort.plan import CohortPlan

APP_NAME = "mrigen"


@click.command()
@click.option(
    "--model", multiple=True, metavar="[NAME=]DIR", help="Folder or URI, or several.  [default: the embedded model]"
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Port to listen on.")
@click.option("--keys", metavar="FILE", help="Names, SHA-256 and limits of API keys; read again when it changes.")
@click.option(
    "--num-replicas", **RANGED, default=1, show_default=True, help="Copies of the model; of a range, as requests wait."
)
@click.option(
    "--max-queued", type=click.IntRange(1), default=64, show_default=True, help="Requests, and jobs, that may wait."
)
@click.option("--max-num-steps", type=click.IntRange(1, 1000), default=100, show_default=True, help="Steps allowed.")
@click.option("--request-timeout", type=click.IntRange(1), default=300, show_default=True, help="Seconds allowed.")
@click.option("--drain-s", type=click.IntRange(0), default=30, show_default=True, help="Seconds to end work in.")
@click.option("--jobs", metavar="DIR", help="Take orders of whole data sets at /v1/jobs, kept in this folder or URI.")
@click.option("--job-workers", type=click.IntRange(1), default=1, show_default=True, help="Workers of a job.")
@click.option("--use-gpu", is_flag=True, help="Run every copy, and every worker of a job, on a GPU of its own.")
@click.option("--address", help="Ray cluster to use: auto, or HOST:PORT.  [default: $RAY_ADDRESS, else a local one]")
def command(host: str, port: int, address: str | None, jobs: str | None, job_workers: int, **options: Any) -> None:
    """Answer requests for samples over HTTP, until Ctrl-C.

    The page at / draws samples, and shows how it asked. Of several models, named by NAME= or by their folder, a request
    chooses by its field `model`, and else has the first. Set MRIGEN_API_KEY, or give --keys, to ask clients for a key.
    More requests than can wait are answered by 429, and what takes longer than allowed by 504. Ctrl-C or SIGTERM ends
    what was accepted within --drain-s and answers the rest by 503; the second ends at once. Jobs wait on disk, and go
    on where they were when the server is started again.
    """
    args = Args(**options)
    keys = Keys.read(args.keys)
    check_port(host, port)
    if jobs is not None:
        click.get_current_context().with_resource(leased(output_location(jobs)))
    click.echo("Loading the model and starting Ray Serve ...", err=True)
    served = load_facts(args)
    infos = [model.info for model in served]
    beside = job_workers if jobs is not None else 0
    copies, least = args.num_replicas + beside, (args.least_replicas or args.num_replicas) + beside
    placement = Placement(copies, args.use_gpu, address, least_workers=least)
    connect(placement)
    import ray
    from ray import serve

    from jobs.serve.app import make_app
    from jobs.serve.deployments import SamplerHandle, bind_sampler
    from jobs.serve.greeting import greeting
    from jobs.serve.guard import Door
    from jobs.serve.meter import Meter
    from jobs.serve.server import DrainingServer

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if not placement.cluster and copies >= (cpus := int(ray.cluster_resources()["CPU"])):
        told = f"--num-replicas {args.num_replicas}" + (f" and --job-workers {job_workers}" if jobs is not None else "")
        raise InputError(f"{told}: this machine has room for {cpus - 1}")
    if (status := serve.status()).proxies or status.applications:
        raise InputError("Serve already runs on this cluster: stop it by `serve shutdown`, or use a Serve config")
    try:
        serve.start(proxy_location="Disabled")
        sampler = SamplerHandle(_run(bind_sampler(args, served)), locations(served))
        door = Door()
        if keys is None and not is_loopback(host):
            click.echo(
                f"warning: other machines can reach {host} and no key is asked for: set {KEY_VARIABLE}", err=True
            )
        words = greeting(infos, base_url(host, port), keyed=keys is not None)
        workers = Placement(job_workers, args.use_gpu, ray.get_runtime_context().gcs_address)
        meter = Meter(infos)
        with _taking_jobs(jobs, args, served, keys, workers, meter) as routes:
            parts: dict[str, Any] = {"keys": keys, "door": door, "jobs": routes, "meter": meter}
            timeout_s, num_workers = args.request_timeout, args.num_replicas
            web = make_app(sampler, infos, request_timeout_s=timeout_s, num_workers=num_workers, **parts)
            DrainingServer(web, host, port, door=door, drain_s=args.drain_s, on_start=lambda: click.echo(words)).run()
            click.echo("Stopping ...", err=True)
        serve.delete(APP_NAME)
    finally:
        if placement.cluster:
            serve.shutdown()
        ray.shutdown()


@contextlib.contextmanager
def _taking_jobs(
    folder: str | None, args: Args, served: Sequence[Served], keys: Keys | None, workers: Placement, meter: Meter
) -> Iterator[APIRouter | None]:
    """The routes of jobs, where there is a folder for them; within, those that wait there are done."""
    if folder is None:
        yield None
        return
    from jobs.serve.api import model_named
    from jobs.serve.bulk.body import JobBody, plan_job
    from jobs.serve.bulk.job_process import line_for
    from jobs.serve.bulk.routes import job_routes
    from jobs.serve.bulk.runner import JobRunner, Process, start_process
    from jobs.serve.bulk.store import JobStore
    from mrigen.model_folder.facts import ModelFacts
    from mrigen.storage import Location

    infos = [model.info for model in served]
    models = {model.info.name: (model, ModelFacts.load(model.location)) for model in served}

    def start(job: Job) -> Process:
        model, _ = models[model_named(job.order.model, infos).name]
        return start_process(["-m", "jobs.serve.bulk.job_process"], line_for(job, folder, model.folder, workers))

    def plan(body: JobBody) -> CohortPlan:
        model, facts = models[model_named(body.model, infos).name]
        return plan_job(body, facts, model.location, args.max_num_steps)

    store = JobStore(Location.parse(folder), args.max_queued)
    with JobRunner(store, start, meter):
        yield job_routes(store, plan, keys)


def _run(app: Application) -> DeploymentHandle:
    """Deploy and wait until the models are loaded. Raises RuntimeError with the reason that a replica gave."""
    from ray import serve

    try:
        return serve.run(app, name=APP_NAME, route_prefix=None)
    except RuntimeError as error:
        deployments = serve.status().applications[APP_NAME].deployments.values()
        reasons = [
            lines[-1] for deployment in deployments if (lines := deployment.message.split("\n\n")[0].splitlines())
        ]
        raise RuntimeError(" ".join([str(error), *reasons])) from None
