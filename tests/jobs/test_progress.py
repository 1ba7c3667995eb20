"""The line that tells how far long work is."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from jobs.progress import ProgressLine

Told = Callable[..., list[str]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Told:
    """The lines of work of which at some moments, in seconds, so much was done."""
    now = [0.0]
    monkeypatch.setattr("jobs.progress.time.monotonic", lambda: now[0])

    def told(title: str, *moments: tuple[float, int], detail: str = "") -> list[str]:
        with ProgressLine(title, 1000) as line:
            for now[0], done in moments:
                line.update(done, detail)
        return capsys.readouterr().err.splitlines()

    return told


def test_what_stood_already_or_was_lost_is_no_part_of_the_rate(told: Told) -> None:
    assert told("train-ldm", (5.0, 0), (10.0, 500), (20.0, 520), (25.0, 510), (35.0, 530))[1:-1] == [
        "train-ldm: 500/1000  10 s",
        "train-ldm: 520/1000  20 s  2 a second  0:04:00 left",
        "train-ldm: 510/1000  25 s",
        "train-ldm: 530/1000  35 s  2 a second  0:03:55 left",
    ]


def test_a_line_tells_the_rate_of_the_last_minute_and_the_time_left(told: Told) -> None:
    stood = (2.0, 400)
    moments = [stood, (30.0, 430), (100.0, 570), (101.0, 600), (102.0, 1000)]
    assert told("generate (samples)", *moments, detail="3 rejected") == [
        "generate (samples): 430/1000  30 s  1.07 a second  0:08:52 left  3 rejected",
        "generate (samples): 570/1000  100 s  2 a second  0:03:35 left  3 rejected",
        "generate (samples): 1000/1000  102 s  7.92 a second  3 rejected",
    ]
