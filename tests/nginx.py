"""`cluster/nginx.conf` in a real nginx."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from tests.ports import free_port

CONFIGURATION = Path(__file__).parents[1] / "cluster" / "nginx.conf"
NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")


@contextlib.contextmanager
def nginx_before(port: int, folder: Path, patience_s: int = 10) -> Iterator[int]:
    """Its own port; it stands before what listens at `port`, and writes into `folder` only.

    It waits for headers and bodies for `patience_s`.
    """
    own, text = free_port(), CONFIGURATION.read_text()
    told = {"8080": str(own), "8000": str(port), "/tmp/mrigen-nginx": f"{folder}/nginx", "10s": f"{patience_s}s"}
    for known, put in told.items():
        assert known in text
        text = text.replace(known, put)
    file = folder / "nginx.conf"
    file.write_text(text)
    assert NGINX, "nginx is not installed"
    process = subprocess.Popen([NGINX, "-c", str(file), "-g", "daemon off;"])
    try:
        while socket.socket().connect_ex(("127.0.0.1", own)):
            assert process.poll() is None
            time.sleep(0.05)
        yield own
    finally:
        process.terminate()
        process.wait(10)
