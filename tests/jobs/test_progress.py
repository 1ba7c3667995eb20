"""The line that tells how far long work is."""

from __future__ import annotations

import pytest

from jobs.progress import ProgressLine


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
