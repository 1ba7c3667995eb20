"""The keys that a server asks for."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from jobs.serve import keys as module
from jobs.serve.keys import Keys
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
    assert keys.name_of("k" * 16) == "MRIGEN_API_KEY"
    assert keys.name_of("") is None
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
    assert [keys.name_of(key) for key in ("a" * 16, "b" * 16, "c" * 16)] == ["alice", "bob", None]
    file.write_text(line("carol", "c" * 16))
    assert [keys.name_of(key) for key in ("a" * 16, "c" * 16)] == [None, "carol"]
    file.write_text("half a li")  # caught while it is written: who was known stays known
    assert keys.name_of("c" * 16) == "carol"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (line("alice", "a") + "bob " + "b" * 16, "line 2: not a name and the SHA-256"),
        ("", "holds no key"),
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
