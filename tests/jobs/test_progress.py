"""The line that tells how far long work is."""

from __future__ import annotations

import pytest

from jobs.progress import ProgressLine


def test_what_stood_already_or_was_lost_is_no_part_of_the_rate(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("jobs.progress.time.monotonic", lambda: now[0])
    with ProgressLine("train-ldm", 1000) as line:
        for now[0], done in ((5.0, 0), (10.0, 500), (20.0, 520), (25.0, 510), (35.0, 530)):
            line.update(done)
    assert capsys.readouterr().err.splitlines()[1:-1] == [
        "train-ldm: 500/1000  10 s",
        "train-ldm: 520/1000  20 s  2 a second  0:04:00 left",
        "train-ldm: 510/1000  25 s",
        "train-ldm: 530/1000  35 s  2 a second  0:03:55 left",
    ]


def test_a_line_tells_the_rate_of_the_last_minute_and_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("jobs.progress.time.monotonic", lambda: now[0])
    with ProgressLine("generate (samples)", 1000) as line:
        for now[0], done in ((2.0, 400), (30.0, 430), (100.0, 570), (101.0, 600)):  # the first stood already
            line.update(done, "3 rejected")
        now[0] = 102.0
        line.update(1000)
    assert capsys.readouterr().err.splitlines() == [
        "generate (samples): 430/1000  30 s  1.07 a second  0:08:52 left  3 rejected",
        "generate (samples): 570/1000  100 s  2 a second  0:03:35 left  3 rejected",
        "generate (samples): 1000/1000  102 s  7.92 a second",
    ]
