"""What `prepare` shows in the terminal."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from jobs.showing import print_table
from mrigen.config import DataConfig
from mrigen.labels import Cell, Pathology, all_cells
from mrigen.prepare.confounds import find_confounds, mixed_heads
from mrigen.prepare.prepared_data import PreparedData
from mrigen.prepare.survey import ScanFacts
from mrigen.records import SPLITS
from mrigen.report.data.page import PAGE
from mrigen.report.data.words import warnings_of
from mrigen.sources.recognise import FoundScans
from mrigen.sources.scans import Rejected, Scan
from mrigen.storage import Location

SHOWN_GEOMETRIES = 6


def print_found(found: FoundScans) -> None:
    """Print how each source was understood."""
    for kinds, place in zip(found.kinds, found.places, strict=True):
        for kind in kinds:
            print(f"{place}: {kind}")
    used = len({scan.lesions for scan in found.scans}.intersection(found.masks))
    masks = f", {len(found.masks)} masks ({used} go with scans)" if found.masks else ""
    print(f"recognised: {len(found.scans)} scans{masks}; left out: {len(found.rejected)} files")


def print_survey(facts: Mapping[Scan, ScanFacts], rejected: Sequence[Rejected], data: DataConfig) -> None:
    """Print the scans of each cell, their spacings, orientations and heads, and what goes with pathology."""
    counts = Counter(Cell(scan.pathology, scan.modality) for scan in facts)
    _print_cells(f"{len(facts)} scans (dry run: nothing was written)", counts)
    geometries: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    heads: dict[str, Counter[str]] = defaultdict(Counter)
    for fact in facts.values():
        geometries[fact.scan.source][fact.spacing_text, fact.orientation] += 1
        if fact.stripped is not None:
            heads[fact.scan.source]["stripped" if fact.stripped else "whole"] += 1
    table = Table(title="geometry", title_justify="left")
    for name in ("source", "spacing", "orientation", "scans", "heads (looked at)"):
        table.add_column(name, justify="right" if name == "scans" else "left")
    for source, found in sorted(geometries.items()):
        told = ", ".join(f"{count} {state}" for state, count in sorted(heads[source].items()))
        for (spacing, orientation), count in found.most_common(SHOWN_GEOMETRIES):
            table.add_row(source, spacing, orientation, str(count), told)
            source = told = ""
        if len(found) > SHOWN_GEOMETRIES:
            table.add_row("", f"and {len(found) - SHOWN_GEOMETRIES} more", "", "", "")
    Console(markup=False).print(table)
    for line in find_confounds(
        Counter(fact.traits(stripped=fact.stripped if data.head == "keep" else True) for fact in facts.values())
    ):
        print(f"warning: {line}")
    if data.head == "keep" and mixed_heads(Counter(fact.traits(stripped=fact.stripped) for fact in facts.values())):
        print("without --allow-mixed-heads, these will be refused")
    for split in SPLITS:
        subjects = {(scan.subject, scan.pathology) for scan in facts if scan.split == split}
        print(_split_line(split, len(subjects), Counter(pathology for _, pathology in subjects)))
    print(f"left out: {len(rejected)} files")


def _split_line(split: str, subjects: int, by_pathology: Mapping[Pathology, int]) -> str:
    told = ", ".join(f"{by_pathology[label]} {label}" for label in Pathology if label in by_pathology)
    return f"{split}: {subjects} subject{'' if subjects == 1 else 's'}{f' ({told})' if told else ''}"


def print_prepared(prepared: PreparedData, run: Location) -> None:
    """Print what RUN/data now holds."""
    _print_cells(f"{prepared.num_images} images", prepared.cells)
    for split, subjects in prepared.subjects.items():
        print(f"{_split_line(split, subjects, prepared.by_pathology[split])}; {prepared.splits[split]} images")
    if prepared.num_marked:
        print(f"lesion masks: {prepared.num_marked} images have one")
    if prepared.num_kept:
        print(f"{prepared.num_kept} of {prepared.num_groups} parts stood already and were kept")
    for warning in warnings_of(prepared):
        print(f"warning: {warning}")
    if prepared.rejected:
        quarantine = run / "quarantine" / "quarantine.parquet"
        print(f"left out: {len(prepared.rejected)} files, listed with their reasons in {quarantine}")
    print(f"images: {run / 'data'}")
    print(f"page:   {run / PAGE}")


def _print_cells(title: str, counts: Mapping[Cell, int]) -> None:
    print_table(title, Pathology, lambda cell: str(counts.get(cell) or "-"))
    if empty := [str(cell) for cell in all_cells() if not counts.get(cell)]:
        print(f"empty cells ({len(empty)}): {', '.join(empty)}")
