"""What was seen of all images, and what the tasks gave -> the rows of the report, each with all its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from mrigen.condition_classifier.classifier import Trained
from mrigen.condition_classifier.fidelity import FIGURES, Fidelity, fidelity
from mrigen.condition_classifier.store import training_facts
from mrigen.config import Config
from mrigen.evaluation.answered_images import answers_in, scored_in
from mrigen.evaluation.described_cells import DescribedCell, DescribedImages, Slice, num_broken
from mrigen.evaluation.extrapolation import Extrapolation, extrapolate
from mrigen.evaluation.figure_tasks import ComparedImages, PairLikeness, ScopeByExtractor, TaskResults
from mrigen.features.names import AUTOENCODER, MRI
from mrigen.images.index import Group
from mrigen.images.labelled import pathology_codes
from mrigen.images.scopes import Scope, ScopeKind, all_scopes
from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.metrics.figure import Figure, figures_json, not_finite
from mrigen.metrics.resampling import Codes, Weights, interval, mean_draws, owner_codes, owner_weights, seeded

FIDELITY = "fidelity"
CLINICAL = "clinical"
NO_BRAINS = "measured where images are known to show no skull (data.head: strip)"
NOT_MEASURED = "nothing to measure in this modality, or no slice that shows it"
NO_MASKS = "no lesion mask of these images"
NO_LESIONS = "no lesion in these images, by their masks"


@dataclass(frozen=True)
class ScopeRow:
    """One row of the report. `images` counts the images of its cells by group, and the held-out subjects.

    Figures are named `GROUP/NAME`: `autoencoder-quality/psnr_db`, and `kid_restored` by the leading extractor;
    `diversity/ms_ssim_real`, and for each extractor
    `EXTRACTOR/kid` with its `EXTRACTOR/kid_floor`, and so on; `fidelity/` with the names of
    `mrigen.condition_classifier.fidelity`; of single cells `clinical/bright_mm2` and so on, and with `_real`.
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
            "figures": figures_json(self.figures),
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
    rows: Sequence[ScopeRow]
    pictures: Mapping[tuple[Group, Cell], Sequence[Slice]]
    error_maps: Mapping[Modality, Slice]
    classifier: Mapping[str, Any] | None = None
    """How the condition classifier was trained, None where there is none."""
    confusion: Mapping[str, Mapping[str, list[list[int]]]] = field(default_factory=dict)
    """As `mrigen.condition_classifier.fidelity.Fidelity.confusion`."""
    extrapolation: Extrapolation | None = None
    """None where it was not asked for."""
    num_broken_samples: int = 0
    """Generated images that hold values that are not finite."""

    def of_kind(self, *kinds: ScopeKind) -> list[ScopeRow]:
        """The rows of some kinds, in their order."""
        return [row for row in self.rows if row.scope.kind in kinds]


def summarise(
    images: ComparedImages,
    results: TaskResults,
    *,
    classifier: Trained | None = None,
    absent: Mapping[str, str] | None = None,
    extrapolation: bool = False,
    num_pictures: int = 6,
) -> Evaluation:
    """All figures. `results` are those of all tasks, `absent` the reasons for networks that are not there, by name."""
    described, plan, config, absent = images.described, images.plan, images.config, absent or {}
    named = None
    if classifier:
        real, made = (answers_in(described, group) for group in (Group.HELD_OUT, Group.GENERATED))
        draws, seed = config.evaluation.num_bootstraps, config.seed
        named = fidelity(real, made, classifier.counts, untrained=plan.untrained, num_bootstraps=draws, seed=seed)
    nothing_restored = absent.get(AUTOENCODER, f"no image in the {images.split} split")
    rows = []
    for scope in all_scopes(plan.untrained):
        figures = _quality(scope, images, nothing_restored)
        figures |= _diversity(scope, images, results)
        figures |= _named(scope, named, absent.get(MRI, "no classifier"), images.no_samples)
        figures |= clinical_figures(scope.cell, images) if scope.cell else {}
        for extractor in config.evaluation.extractors:
            if extractor in plan.extractors:
                found = cast("Mapping[str, Figure]", results[ScopeByExtractor(scope, extractor)])
                figures |= {f"{extractor}/{name}": figure for name, figure in found.items()}
            else:
                figures[f"{extractor}/kid"] = Figure.missing(absent.get(extractor, "no such network"))
        lead = next(iter(plan.extractors), None)
        figures["autoencoder-quality/kid_restored"] = figures.pop(
            f"{lead}/kid_restored", Figure.missing(nothing_restored)
        )
        rows.append(ScopeRow(scope, _counts(scope, described), figures))
    return Evaluation(
        images.split,
        plan.held_out,
        plan.extractors,
        plan.identities,
        rows,
        {key: spread(cell, num_pictures) for key, cell in described.groups.items() if cell.values("image")},
        _error_maps(described),
        classifier=training_facts(classifier) if classifier else None,
        confusion=named.confusion if named else {},
        extrapolation=_extrapolation(images, classifier) if classifier and extrapolation else None,
        num_broken_samples=num_broken(described.of(Group.GENERATED, all_cells()))[0],
    )


def _named(scope: Scope, found: Fidelity | None, no_classifier: str, no_samples: str | None) -> dict[str, Figure]:
    """How often the classifier names what was asked for."""
    figures = {}
    for name in FIGURES:
        figure = found.rows[scope.name][name] if found else Figure.missing(no_classifier)
        if found and no_samples and "_real" not in name:
            figure = Figure.missing(no_samples)
        figures[f"{FIDELITY}/{name}"] = figure
    return figures


def clinical_figures(cell: Cell, images: ComparedImages) -> dict[str, Figure]:
    """What is measured in generated and in held-out images of a cell, as means over images; intervals over subjects."""
    sides = (
        (Group.GENERATED, "", images.no_samples or "no generated image of this cell"),
        (Group.HELD_OUT, "_real", f"no image of this cell in the {images.split} split"),
    )
    figures = {}
    for group, suffix, empty in sides:
        rows = images.described.of(group, [cell])[0].rows
        unmeasured = NOT_MEASURED if images.plan.brains_alone else NO_BRAINS
        for name, measured in _CLINICAL.items():
            found = [(value, row["owner"]) for row in rows if (value := measured(row, cell)) is not None]
            values, named = [value for value, _ in found], [(owner, cell) for _, owner in found]
            figures[f"{CLINICAL}/{name}{suffix}"] = (
                _mean(values, named, images.config, Scope(str(cell), ScopeKind.CELL, (cell,)))
                if values
                else Figure.missing(unmeasured if rows else empty, len(rows))
            )
    return figures


def _pathology_named_right(row: Mapping[str, Any], cell: Cell) -> float | None:
    """0 or 1, of an image with a bright area; None of others."""
    if not row["bright_mm2"] or row["answers"] is None:
        return None
    return float(row["answers"][: len(Pathology)].argmax() == list(Pathology).index(cell.pathology))


_CLINICAL: Mapping[str, Callable[[Mapping[str, Any], Cell], float | None]] = {
    "bright_mm2": lambda row, _: cast("float | None", row["bright_mm2"]),
    "bright_share": lambda row, _: None if row["bright_mm2"] is None else float(row["bright_mm2"] > 0),
    "pathology_of_bright": _pathology_named_right,
    "ventricle_mm2": lambda row, _: cast("float | None", row["ventricle_mm2"]),
}


def _extrapolation(images: ComparedImages, classifier: Trained) -> Extrapolation:
    groups = (Group.HELD_OUT, Group.GENERATED, Group.REFERENCE)
    real, made, training = (scored_in(images.described, group, images.plan.extractors) for group in groups)
    return extrapolate(
        real,
        made,
        training,
        images.plan.untrained,
        classifier.counts,
        num_bootstraps=images.config.evaluation.num_bootstraps,
        seed=images.config.seed,
    )


def _quality(scope: Scope, images: ComparedImages, nothing: str) -> dict[str, Figure]:
    """How well the autoencoder restores held-out images: means over images, intervals over subjects."""
    config, held_out = images.config, images.described.of(Group.HELD_OUT, scope.cells)
    figures = {}
    named = _named_owners(scope, (cell.owners("psnr") for cell in held_out))
    for name, column in (("psnr_db", "psnr"), ("ssim", "ssim"), ("mae", "mae")):
        values = [value for cell in held_out for value in cell.values(column)]
        figures[name] = _mean(values, named, config, scope) if values else Figure.missing(nothing)
    errors = [value for cell in held_out for value in cell.values("lesion_mae")]
    if errors:
        named = _named_owners(scope, (cell.owners("lesion_mae") for cell in held_out))
        figures["lesion_mae"] = _mean(errors, named, config, scope)
    else:
        why = NO_LESIONS if any(cell.values("lesion_pixels") for cell in held_out) else NO_MASKS
        figures["lesion_mae"] = Figure.missing(why if any(cell.values("psnr") for cell in held_out) else nothing)
    return {f"autoencoder-quality/{name}": figure for name, figure in figures.items()}


def _mean(values: Sequence[float], named: Sequence[tuple[str, Cell]], config: Config, scope: Scope) -> Figure:
    """The mean over images, with the interval over subjects."""
    owners, weights = _drawn_owners(named, config, scope.name, "quality")
    found = np.array(values)
    ends = interval(mean_draws(found, owners, weights)) if weights is not None else None
    return Figure.of(float(found.mean()), len(found), ends)


def _diversity(scope: Scope, images: ComparedImages, results: TaskResults) -> dict[str, Figure]:
    """Likeness within cells: mean over the pairs of every cell, which never cross cells."""
    sides = (
        (Group.GENERATED, "ms_ssim_generated", images.no_samples or "no generated image", "a pair needs two images"),
        (
            Group.HELD_OUT,
            "ms_ssim_real",
            f"no image in the {images.split} split",
            "a pair needs images of two subjects",
        ),
    )
    figures = {}
    for group, name, empty, no_pair in sides:
        by_cell = [cast("Mapping[Group, PairLikeness]", results[cell]) for cell in scope.cells]
        pairs = [found.get(group, PairLikeness()) for found in by_cell]
        broken, total = num_broken(images.described.of(group, scope.cells))
        values = np.array([value for of_cell in pairs for value in of_cell.values])
        if not total or broken or not len(values):
            why = (not_finite(broken, total) or no_pair) if total else empty
            figures[f"diversity/{name}"] = Figure.missing(why, total)
            continue
        owners = ([owner for both in of_cell.owners for owner in both] for of_cell in pairs)
        ends = pair_interval(values, _named_owners(scope, owners), images.config, scope.name, name)
        figures[f"diversity/{name}"] = Figure.of(float(values.mean()), len(values), ends)
    return figures


def pair_interval(
    values: Weights, named: Sequence[tuple[str, Cell]], config: Config, *key: str
) -> tuple[float, float] | None:
    """Of the mean over pairs, whose two owners stand in `named` one after the other, each with its cell.

    Owners are drawn anew; a pair counts as often as its two owners were drawn, multiplied.
    """
    owners, weights = _drawn_owners(named, config, *key)
    if weights is None:
        return None
    pairs = weights[:, owners[0::2]] * weights[:, owners[1::2]]
    with np.errstate(invalid="ignore", divide="ignore"):
        return interval(pairs @ values / pairs.sum(1))


def _named_owners(scope: Scope, owners: Iterable[Sequence[str]]) -> list[tuple[str, Cell]]:
    """The owners of every cell of a scope, each with the cell."""
    return [(owner, cell) for cell, some in zip(scope.cells, owners, strict=True) for owner in some]


def _drawn_owners(named: Sequence[tuple[str, Cell]], config: Config, *key: str) -> tuple[Codes, Weights | None]:
    """Owners as numbers, and how often each is drawn within its pathology, as `owner_weights` has it."""
    owners, strata = owner_codes([owner for owner, _ in named]), pathology_codes([cell for _, cell in named])
    return owners, owner_weights(owners, strata, config.evaluation.num_bootstraps, seeded(config.seed, *key))


def _counts(scope: Scope, described: DescribedImages) -> dict[str, int]:
    held_out = described.of(Group.HELD_OUT, scope.cells)
    return {
        "held_out": sum(map(len, held_out)),
        "held_out_subjects": len({owner for cell in held_out for owner in cell.owners()}),
        "generated": sum(map(len, described.of(Group.GENERATED, scope.cells))),
        "reference": sum(map(len, described.of(Group.REFERENCE, scope.cells))),
    }


def _error_maps(described: DescribedImages) -> dict[Modality, Slice]:
    """By modality, over all pathologies."""
    maps = {}
    for modality in Modality:
        cells = described.of(Group.HELD_OUT, [cell for cell in all_cells() if cell.modality == modality])
        sums = [cell.error_sum for cell in cells if cell.error_sum is not None]
        if sums:
            mean = np.sum(sums, axis=0) / sum(len(cell.values("psnr")) for cell in cells)
            maps[modality] = mean.astype(np.float32)
    return maps


def spread(cell: DescribedCell, count: int) -> list[Slice]:
    """`count` of the images that were kept, evenly spread over the heights."""
    ordered = sorted((row for row in cell.rows if row["image"] is not None), key=lambda row: row["slice_mm"])
    if len(ordered) > count:
        ordered = [ordered[round(i * (len(ordered) - 1) / (count - 1))] for i in range(count)]
    return [row["image"] for row in ordered]
