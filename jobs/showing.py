"""What `prepare`, `generate` and `demo` show in the terminal."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta

from rich.console import Console
from rich.table import Table

from jobs.placement import Placement
from mrigen.cohort.estimate import Estimate
from mrigen.config import DataConfig
from mrigen.labels import Cell, Modality, Pathology, all_cells
from mrigen.prepare.confounds import find_confounds, mixed_heads
from mrigen.prepare.prepared_data import PreparedData
from mrigen.prepare.survey import ScanFacts
from mrigen.records import SPLITS
from mrigen.report.data.page import PAGE
from mrigen.report.data.words import warnings_of
from mrigen.sources.recognise import FoundScans
from mrigen.sources.scans import Rejected, Scan
from mrigen.stages.generate import Cohort
from mrigen.storage import Location

SHOWN_GEOMETRIES = 6
MANY_FILES = 1_000_000


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


def print_cohort(cohort: Cohort, folder: Location) -> None:
    """Print the table of samples a cell, and where the data set and its page are."""

    def told(cell: Cell) -> str:
        count = cohort.counts.get(cell, 0)
        return f"{count}{' *' if count and cell not in cohort.trained else ''}"

    made = [label for label in Pathology if any(cell.pathology is label for cell in cohort.counts)]
    _print_table(f"{sum(cohort.counts.values())} synthetic images", made, told)
    if cohort.counts.keys() - cohort.trained:
        print("* never seen in training: composed from the labels alone")
    elif cohort.counts.keys() == cohort.trained != set(all_cells()):
        print("these are the cells that the model was trained on: --allow-untrained makes the others too, marked")
    if cohort.rejected:
        reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(cohort.rejected.items()))
        print(f"rejected and drawn anew: {reasons}; left out for good: {cohort.num_left_out} samples")
    if not cohort.has_limits:
        print("note: the model folder does not tell how large and bright its training images are: this was not checked")
    if cohort.was_finished:
        print("it was finished already: nothing was done")
    print(f"data set: {folder}")
    print(f"page:     {cohort.page}")


def print_room(estimate: Estimate, *, dry_run: bool = False) -> None:
    """Print what is to be made, and whether it fits the disk."""
    print(f"to make: {estimate.num_samples} samples{' (dry run: nothing was written)' if dry_run else ''}")
    known = "" if estimate.free_bytes is None else f": {'fits' if estimate.fits else 'DOES NOT FIT'}"
    print(f"disk:    {estimate}{known}")
    if estimate.num_samples * estimate.files >= MANY_FILES:
        print("files:   so many are slow to list and to copy: --format webdataset or parquet packs a shard in one")


def print_time(estimate: Estimate, placement: Placement, timed_in: str) -> None:
    """Print how long it takes, on GPUs in GPU hours too, once that was timed."""
    if estimate.seconds is not None:
        of_one = estimate.num_samples * estimate.seconds
        took = f"{timedelta(seconds=round(of_one / placement.num_workers))} with {placement.num_workers} workers"
        on_gpus = f" ({of_one / 3600:.3g} GPU hours)" if placement.use_gpu else ""
        print(f"time:    {took}{on_gpus}, by {estimate.seconds:.3g} s a sample in {timed_in}")


def _print_cells(title: str, counts: Mapping[Cell, int]) -> None:
    _print_table(title, Pathology, lambda cell: str(counts.get(cell) or "-"))
    if empty := [str(cell) for cell in all_cells() if not counts.get(cell)]:
        print(f"empty cells ({len(empty)}): {', '.join(empty)}")


def _print_table(title: str, pathologies: Iterable[Pathology], told: Callable[[Cell], str]) -> None:
    """Print what is told of every cell, a line for each pathology."""
    table = Table("pathology", title=title, title_justify="left")
    for modality in Modality:
        table.add_column(str(modality), justify="right")
    for pathology in pathologies:
        table.add_row(str(pathology), *(told(Cell(pathology, modality)) for modality in Modality))
    Console(markup=False).print(table)
