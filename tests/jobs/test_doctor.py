"""`mrigen doctor`: each check on made-up machines, then the whole on this one."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs import health
from mrigen.storage import Location
from tests.command import mrigen

GIB = health.GIB


def verified(folder: Path) -> None:
    """A `verify_folder` that finds nothing wrong."""


def broken() -> str:
    raise RuntimeError("raylet died")


def spoiled(folder: Path) -> None:
    raise ValueError("unet/model.safetensors: SHA-256 differs from SHA256SUMS")


@pytest.mark.parametrize(
    ("finding", "status", "says"),
    [
        (health.python_version((3, 10, 9)), "fail", "3.11"),
        (health.python_version((3, 11, 0)), "ok", "3.11.0"),
        (health.torch_device("2.13", 1, [], has_driver=False), "ok", "1 CPU thread, no GPU"),
        (health.torch_device("2.13", 2, ["H100", "H100"], has_driver=True), "ok", "2 GPU: H100"),
        (health.torch_device("2.13", 2, [], has_driver=True), "warn", "CUDA build"),
        (health.memory(GIB // 2), "fail", "0.5 GiB"),
        (health.memory(2 * GIB), "warn", "2.0 GiB"),
        (health.memory(20 * GIB), "ok", "20.0 GiB"),
        (health.disk("/data", GIB // 2), "fail", "/data"),
        (health.disk("/data", 3 * GIB), "warn", "3.0 GiB"),
        (health.disk("/data", 30 * GIB), "ok", "30.0 GiB"),
        (health.shared_memory(64 * 2**20), "warn", "--shm-size"),
        (health.shared_memory(None), "ok", "no /dev/shm"),
        (health.temporary_folder("/tmp"), "ok", "/tmp"),
        (health.temporary_folder("/" + 60 * "x"), "warn", "TMPDIR"),
        (health.ports([]), "ok", "8265"),
        (health.ports([6379]), "warn", "ray start --head"),
        (health.ray_address(None, None, lambda host, port: False), "ok", "not set"),
        (health.ray_address("head:6379", "token", lambda host, port: False), "fail", "head:6379"),
        (health.ray_address("head:port", "token", lambda host, port: True), "fail", "HOST:PORT"),
        (health.ray_address("ray://head:10001", "token", lambda host, port: (host, port) == ("head", 10001)), "ok", ""),
        (health.ray_address("head:6379", None, lambda host, port: True), "warn", "RAY_AUTH_MODE"),
        (health.ray_address("auto", "disabled", lambda host, port: False), "ok", "auto"),
        (health.ray_task(lambda: "4 CPUs"), "ok", "4 CPUs"),
        (health.ray_task(broken), "fail", "RuntimeError: raylet died"),
    ],
)
def test_a_check_tells_what_it_saw_and_how_to_mend_it(finding: health.Finding, status: str, says: str) -> None:
    assert finding.status == status
    assert says in finding.line()
    assert "\n" not in finding.line()
    assert bool(finding.remedy) == (status != "ok")


def test_packages_are_compared_with_the_requirements() -> None:
    versions = {"torch": "2.13.0+cpu", "ray": "2.60.0", "diffusers": "0.42.1"}
    requirements = ["torch>=2.11,<2.14", "ray[data]>=2.54", "diffusers>=0.42", 'ruff; extra == "dev"']
    assert health.packages(requirements, versions.get).status == "ok"
    missing = health.packages([*requirements, "nibabel>=5"], versions.get)
    assert (missing.status, missing.detail) == ("fail", "nibabel is missing")
    old = health.packages([*requirements, "ray>=3"], versions.get)
    assert (old.status, old.detail) == ("fail", "ray 2.60.0 is not >=3")


def test_storage_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    assert health.storage(str(tmp_path)).status == "ok"
    assert list(tmp_path.iterdir()) == []
    absent = health.storage(str(tmp_path / "absent"))
    assert (absent.status, absent.detail) == ("fail", f"no folder {tmp_path / 'absent'}")
    file = tmp_path / "file"
    file.write_text("")
    assert health.storage(str(file)).status == "fail"
    assert "gopher" in health.storage("gopher://host/path").detail


def test_storage_that_cannot_be_used_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Location, data: bytes) -> None:
        raise PermissionError("read-only file system")

    with monkeypatch.context() as patch:
        patch.setattr(Location, "read_bytes", lambda self: b"other")
        assert health.storage(str(tmp_path)).status == "fail"
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(Location, "write_bytes", refuse)
    finding = health.storage(str(tmp_path))
    assert finding.status == "fail"
    assert "read-only" in finding.detail


def test_a_port_is_taken_while_something_listens() -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        assert health.is_reachable("127.0.0.1", port)
    assert not health.is_reachable("127.0.0.1", port)


@pytest.mark.parametrize(
    ("verify", "files", "status"), [(verified, True, "ok"), (spoiled, True, "fail"), (verified, False, "fail")]
)
def test_the_model_is_verified(verify: Callable[[Path], None], files: bool, status: str, tmp_path: Path) -> None:
    if files:
        (tmp_path / "SHA256SUMS").write_text("")
    assert health.model_folder(tmp_path, verify).status == status


@pytest.mark.ray
def test_doctor_examines_this_machine(ray_cluster: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert mrigen("doctor", "--storage", tmp_path) == 0
    lines = capsys.readouterr().out.splitlines()
    found = {match[2]: match[1] for line in lines if (match := re.match(r"(ok|warn|fail) +(\w+) ", line))}
    assert list(found) == [
        *("python", "packages", "torch", "memory", "disk", "shm", "tmp", "storage", "ports", "model", "address", "ray")
    ]
    assert "fail" not in found.values(), "\n".join(lines)


def test_doctor_ends_with_1_when_a_check_fails(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "run_ray_task", lambda: "4 CPUs")
    assert mrigen("doctor", "--storage", tmp_path / "absent") == 1
    assert re.search(r"^fail +storage .*absent.* -> ", capsys.readouterr().out, re.MULTILINE)
