"""Two evaluations side by side, from their metrics.json."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from mrigen.errors import InputError
from mrigen.metrics.figure import Figure
from mrigen.metrics.plan import AUTOENCODER
from mrigen.metrics.scopes import Kind
from mrigen.report.figures import apart, interval_text, number_text
from mrigen.report.text import SCHEMA_VERSION
from mrigen.storage import Location

_SAME = ("feature_size", "image_size", "num_neighbours", "interval_level", "ms_ssim_betas")


@dataclass(frozen=True)
class Metrics:
    """What a metrics.json holds. `figures` of each row by its name, and the `kind` of each."""

    place: str
    split: str
    held_out: str
    settings: Mapping[str, Any]
    kinds: Mapping[str, Kind]
    figures: Mapping[str, Mapping[str, Figure]]


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
            {row["name"]: Kind(row["kind"]) for row in tree["rows"]},
            {row["name"]: {k: Figure.from_json(f) for k, f in row["figures"].items()} for row in tree["rows"]},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{file} is not as `mrigen evaluate` writes it: {error!r}") from None


def refuse_unlike(first: Metrics, second: Metrics) -> None:
    """Raise InputError if figures of one name do not mean the same in both."""
    compared = [
        {
            "split": each.split,
            "extractors": list(each.settings["extractors"]),
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

    Single cells are left out unless `cells`. Raises InputError as `refuse_unlike` does.
    """
    refuse_unlike(first, second)
    lines = [f"A  {first.place}", f"B  {second.place}"]
    if first.held_out != second.held_out:
        lines.append("note: A and B were held against different images, which makes part of every difference")
    identities = [each.settings["extractors"].get(AUTOENCODER, {}).get("identity") for each in (first, second)]
    own = identities[0] != identities[1]
    if own:
        lines.append("note: A and B have different autoencoders: figures of their features do not compare, left out")
    rows = [name for name in first.figures if name in second.figures and (cells or first.kinds[name] != Kind.CELL)]
    names = list(dict.fromkeys(name for row in rows for name in first.figures[row] if name in second.figures[row]))
    for name in names:
        if not (own and name.startswith(f"{AUTOENCODER}/")):
            lines += ["", *_table(name, rows, first, second)]
    lines += ["", "* the 95 % intervals of A and B do not overlap"]
    return "\n".join(lines)


def _table(name: str, rows: list[str], first: Metrics, second: Metrics) -> Iterator[str]:
    table = [(name, "A", "B", "")]
    reasons: list[str] = []
    for row in rows:
        if name not in first.figures[row] or name not in second.figures[row]:
            continue
        one, other = first.figures[row][name], second.figures[row][name]
        mark = "*" if apart(one, other) else ""
        table.append((row, _shown(name, one, reasons), _shown(name, other, reasons), mark))
    widths = [max(len(line[i]) for line in table) for i in range(4)]
    for line in table:
        shown = [line[0].ljust(widths[0]), *(text.rjust(w) for text, w in zip(line[1:3], widths[1:3], strict=True))]
        yield "  ".join([*shown, line[3]]).rstrip()
    for number, reason in enumerate(reasons, start=1):
        yield f"({number}) {reason}"


def _shown(name: str, figure: Figure, reasons: list[str]) -> str:
    if figure.value is None:
        reason = figure.reason or ""
        if reason not in reasons:
            reasons.append(reason)
        return f"none ({reasons.index(reason) + 1})"
    value, ends = number_text(name, figure.value), interval_text(name, figure)
    return f"{value} ({ends})" if ends else value
