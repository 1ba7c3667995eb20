"""`mrigen phantom` on one local Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.command import hashes, mrigen, mrigen_killed

COARSE = ("--spacing-mm", "8")


@pytest.mark.ray
def test_the_bytes_depend_on_the_seed_alone(
    tmp_path: Path, ray_cluster: None, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("one", "two"):
        assert mrigen("phantom", tmp_path / name, "--subjects", 5, "--seed", 7, *COARSE, "--num-workers", 2) == 0
        request.getfixturevalue("no_ray")
    printed = capsys.readouterr().out
    assert "5 phantom subjects (1 Dementia, 1 Glioblastoma, 2 Healthy, 1 Sclerosis), 5 made now" in printed
    assert f"BIDS tree: {tmp_path / 'one'}" in printed
    one = hashes(tmp_path / "one")
    assert one == hashes(tmp_path / "two")
    assert sum(path.endswith(".nii.gz") for path in one) == 5 * 7
    table = (tmp_path / "one" / "participants.tsv").read_text()
    assert table.startswith("participant_id\tage\tpathology\tbrain_ml")

    assert mrigen("phantom", tmp_path / "one", "--subjects", 5, "--seed", 7, *COARSE) == 0
    assert "0 made now" in capsys.readouterr().out
    assert hashes(tmp_path / "one") == one

    assert mrigen("phantom", tmp_path / "site", "--subjects", 1, "--site", 3, *COARSE) == 0
    assert "\nsub-site3phantom0000\t" in (tmp_path / "site" / "participants.tsv").read_text()


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_killed_run_is_finished_by_the_same_command(
    tmp_path: Path, ray_cluster: None, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    arguments = ("--subjects", 24, "--num-workers", 1)
    assert mrigen("phantom", whole, *arguments) == 0
    mrigen_killed(lambda: len(list(killed.glob("manifest/*.json"))) >= 3, "phantom", killed, *arguments)
    assert not (killed / "participants.tsv").exists()
    capsys.readouterr()
    assert mrigen("phantom", killed, *arguments) == 0
    made = int(capsys.readouterr().out.split(", ")[-1].split(" made now")[0])
    assert 0 < made < 24
    assert hashes(killed) == hashes(whole)
