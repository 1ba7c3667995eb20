"""What goes with pathology though it is none: a model would learn it in the pathology's place."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology

THICKNESS_RATIO = 1.5
"""Typical slices this much thicker in one pathology than in another are told."""


@dataclass(frozen=True)
class Traits:
    """What one scan shows beside its pathology."""

    source: str
    pathology: Pathology
    modality: Modality
    thickness_mm: float
    """The largest distance between neighbouring voxels."""
    stripped: bool | None
    """None: not known."""


def find_confounds(scans: Mapping[Traits, int]) -> list[str]:
    """Everything found, a line each; `scans` counts those of equal traits."""
    return [*filter(None, [mixed_heads(scans)]), *_lone_sources(scans), *_thickness(scans)]


def refuse_mixed_heads(scans: Mapping[Traits, int]) -> None:
    """Raise InputError where stripped brains and whole heads are mixed."""
    if told := mixed_heads(scans):
        raise InputError(
            f"{told}: strip all of them (--set data.head=strip, with pip install 'mrigen[strip]', brain masks or "
            "data.strip_command), leave one kind out, or insist with --allow-mixed-heads"
        )


def mixed_heads(scans: Mapping[Traits, int]) -> str | None:
    """The line that tells of stripped brains mixed with whole heads, or None."""
    counts: dict[bool, Counter[Pathology]] = {True: Counter(), False: Counter()}
    for traits, count in scans.items():
        if traits.stripped is not None:
            counts[traits.stripped][traits.pathology] += count
    if not (counts[True] and counts[False]):
        return None
    told = f"{_counted(counts[True])} skull-stripped, {_counted(counts[False])} with whole heads"
    if len(counts[True] | counts[False]) < 2:
        return f"{told}: a model would draw either, whatever is asked for"
    return f"{told}: a model would learn which pathology has no skull"


def _counted(counts: Counter[Pathology]) -> str:
    listed = ", ".join(f"{counts[pathology]} {pathology}" for pathology in Pathology if counts[pathology])
    return f"{counts.total()} scans ({listed})"


def _lone_sources(scans: Iterable[Traits]) -> list[str]:
    """Pathologies none of whose sources holds another pathology."""
    sources: dict[Pathology, set[str]] = {}
    pathologies: dict[str, set[Pathology]] = {}
    for traits in scans:
        sources.setdefault(traits.pathology, set()).add(traits.source)
        pathologies.setdefault(traits.source, set()).add(traits.pathology)
    if len(sources) < 2:
        return []
    return [
        f"every {pathology} scan is from {' or '.join(sorted(sources[pathology]))}, where no other pathology is: "
        "a model cannot tell the disease from the scanners and the processing there"
        for pathology in Pathology
        if pathology in sources and all(pathologies[source] == {pathology} for source in sources[pathology])
    ]


def _thickness(scans: Mapping[Traits, int]) -> list[str]:
    """Modalities whose typical slice thickness differs between pathologies."""
    lines = []
    for modality in Modality:
        values: dict[Pathology, list[float]] = {}
        for traits, count in scans.items():
            if traits.modality is modality:
                values.setdefault(traits.pathology, []).extend([traits.thickness_mm] * count)
        typical = {pathology: median(found) for pathology, found in values.items()}
        if len(typical) < 2 or max(typical.values()) < THICKNESS_RATIO * min(typical.values()):
            continue
        told = ", ".join(
            f"{typical[pathology]:.3g} mm in {pathology}" for pathology in Pathology if pathology in typical
        )
        lines.append(f"{modality}: typical slice thickness goes with pathology ({told})")
    return lines
