"""`mrigen serve`: samples over HTTP."""

from __future__ import annotations

import logging
import os
import signal
import threading
from typing import TYPE_CHECKING, Any

import click

from jobs.placement import Placement, connect
from jobs.serve.application import Args, load_app
from jobs.serve.network import KEY_VARIABLE, api_key_sha256, base_url, check_port, is_loopback
from mrigen.errors import InputError

if TYPE_CHECKING:
    from ray.serve import Application

APP_NAME = "mrigen"


@click.command()
@click.option("--model", metavar="DIR", help="Model folder or URI.  [default: the embedded model]")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True, help="Port to listen on.")
@click.option("--num-replicas", type=click.IntRange(1), default=1, show_default=True, help="Copies of the model.")
@click.option("--max-queued", type=click.IntRange(1), default=64, show_default=True, help="Requests that may wait.")
@click.option("--max-num-steps", type=click.IntRange(1, 1000), default=100, show_default=True, help="Steps allowed.")
@click.option("--request-timeout", type=click.IntRange(1), default=300, show_default=True, help="Seconds allowed.")
@click.option("--use-gpu", is_flag=True, help="Run every copy on a GPU of its own.")
@click.option("--address", help="Ray cluster to use: auto, or HOST:PORT.  [default: $RAY_ADDRESS, else a local one]")
def command(host: str, port: int, address: str | None, **options: Any) -> None:
    """Answer requests for samples over HTTP, until Ctrl-C.

    The page at /docs shows how, and draws samples. Set MRIGEN_API_KEY to ask clients for that key. More requests
    than can wait are answered by 429, and what takes longer than allowed by 504.
    """
    args = Args(**options)
    local = not (address or os.environ.get("RAY_ADDRESS"))
    if local:
        check_port(host, port)
    click.echo("Loading the model and starting Ray Serve ...", err=True)
    app, info = load_app(args)
    connect(Placement(args.num_replicas, args.use_gpu, address))
    import ray
    from ray import serve

    from jobs.serve.greeting import greeting

    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if local and args.num_replicas >= (cpus := int(ray.cluster_resources()["CPU"])):
        raise InputError(f"--num-replicas {args.num_replicas}: this machine has room for {cpus - 1}")
    if serve.status().proxies:
        raise InputError("Serve already runs on this cluster: stop it by `serve shutdown`, or use a Serve config")
    try:
        serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port})
        _run(app)
        if api_key_sha256() is None and not is_loopback(host):
            click.echo(
                f"warning: other machines can reach {host} and no key is asked for: set {KEY_VARIABLE}", err=True
            )
        click.echo(greeting(info, base_url(host, port), keyed=api_key_sha256() is not None))
        _wait_for_signal()
        click.echo("Stopping ...", err=True)
        serve.delete(APP_NAME)  # finishes what is being worked on
    finally:
        if not local:
            serve.shutdown()
        ray.shutdown()


def _run(app: Application) -> None:
    """Deploy and wait until requests are taken. Raises RuntimeError with the reason that a replica gave."""
    from ray import serve

    try:
        serve.run(app, name=APP_NAME)
    except RuntimeError as error:
        deployments = serve.status().applications[APP_NAME].deployments.values()
        reasons = [
            lines[-1] for deployment in deployments if (lines := deployment.message.split("\n\n")[0].splitlines())
        ]
        raise RuntimeError(" ".join([str(error), *reasons])) from None


def _wait_for_signal() -> None:
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    stop.wait()
    for number, handler in previous.items():
        signal.signal(number, handler)
