"""What a user must know of prepared data before a model is trained on it, in words."""

from __future__ import annotations

from collections import Counter

from mrigen.metrics.resampling import MIN_OWNERS
from mrigen.prepare.confounds import find_confounds
from mrigen.prepare.prepared_data import PreparedData
from mrigen.prepare.survey import ASSUMED


def warnings_of(prepared: PreparedData) -> list[str]:
    """A line each, with the remedy: splits that lack subjects, axes that nobody told, and what goes with pathology."""
    return [
        *_empty_splits(prepared),
        *_few_held_out(prepared),
        *_assumed_axes(prepared),
        *find_confounds(prepared.traits),
    ]


def _empty_splits(prepared: PreparedData) -> list[str]:
    return [
        f"no subject fell into the {split} split: add subjects"
        + (f", or raise data.{split}_fraction" if split != "train" else "")
        for split, count in prepared.subjects.items()
        if not count
    ]


def _assumed_axes(prepared: PreparedData) -> list[str]:
    counts: Counter[str] = Counter()
    for (_, _, orientation), count in prepared.geometry.items():
        if orientation.endswith(ASSUMED):
            counts[orientation.removesuffix(ASSUMED)] += count
    return [
        f"Analyze files do not tell where their axes point: {axes} was taken for {count} of them; if the images have "
        "left and right exchanged, say otherwise by --source-option orientation="
        for axes, count in counts.items()
    ]


def _few_held_out(prepared: PreparedData) -> list[str]:
    """The pathologies that have too few test subjects for `evaluate` and `audit`, in a line."""
    few = [f"{pathology} {count}" for pathology, count in prepared.by_pathology["test"].items() if count < MIN_OWNERS]
    if not few or not prepared.subjects["test"]:
        return []
    return [
        f"few subjects in the test split ({', '.join(few)}): evaluate has no interval with fewer than "
        f"{MIN_OWNERS} of a pathology, and with one neither KID nor audit can be had; add subjects, raise "
        "data.test_fraction, or say who is held out by --source-option split=TABLE"
    ]
