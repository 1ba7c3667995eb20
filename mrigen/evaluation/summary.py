"""What was judged -> the rows of the report, each with all its figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from mrigen.condition_classifier.classifier import Trained
from mrigen.condition_classifier.fidelity import FIGURES, Fidelity
from mrigen.condition_classifier.fidelity import fidelity as fidelity_of
from mrigen.condition_classifier.store import judge_facts
from mrigen.config import Config
from mrigen.evaluation.answered_images import answers_in, scored_in
from mrigen.evaluation.described import Found, Looked, Slice
from mrigen.evaluation.extrapolation import Extrapolation, extrapolate
from mrigen.evaluation.figure_tasks import Comparison, Judgements, Pairs
from mrigen.evaluation.shards import Plan
from mrigen.features.names import AUTOENCODER, MRI
from mrigen.images.index import Group
from mrigen.images.scopes import Kind, Scope, all_scopes
from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.metrics.figure import Figure
from mrigen.metrics.resampling import interval, mean_draws, owner_weights, seeded
from mrigen.threads import one_thread

FIDELITY = "fidelity"
NO_MASKS = "no lesion mask of these images"
NO_LESIONS = "no lesion in these images, by their masks"


@dataclass(frozen=True)
class Row:
    """One row of the report. `images` counts the images of its cells by group, and the held-out subjects.

    Figures are named `GROUP/NAME`: `autoencoder-quality/psnr_db`, `diversity/ms_ssim_real`, and for each extractor
    `EXTRACTOR/kid` with its `EXTRACTOR/kid_floor`, and so on; `fidelity/` with the names of
    `mrigen.condition_classifier.fidelity`.
    """

    scope: Scope
    images: Mapping[str, int]
    figures: Mapping[str, Figure]

    @property
    def name(self) -> str:
        """That of its scope."""
        return self.scope.name

    def as_json(self) -> dict[str, Any]:
        """For `metrics.json`."""
        return {
            "name": self.name,
            "kind": str(self.scope.kind),
            "cells": [str(cell) for cell in self.scope.cells],
            "untrained": self.scope.untrained,
            "images": dict(self.images),
            "figures": {name: figure.as_json() for name, figure in self.figures.items()},
        }


@dataclass(frozen=True)
class Evaluation:
    """All figures, the widest scope first; a few images of each group and cell to look at, lowest slice first; and
    where in the image the autoencoder errs, as the mean absolute error of each pixel."""

    split: str
    held_out: str
    """A hash of the held-out images."""
    extractors: Sequence[str]
    identities: Mapping[str, str]
    rows: Sequence[Row]
    pictures: Mapping[tuple[Group, Cell], Sequence[Slice]]
    error_maps: Mapping[Modality, Slice]
    judge: Mapping[str, Any] | None = None
    """How the classifier of pathology and modality was trained, None where there is none."""
    confusion: Mapping[str, Mapping[str, list[list[int]]]] = field(default_factory=dict)
    """As `mrigen.condition_classifier.fidelity.Fidelity.confusion`."""
    extrapolation: Extrapolation | None = None
    """None where it was not asked for."""

    def of_kind(self, *kinds: Kind) -> list[Row]:
        """The rows of some kinds, in their order."""
        return [row for row in self.rows if row.scope.kind in kinds]


def summarise(
    found: Found,
    judgements: Judgements,
    plan: Plan,
    config: Config,
    *,
    split: str,
    judge: Trained | None = None,
    absent: Mapping[str, str] | None = None,
    no_samples: str | None = None,
    extrapolation: bool = False,
    num_pictures: int = 6,
) -> Evaluation:
    """All figures. `absent` are the reasons for networks that are not there, by name, `no_samples` that where nothing
    was generated."""
    absent = absent or {}
    fidelity = _fidelity(found, judge, plan, config) if judge else None
    rows = []
    for scope in all_scopes(plan.untrained):
        figures = _quality(scope, found, config, absent.get(AUTOENCODER, f"no image in the {split} split"))
        figures |= _diversity(scope, found, judgements, config, split, no_samples)
        figures |= _named(scope, fidelity, absent.get(MRI, "no judge"), no_samples)
        for extractor in config.evaluation.extractors:
            if extractor in plan.extractors:
                judged = cast("Mapping[str, Figure]", judgements[Comparison(scope, extractor)])
                figures |= {f"{extractor}/{name}": figure for name, figure in judged.items()}
            else:
                figures[f"{extractor}/kid"] = Figure.missing(absent.get(extractor, "no such network"))
        rows.append(Row(scope, _counts(scope, found), figures))
    pictures = {key: _spread(looked.kept, num_pictures) for key, looked in found.items() if looked.kept}
    return Evaluation(
        split,
        plan.held_out,
        plan.extractors,
        plan.identities,
        rows,
        pictures,
        _error_maps(found),
        judge=judge_facts(judge) if judge else None,
        confusion=fidelity.confusion if fidelity else {},
        extrapolation=_extrapolation(found, judge, plan, config) if judge and extrapolation else None,
    )


def _fidelity(found: Found, judge: Trained, plan: Plan, config: Config) -> Fidelity:
    real, generated = answers_in(found, Group.HELD_OUT), answers_in(found, Group.GENERATED)
    num_bootstraps = config.evaluation.num_bootstraps
    return fidelity_of(
        real, generated, judge.counts, untrained=plan.untrained, num_bootstraps=num_bootstraps, seed=config.seed
    )


def _named(scope: Scope, fidelity: Fidelity | None, no_judge: str, no_samples: str | None) -> dict[str, Figure]:
    """How often the judge names what was asked for."""
    figures = {}
    for name in FIGURES:
        figure = fidelity.rows[scope.name][name] if fidelity else Figure.missing(no_judge)
        if fidelity and no_samples and "_real" not in name:
            figure = Figure.missing(no_samples)
        figures[f"{FIDELITY}/{name}"] = figure
    return figures


def _extrapolation(found: Found, judge: Trained, plan: Plan, config: Config) -> Extrapolation:
    truth, generated, training = (
        scored_in(found, group, plan.extractors) for group in (Group.HELD_OUT, Group.GENERATED, Group.REFERENCE)
    )
    num_bootstraps = config.evaluation.num_bootstraps
    with one_thread():
        return extrapolate(
            truth, generated, training, plan.untrained, judge.counts, num_bootstraps=num_bootstraps, seed=config.seed
        )


def _quality(scope: Scope, found: Found, config: Config, nothing: str) -> dict[str, Figure]:
    """How well the autoencoder restores held-out images: means over images, intervals over subjects."""
    parts = [(cell, found.get((Group.HELD_OUT, cell), Looked())) for cell in scope.cells]
    figures = {}
    owners = [(owner, cell) for cell, looked in parts for owner in looked.restored_owners]
    for name, column in (("psnr_db", "psnr"), ("ssim", "ssim"), ("mae", "mae")):
        values = [value for _, looked in parts for value in looked.restored[column]]
        figures[name] = _mean(values, owners, config, scope) if values else Figure.missing(nothing)
    errors = [value for _, looked in parts for value in looked.lesion_mae]
    if errors:
        owners = [(owner, cell) for cell, looked in parts for owner in looked.lesion_owners]
        figures["lesion_mae"] = _mean(errors, owners, config, scope)
    else:
        any_mask = any(looked.num_marked for _, looked in parts)
        restored = any(looked.restored_owners for _, looked in parts)
        figures["lesion_mae"] = Figure.missing((NO_LESIONS if any_mask else NO_MASKS) if restored else nothing)
    return {f"autoencoder-quality/{name}": figure for name, figure in figures.items()}


def _mean(values: Sequence[float], named: Sequence[tuple[str, Cell]], config: Config, scope: Scope) -> Figure:
    """The mean over images, with the interval over subjects."""
    owners, strata = _codes(named)
    weights = owner_weights(
        owners, strata, config.evaluation.num_bootstraps, seeded(config.seed, scope.name, "quality")
    )
    found = np.array(values)
    ends = interval(mean_draws(found, owners, weights)) if weights is not None else None
    return Figure.of(float(found.mean()), len(found), ends)


def _diversity(
    scope: Scope, found: Found, judgements: Judgements, config: Config, split: str, no_samples: str | None
) -> dict[str, Figure]:
    """Likeness within cells: mean over the pairs of every cell, which never cross cells."""
    sides = (
        (Group.GENERATED, "ms_ssim_generated", no_samples or "no generated image", "a pair needs two images"),
        (Group.HELD_OUT, "ms_ssim_real", f"no image in the {split} split", "a pair needs images of two subjects"),
    )
    figures = {}
    for group, name, empty, no_pair in sides:
        looked = [found.get((group, cell), Looked()) for cell in scope.cells]
        judged = [cast("Mapping[Group, Pairs]", judgements[cell]).get(group, Pairs((), ())) for cell in scope.cells]
        broken, total = sum(one.num_broken for one in looked), sum(map(len, looked))
        values = np.array([value for pairs in judged for value in pairs.values])
        if not total or broken or not len(values):
            why = f"{broken} of {total} images hold values that are not finite" if broken else no_pair
            figures[f"diversity/{name}"] = Figure.missing(why if total else empty, total)
            continue
        named = [
            (owner, cell)
            for cell, pairs in zip(scope.cells, judged, strict=True)
            for both in pairs.owners
            for owner in both
        ]
        ends = _pair_interval(values, named, config, scope.name, name)
        figures[f"diversity/{name}"] = Figure.of(float(values.mean()), len(values), ends)
    return figures


def _pair_interval(
    values: np.ndarray[Any, np.dtype[np.float64]], named: Sequence[tuple[str, Cell]], config: Config, *key: str
) -> tuple[float, float] | None:
    """Owners are drawn anew; a pair counts as often as its two owners were drawn, multiplied."""
    owners, strata = _codes(named)
    weights = owner_weights(owners, strata, config.evaluation.num_bootstraps, seeded(config.seed, *key))
    if weights is None:
        return None
    pairs = weights[:, owners[0::2]] * weights[:, owners[1::2]]
    with np.errstate(invalid="ignore", divide="ignore"):
        return interval(pairs @ values / pairs.sum(1))


def _codes(
    named: Sequence[tuple[str, Cell]],
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Owners and their pathologies as numbers."""
    first: dict[str, int] = {}
    owners = [first.setdefault(owner, len(first)) for owner, _ in named]
    strata = [list(Pathology).index(cell.pathology) for _, cell in named]
    return np.array(owners, np.int64), np.array(strata, np.int64)


def _counts(scope: Scope, found: Found) -> dict[str, int]:
    looked = {group: [found.get((group, cell), Looked()) for cell in scope.cells] for group in Group}
    return {
        "held_out": sum(map(len, looked[Group.HELD_OUT])),
        "held_out_subjects": len({owner for one in looked[Group.HELD_OUT] for owner in one.owners}),
        "generated": sum(map(len, looked[Group.GENERATED])),
        "reference": sum(map(len, looked[Group.REFERENCE])),
    }


def _error_maps(found: Found) -> dict[Modality, Slice]:
    """By modality, over all pathologies."""
    maps = {}
    for modality in Modality:
        looked = [found.get((Group.HELD_OUT, cell), Looked()) for cell in all_cells() if cell.modality == modality]
        sums = [one.error_sum for one in looked if one.error_sum is not None]
        if sums:
            mean = np.sum(sums, axis=0) / sum(len(one.restored_owners) for one in looked)
            maps[modality] = mean.astype(np.float32)
    return maps


def _spread(kept: Sequence[tuple[float, Slice]], count: int) -> list[Slice]:
    """`count` images evenly spread over the heights."""
    ordered = sorted(kept, key=lambda pair: pair[0])
    if len(ordered) > count:
        ordered = [ordered[round(i * (len(ordered) - 1) / (count - 1))] for i in range(count)]
    return [image for _, image in ordered]
