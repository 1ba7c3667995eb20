"""A cluster of `ray start` on this machine, with token authentication, whose nodes a test may lose."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import psutil

from tests.command import wait_for, wait_until
from tests.ports import free_port

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent


class Nodes:
    """A head without CPUs and workers of one each: each a `ray start --block`, with ports and a folder of its own."""

    def __init__(self, folder: Path, temporary: Path) -> None:
        """`folder` holds the token and logs; of `temporary` the path is short, as sockets' must be."""
        self.workers: list[psutil.Popen] = []
        self._logs: dict[psutil.Popen, Path] = {}
        self._folder, self._temporary = folder, temporary
        self._gcs, self._dashboard = free_port(), free_port()
        self.url = f"http://127.0.0.1:{self._dashboard}"
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "HOME": str(folder),
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            "RAY_enable_metrics_collection": "0",
            "RAY_health_check_period_ms": "1000",  # a killed node is missed after 5 s, not 15
        }

    def start(self) -> None:
        """Start the head."""
        self.run("ray", "get-auth-token", "--generate")
        ports = [
            f"--port={self._gcs}",
            f"--dashboard-port={self._dashboard}",
            f"--ray-client-server-port={free_port()}",
        ]
        self._wait(self._start("--head", "--num-cpus=0", *ports))

    @property
    def token(self) -> str:
        """What Ray's ports ask for."""
        return (self._folder / ".ray/auth_token").read_text().strip()

    def run(self, *command: str) -> None:
        """A command to its end, with the token."""
        ended = subprocess.run(command, env=self._environment, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, ended.stdout + ended.stderr

    def submit(self, log: Path, *commands: str) -> psutil.Popen:
        """A job of command lines, each done if the one before went well. It prints to `log`."""
        words = ["ray", "job", "submit", "--address", self.url, "--working-dir", str(ROOT), "--"]
        return self._process(log, *words, "bash", "-c", " && ".join(commands))

    def add(self, number: int = 1) -> None:
        """Start so many nodes, and wait until they are there."""
        joined = [self._start(f"--address=127.0.0.1:{self._gcs}", "--num-cpus=1") for _ in range(number)]
        self.workers += joined
        for node in joined:
            self._wait(node)

    def replace_one(self, kind: str, patience_s: float) -> None:
        """SIGKILL of all processes of a node, once a worker of this kind is there; then another node is started."""
        found: list[psutil.Popen] = []

        def find() -> bool:
            found[:] = [node for node in self.workers if works(node, kind)]
            return bool(found)

        wait_for(find, patience_s)
        self.workers.remove(found[0])
        _kill(found[0])
        self.add()

    def end(self) -> None:
        """Kill all nodes, and who waits for their jobs. Fails if anything is left of them, which is killed too."""
        for process in self._logs:
            _kill(process)
        try:
            wait_for(lambda: not self.processes(), 30)
        finally:
            for process in self.processes():
                process.kill()

    def processes(self) -> list[psutil.Process]:
        """All that live and have a file of this cluster open, as its log."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError):
                opened = [os.readlink(link) for link in Path(f"/proc/{process.pid}/fd").iterdir()]
                if any(path.startswith(f"{self._temporary}/") for path in opened):
                    found.append(process)
        return found

    def _start(self, *role: str) -> psutil.Popen:
        # A folder for each: nodes that share one unpack a job's code anew where other nodes work in it.
        own = self._temporary / str(len(self._logs))
        agent = [f"--dashboard-agent-listen-port={free_port()}", f"--metrics-export-port={free_port()}"]
        where = [f"--temp-dir={own}", "--min-worker-port=0", "--max-worker-port=0", *agent]
        command = ["ray", "start", "--block", *role, *where, "--object-store-memory=100000000"]
        return self._process(self._folder / f"node-{len(self._logs)}", *command)

    def _process(self, log: Path, *command: str) -> psutil.Popen:
        with log.open("w") as told:
            process = psutil.Popen(command, env=self._environment, stdout=told, stderr=subprocess.STDOUT)
        self._logs[process] = log
        return process

    def _wait(self, node: psutil.Popen) -> None:
        wait_until(lambda: "block forever" in self._logs[node].read_text(), node)


def works(node: psutil.Process, kind: str) -> bool:
    """Whether a worker of this kind is on a node."""
    for process in node.children(recursive=True):
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            if kind in "".join(process.cmdline()):
                return True
    return False


def _kill(node: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):  # lost already
        family = [node, *node.children(recursive=True)]
        for process in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(family, 30)
