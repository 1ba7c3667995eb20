"""A service under many times its load, while clients leave, replicas and fronts are killed, and versions rolled out.

    python -m docs.benchmarks.serve_chaos [--nginx] [--minutes 3] [--clients 200] [--seed 0]

The embedded model as a Serve config starts it, two replicas and a front, on a Ray of its own. Each client asks for one
to four samples of up to ten steps, again and again, without heed to `Retry-After`; every fourth time it leaves within
two seconds. Every 20 seconds a replica is killed, or a front, or a new version takes the place of the old one. Prints
the answers by status and by what was last done, how often was asked for each answer with samples, how memory grew in
processes that lived for a minute, and the samples that were still computed when all clients had left for five seconds.
Fails for such samples, and for an answer other than 200 or JSON with 429, 503 or 504; that of Ray Serve itself where a
front is killed is one. With `--nginx` an nginx by `cluster/nginx.conf` stands before Ray Serve; all clients have one
address, of which it lets 128 in at once.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import contextlib
import itertools
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import ray
from ray import serve

from jobs.serve import build_app
from tests.nginx import nginx_before
from tests.ports import free_port

APP, EVERY_S, ASIDE_S, SETTLED_S = "mrigen", 20.0, 0.05, 30.0
LABELS = {"pathology": "Glioblastoma", "modality": "FLAIR", "format": "png"}


class Chaos:
    """What is asked and answered."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self.doing = "nothing"
        self.answers: collections.Counter[tuple[str, str]] = collections.Counter()
        self.memory: dict[str, list[tuple[float, int]]] = collections.defaultdict(list)

    def deploy(self, version: int) -> None:
        """Roll out a version; it differs from the one before in the steps that it allows."""
        args = {
            "num_replicas": 2,
            "max_queued": 16,
            "request_timeout": 30,
            "drain_s": 30,
            "max_num_steps": 50 + version,
        }
        serve.run(build_app(args), name=APP)

    async def ask(self, client: httpx.AsyncClient) -> None:
        """One request, which is given up now and then."""
        body = LABELS | {"count": self._random.randint(1, 4), "num_steps": self._random.randint(1, 10)}
        patience_s = self._random.uniform(0, 2) if self._random.random() < 0.25 else 120
        try:
            async with asyncio.timeout(patience_s):
                answer = await client.post("/v1/samples", json=body)
        except TimeoutError:
            told = "left" if patience_s < 120 else "no answer within 120 s"
        except httpx.HTTPError as error:
            told = type(error).__name__
        else:
            told = str(answer.status_code)
            if answer.status_code != 200 and answer.headers.get("content-type") != "application/json":
                told += " not JSON"
        self.answers[told, self.doing] += 1

    async def clients(self, port: int, number: int) -> None:
        """Clients that ask until they are cancelled."""

        async def go_on(client: httpx.AsyncClient) -> None:
            while True:
                await self.ask(client)
                await asyncio.sleep(ASIDE_S)

        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=None, limits=limits) as client:
            await asyncio.gather(*(go_on(client) for _ in range(number)))

    async def events(self, until: float) -> None:
        """One after another, with a pause."""
        for turn in itertools.count(1):
            await asyncio.sleep(EVERY_S)
            if time.monotonic() > until:
                return
            self.doing = ["replica killed", "front killed", "roll-out"][turn % 3 - 1]
            print(f"{self.doing}; answers until now: {sum(self.answers.values())}", flush=True)
            if self.doing == "roll-out":
                await asyncio.to_thread(self.deploy, turn)
            else:
                await asyncio.to_thread(kill, "Sampler" if self.doing == "replica killed" else "Front")

    async def watch(self) -> None:
        """Memory of the processes of Serve, until it is cancelled."""
        while True:
            for process in psutil.process_iter(["name", "cmdline"]):
                words = " ".join(process.info["cmdline"] or [])
                if words.startswith(("ray::ServeReplica", "ray::ProxyActor", "ray::ServeController")):
                    key = f"{words.split('.')[0].split(' ')[0]} {process.pid}"
                    self.memory[key].append((time.monotonic(), process.memory_info().rss))
            await asyncio.sleep(5)


def kill(deployment: str) -> None:
    """SIGKILL of the process of one replica."""
    actors = ray.util.list_named_actors(all_namespaces=True)
    one = next(actor for actor in actors if f"{APP}#{deployment}#" in actor["name"])
    ray.kill(ray.get_actor(one["name"], namespace=one["namespace"]), no_restart=True)


def num_computed() -> int:
    """Samples that were computed by replicas, all of which are asked."""
    names = [actor for actor in ray.util.list_named_actors(all_namespaces=True) if f"{APP}#Sampler#" in actor["name"]]
    handle = serve.get_deployment_handle("Sampler", APP)
    counts = [handle.counts.remote().result()["samples"] for _ in range(8 * len(names))]
    return sum(set(counts))


async def scenario(chaos: Chaos, port: int, minutes: float, num_clients: int) -> None:
    until = time.monotonic() + 60 * minutes
    watching, asking = asyncio.create_task(chaos.watch()), asyncio.create_task(chaos.clients(port, num_clients))
    await chaos.events(until)
    for task in (asking, watching):
        task.cancel()
    await asyncio.wait([asking, watching])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nginx", action="store_true")
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    port, chaos = free_port(), Chaos(arguments.seed)
    os.environ.setdefault("RAY_worker_niceness", "0")
    ray.init(num_cpus=6, include_dashboard=False, log_to_driver=False)
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    chaos.deploy(0)
    with contextlib.ExitStack() as stack:
        if arguments.nginx:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            port = stack.enter_context(nginx_before(port, folder))
        asyncio.run(scenario(chaos, port, arguments.minutes, arguments.clients))

    time.sleep(5)
    before = num_computed()
    time.sleep(10)
    late = num_computed() - before
    answers: dict[str, Any] = collections.defaultdict(dict)
    for (told, doing), number in sorted(chaos.answers.items()):
        answers[told][doing] = number
    for told, by_event in answers.items():
        print(f"{told}: {sum(by_event.values())} {by_event}")
    asked = sum(chaos.answers.values())
    print(f"asked {asked / max(sum(answers['200'].values()), 1):.1f} times for each answer with samples")
    for name, points in chaos.memory.items():
        settled = [size for at, size in points if at > points[0][0] + SETTLED_S]
        if points[-1][0] > points[0][0] + 60:
            print(f"{name}: {settled[0] / 1e6:.0f} MB after {SETTLED_S:g} s, {settled[-1] / 1e6:.0f} MB at its end")
    print(f"samples computed when all clients had left for 5 s: {late}")
    strange = set(answers) - {"200", "429", "503", "504", "left"}
    serve.shutdown()
    ray.shutdown()
    if strange or late:
        raise SystemExit(f"neither of the expected: {', '.join(sorted(strange)) or f'{late} samples'}")


if __name__ == "__main__":
    main()
