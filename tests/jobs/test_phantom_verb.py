"""`mrigen phantom` on one local Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import mrigen, mrigen_killed

COARSE = ("--spacing-mm", "4")


def phantom(*args: str | Path | int) -> int:
    return mrigen("phantom", *args)


def contents(path: Path) -> dict[str, bytes]:
    return {file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()}


@pytest.mark.ray
def test_the_bytes_depend_on_the_seed_alone(
    tmp_path: Path, ray_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, workers in (("one", 1), ("two", 2)):
        assert phantom(tmp_path / name, "--subjects", 5, "--seed", 7, *COARSE, "--num-workers", workers) == 0
    printed = capsys.readouterr().out
    assert "5 phantom subjects (1 Dementia, 1 Glioblastoma, 2 Healthy, 1 Sclerosis), 5 made now" in printed
    assert f"BIDS tree: {tmp_path / 'one'}" in printed
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    assert sum(path.endswith(".nii.gz") for path in one) == 5 * 7
    assert one["participants.tsv"].splitlines()[0].startswith(b"participant_id\tage\tpathology\tbrain_ml")

    assert phantom(tmp_path / "one", "--subjects", 5, "--seed", 7, *COARSE) == 0
    assert "0 made now" in capsys.readouterr().out
    assert contents(tmp_path / "one") == one


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["out"], "--subjects"),
        (["out", "--subjects", "10000"], "--subjects"),
        (["out", "--subjects", "4", "--seed", "-1"], "--seed"),
        (["out", "--subjects", "4", "--spacing-mm", "0"], "--spacing-mm"),
        (["out", "--subjects", "4", "--spacing-mm", "nan"], "--spacing-mm"),
        (["{taken}", "--subjects", "4"], "other files"),
        (["nosuch://x", "--subjects", "4"], "nosuch"),
        (["--subjects", "4"], "OUT"),
    ],
)
def test_bad_input_ends_with_one_line(
    tmp_path: Path, args: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.tex").touch()
    assert phantom(*(arg.format(taken=taken) for arg in args)) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert words in error
    assert not (tmp_path / "out").exists()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_run_is_finished_by_the_same_command(
    tmp_path: Path, ray_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = ("--subjects", 24, "--num-workers", 1)
    assert phantom(whole, *arguments) == 0
    mrigen_killed(lambda: len(list(killed.glob("manifest/*.json"))) >= 3, "phantom", killed, *arguments, timeout=400)
    assert not (killed / "participants.tsv").exists()
    capsys.readouterr()
    assert phantom(killed, *arguments) == 0
    made = int(capsys.readouterr().out.split(", ")[-1].split(" made now")[0])
    assert 0 < made < 24
    assert contents(killed) == contents(whole)
