"""`mrigen serve`: samples over HTTP."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import click

from jobs.placement import Placement, connect
from jobs.serve.application import Args, load_facts
from jobs.serve.keys import KEY_VARIABLE, Keys
from jobs.serve.network import base_url, check_port, is_loopback
from mrigen.errors import InputError

if TYPE_CHECKING:
    from ray.serve import Application
    from ray.serve.handle import DeploymentHandle

APP_NAME = "mrigen"


@click.command()
@click.option("--model", metavar="DIR", help="Model folder or URI.  [default: the embedded model]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Port to listen on.")
@click.option("--keys", metavar="FILE", help="Names and SHA-256 of API keys, a line each; read again when it changes.")
@click.option("--num-replicas", type=click.IntRange(1), default=1, show_default=True, help="Copies of the model.")
@click.option("--max-queued", type=click.IntRange(1), default=64, show_default=True, help="Requests that may wait.")
@click.option("--max-num-steps", type=click.IntRange(1, 1000), default=100, show_default=True, help="Steps allowed.")
@click.option("--request-timeout", type=click.IntRange(1), default=300, show_default=True, help="Seconds allowed.")
@click.option("--drain-s", type=click.IntRange(0), default=30, show_default=True, help="Seconds to end work in.")
@click.option("--use-gpu", is_flag=True, help="Run every copy on a GPU of its own.")
@click.option("--address", help="Ray cluster to use: auto, or HOST:PORT.  [default: $RAY_ADDRESS, else a local one]")
def command(host: str, port: int, address: str | None, **options: Any) -> None:
    """Answer requests for samples over HTTP, until Ctrl-C.

    The page at / draws samples, and shows how it asked. Set MRIGEN_API_KEY, or give --keys, to ask clients for a key.
    More requests than can wait are answered by 429, and what takes longer than allowed by 504. Ctrl-C or SIGTERM ends
    what was accepted within --drain-s and answers the rest by 503; the second ends at once.
    """
    args = Args(**options)
    keys = Keys.read(args.keys)
    check_port(host, port)
    click.echo("Loading the model and starting Ray Serve ...", err=True)
    model, info = load_facts(args)
    placement = Placement(args.num_replicas, args.use_gpu, address)
    connect(placement)
    import ray
    from ray import serve

    from jobs.serve.app import make_app
    from jobs.serve.deployments import SamplerHandle, bind_sampler
    from jobs.serve.greeting import greeting
    from jobs.serve.guard import Door
    from jobs.serve.server import DrainingServer

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if not placement.cluster and args.num_replicas >= (cpus := int(ray.cluster_resources()["CPU"])):
        raise InputError(f"--num-replicas {args.num_replicas}: this machine has room for {cpus - 1}")
    if (status := serve.status()).proxies or status.applications:
        raise InputError("Serve already runs on this cluster: stop it by `serve shutdown`, or use a Serve config")
    try:
        serve.start(proxy_location="Disabled")
        sampler = SamplerHandle(_run(bind_sampler(args, model, info)))
        door = Door()
        web = make_app(sampler, info, request_timeout_s=args.request_timeout, keys=keys, door=door)
        if keys is None and not is_loopback(host):
            click.echo(
                f"warning: other machines can reach {host} and no key is asked for: set {KEY_VARIABLE}", err=True
            )
        words = greeting(info, base_url(host, port), keyed=keys is not None)
        DrainingServer(web, host, port, door=door, drain_s=args.drain_s, on_start=lambda: click.echo(words)).run()
        click.echo("Stopping ...", err=True)
        serve.delete(APP_NAME)
    finally:
        if placement.cluster:
            serve.shutdown()
        ray.shutdown()


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
