"""Two evaluations side by side, from their metrics.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mrigen.condition_classifier.fidelity import TARGETS
from mrigen.errors import InputError
from mrigen.evaluation.extrapolation import ANSWERS
from mrigen.evaluation.summary import FIDELITY
from mrigen.features.names import MRI
from mrigen.images.scopes import ScopeKind
from mrigen.metrics.figure import Figure
from mrigen.report.evaluation.metrics_json import SCHEMA_VERSION
from mrigen.report.figure_text import Notes, aligned, apart, figure_and_interval
from mrigen.storage import Location

_SAME = ("feature_size", "image_size", "num_neighbours", "interval_level", "ms_ssim_betas")


Figures = Mapping[str, Mapping[str, Figure]]
"""The figures of every row, by its name and theirs."""


@dataclass(frozen=True)
class Metrics:
    """What a metrics.json holds. `figures` of each row, and the `kind` of each; `untrained` cells; what identifies
    each extractor, and the condition classifier, None where nothing does."""

    place: str
    split: str
    held_out: str
    settings: Mapping[str, Any]
    identities: Mapping[str, str]
    kinds: Mapping[str, ScopeKind]
    figures: Figures
    untrained: frozenset[str]
    classifier: str | None
    answers: Figures | None
    """Figures of extrapolation; a row is a cell and an answer for it. None where it was not asked for."""


def read_metrics(place: Location) -> Metrics:
    """Read the metrics of a run, of a report's folder, or the file itself.

    Raises InputError if there are none, or if they are not as `mrigen evaluate` of this version writes them.
    """
    choices = [place / "report" / "metrics.json", place / "metrics.json", place]
    file = next((choice for choice in choices if choice.is_file()), None)
    if file is None:
        raise InputError(f"no metrics.json in {place} or its report/: run `mrigen evaluate` first")
    tree = file.read_json()
    version = tree.get("schema_version") if isinstance(tree, dict) else None
    if version != SCHEMA_VERSION:
        raise InputError(f"{file}: schema_version is {version!r}, not {SCHEMA_VERSION}: run `mrigen evaluate` anew")
    try:
        return Metrics(
            str(file),
            tree["split"],
            tree["held_out_sha256"],
            tree["settings"],
            {name: one["identity"] for name, one in tree["settings"]["extractors"].items()},
            {row["name"]: ScopeKind(row["kind"]) for row in tree["rows"]},
            {row["name"]: _figures(row["figures"]) for row in tree["rows"]},
            frozenset(row["name"] for row in tree["rows"] if row["untrained"] and row["kind"] == ScopeKind.CELL),
            _classifier(tree),
            None if tree["extrapolation"] is None else dict(_answers(tree["extrapolation"])),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} is not as `mrigen evaluate` writes it: {error!r}") from None


def _figures(tree: Mapping[str, Any]) -> dict[str, Figure]:
    return {name: Figure.from_json(figure) for name, figure in tree.items()}


def _classifier(tree: Mapping[str, Any]) -> str | None:
    """Equal for equal classifiers only: the identity of the extractor that it is, else its validation losses."""
    if MRI in tree["settings"]["extractors"]:
        return str(tree["settings"]["extractors"][MRI]["identity"])
    training = tree["judge"]
    return json.dumps(training, sort_keys=True) if training and training["checks"] else None


def _answers(tree: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Figure]]]:
    """Every answer for every cell; a lazy one is called by the cell that stood in."""
    for cell in tree["cells"]:
        for answer in ANSWERS:
            stand_in = cell["stand_ins"].get(answer)
            if answer not in cell["stand_ins"] or stand_in:
                yield f"{cell['cell']}, {stand_in or answer}", _figures(cell["answers"][answer])


def refuse_unlike(first: Metrics, second: Metrics) -> None:
    """Raise InputError if figures of one name do not mean the same in both."""
    compared = [
        {
            "split": each.split,
            "extractors": list(each.identities),
            **{key: each.settings.get(key) for key in _SAME},
        }
        for each in (first, second)
    ]
    for name, one in compared[0].items():
        other = compared[1][name]
        if one != other:
            raise InputError(
                f"{first.place} and {second.place} do not compare: {name} is {json.dumps(one)} and "
                f"{json.dumps(other)}; evaluate both alike"
            )


def comparison_text(first: Metrics, second: Metrics, *, cells: bool) -> str:
    """A table for every figure: rows, A and B with intervals, and a mark where these do not overlap.

    Single cells are left out unless `cells`; of extrapolation those that were held out of either training are shown
    always. Raises InputError as `refuse_unlike` does.
    """
    refuse_unlike(first, second)
    unlike = _unlike_networks(first, second)
    lines = [f"A  {first.place}", f"B  {second.place}", *_notes(first, second, unlike)]
    pooled = [name for name in first.figures if cells or first.kinds[name] != ScopeKind.CELL]
    lines += _tables(pooled, first.figures, second.figures, unlike, "")
    if first.answers is not None and second.answers is not None:
        unseen = first.untrained | second.untrained
        known = {
            row
            for answers in (first.answers, second.answers)
            for row, figures in answers.items()
            if any(figure.value is not None for figure in figures.values())
        }
        answers = [row for row in first.answers if row in known and (cells or row.partition(",")[0] in unseen)]
        lines += _tables(answers, first.answers, second.answers, unlike, "extrapolation: ")
    return "\n".join([*lines, "", "* the 95 % intervals of A and B do not overlap"])


def _unlike_networks(first: Metrics, second: Metrics) -> frozenset[str]:
    """The extractors that are not the same network in both; `fidelity` and its targets among them if the
    condition classifier is not."""
    unlike = {name for name, identity in first.identities.items() if identity != second.identities[name]}
    if first.classifier is None or first.classifier != second.classifier:
        unlike |= {FIDELITY, *TARGETS}
    return frozenset(unlike)


def _notes(first: Metrics, second: Metrics, unlike: frozenset[str]) -> Iterator[str]:
    if first.held_out != second.held_out:
        yield "note: A and B were held against different images, which makes part of every difference"
    if first.untrained != second.untrained:
        never = [", ".join(sorted(each.untrained)) or "none" for each in (first, second)]
        yield f"note: cells never seen in training differ, so pooled cells do: A {never[0]}; B {never[1]}"
    if networks := sorted(unlike - {FIDELITY, *TARGETS}):
        yield f"note: A and B have different networks for {', '.join(networks)}: figures of their features are left out"
    if FIDELITY in unlike:
        yield "note: A and B were not asked of the same classifier: figures of condition fidelity are left out"
    if (first.answers is None) != (second.answers is None):
        yield f"note: only {'A' if second.answers is None else 'B'} has figures of extrapolation: left out"


def _tables(rows: Sequence[str], first: Figures, second: Figures, unlike: frozenset[str], prefix: str) -> Iterator[str]:
    """A table for every figure of these rows that compares; not of widths, which tell of no images."""
    shared = [row for row in rows if row in second]
    for name in dict.fromkeys(name for row in shared for name in first[row] if name in second[row]):
        if name.partition("/")[0] not in unlike and "/kid_width_" not in name:
            yield ""
            yield from _table(prefix, name, shared, first, second)


def _table(prefix: str, name: str, rows: Sequence[str], first: Figures, second: Figures) -> Iterator[str]:
    table: list[tuple[str, ...]] = [(prefix + name, "A", "B", "")]
    notes = Notes()
    for row in rows:
        if name in first[row] and name in second[row]:
            both = first[row][name], second[row][name]
            shown = (
                figure_and_interval(name, f) if f.reason is None else f"none ({notes.number(f.reason)})" for f in both
            )
            table.append((row, *shown, "*" if apart(*both) else ""))
    yield from (line.rstrip() for line in aligned(table))
    for number, reason in enumerate(notes.reasons, start=1):
        yield f"({number}) {reason}"
