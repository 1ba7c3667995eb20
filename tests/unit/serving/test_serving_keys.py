"""The keys that a server asks for."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from jobs.serve import keys as module
from jobs.serve.keys import Client, Keys, charged
from jobs.serve.refusals import Refused
from mrigen.errors import InputError


def line(name: str, key: str) -> str:
    return f"{name} {hashlib.sha256(key.encode()).hexdigest()}\n"


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MRIGEN_API_KEY", raising=False)
    assert Keys.read(None) is None


def test_the_key_of_the_environment_is_taken_out_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MRIGEN_API_KEY", "k" * 16)
    keys = Keys.read(None)
    assert keys is not None
    assert keys.client_of("k" * 16) == Client("MRIGEN_API_KEY")
    assert keys.client_of("") is None
    assert "MRIGEN_API_KEY" not in os.environ  # Ray's processes would inherit it
    assert "k" * 16 not in str(vars(keys))


@pytest.mark.parametrize(
    "key", ["", " ", "short", "k" * 15, "with a space in it", "schlüssel-schlüssel", "tab\t-in-the-middle"]
)
def test_a_weak_key_is_refused_and_not_taken_for_none(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("MRIGEN_API_KEY", key)
    with pytest.raises(InputError, match="MRIGEN_API_KEY must be at least 16") as raised:
        Keys.read(None)
    assert not key.strip() or key not in str(raised.value)


def test_a_file_of_keys_is_read_again_when_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REREAD_S", 0.0)
    file = tmp_path / "keys"
    file.write_text("# who may ask\n\n" + line("alice", "a" * 16) + line("bob", "b" * 16))
    keys = Keys.read(str(file))
    assert keys is not None
    assert [keys.client_of(key) for key in ("a" * 16, "b" * 16, "c" * 16)] == [Client("alice"), Client("bob"), None]
    file.write_text(line("carol", "c" * 16))
    assert [keys.client_of(key) for key in ("a" * 16, "c" * 16)] == [None, Client("carol")]
    file.write_text("half a li")  # caught while it is written: who was known stays known
    assert keys.client_of("c" * 16) == Client("carol")


@pytest.fixture
def limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Keys:
    monkeypatch.setattr(module, "_REREAD_S", 0.0)
    monkeypatch.setattr(module.time, "monotonic", lambda: 1000.0)
    monkeypatch.setattr(module.time, "time", lambda: 86400.0 * 9 - 60)  # a minute before midnight
    (tmp_path / "keys").write_text(line("alice", "a" * 16)[:-1] + " rate=3 quota=10\n" + line("bob", "b" * 16))
    keys = Keys.read(str(tmp_path / "keys"))
    assert keys is not None
    return keys


def test_a_client_may_ask_so_often_a_minute(limited: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    alice, bob = (limited.client_of(key) for key in ("a" * 16, "b" * 16))
    assert alice == Client("alice", 3, 10)
    assert bob == Client("bob")
    for _ in range(3):
        limited.admit(alice)
    with pytest.raises(Refused, match="the key alice may ask 3 times a minute") as refused:
        limited.admit(alice)
    assert (refused.value.status, refused.value.retry_after_s) == (429, 20)
    for _ in range(99):
        limited.admit(bob)
    monkeypatch.setattr(module.time, "monotonic", lambda: 1020.0)
    limited.admit(alice)
    with pytest.raises(Refused):
        limited.admit(alice)


def test_a_client_may_have_so_many_samples_a_day(
    limited: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with charged(limited, "alice", 7):
        pass
    with pytest.raises(RuntimeError), charged(limited, "alice", 3):  # which failed, and is given back
        raise RuntimeError
    told = "the key alice may have 10 samples a day, and has 3 left until 00:00 UTC"
    with pytest.raises(Refused, match=told) as refused, charged(limited, "alice", 4):
        pytest.fail("made though it is too much")
    assert (refused.value.status, refused.value.retry_after_s) == (429, 60)
    with charged(limited, "alice", 3), charged(limited, "bob", 10**6), charged(None, None, 10**6):
        pass
    (tmp_path / "keys").write_text(
        line("alice", "c" * 16)[:-1] + " quota=12\n"
    )  # another key and more, without restart
    assert limited.client_of("c" * 16) == Client("alice", None, 12)
    with charged(limited, "alice", 2), pytest.raises(Refused), charged(limited, "alice", 1):
        pass
    monkeypatch.setattr(module.time, "time", lambda: 86400.0 * 9)
    with charged(limited, "alice", 12):
        pass
    monkeypatch.setattr(module.time, "time", lambda: 86400.0 * 10)
    limited.charge("alice", 11)
    (tmp_path / "keys").write_text(line("alice", "c" * 16)[:-1] + " quota=3\n")
    assert limited.client_of("c" * 16) == Client("alice", None, 3)
    limited.charge("alice", -2)  # what failed is given back, though less is allowed now


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (line("alice", "a") + "bob " + "b" * 16, "line 2: not a name and the SHA-256"),
        ("", "holds no key"),
        (
            line("alice", "a")[:-1] + " rate=fast",
            "line 1: not a name and the SHA-256 of a key in hexadecimal digits, with",
        ),
        ("älice " + "0" * 64, "not ASCII text"),
    ],
)
def test_a_file_that_is_no_list_of_keys_is_told(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "keys"
    file.write_text(text)
    with pytest.raises(InputError, match=told) as raised:
        Keys.read(str(file))
    assert "b" * 16 not in str(raised.value)
    with pytest.raises(InputError, match="No such file"):
        Keys.read(str(tmp_path / "nothing"))
