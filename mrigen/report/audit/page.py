"""The page of an audit: verdict, counts, distributions, and the nearest pairs side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from mrigen.audit.block_files import read_images
from mrigen.audit.decision import MIN_DISTANCE, Audit, CellAudit, Query
from mrigen.audit.likeness import FOREGROUND, Alignment, aligned
from mrigen.audit.pairing import AuditPlan
from mrigen.config import Config
from mrigen.images.index import Group
from mrigen.labels import Cell
from mrigen.preprocess import mirrors
from mrigen.report.audit.words import explanation, p_value_text, real_counts, verdict, warnings
from mrigen.report.plots import BLUE, FAINT, RED, png_with_legend
from mrigen.report.rendering import data_uri, embedded_slice, render
from mrigen.report.sheets import Slice
from mrigen.storage import Location

SHOWN_PAIRS = 24
_COLOURS = {"samples": RED, "held-out images": BLUE}


@dataclass(frozen=True)
class Pair:
    """A sample beside its nearest training image, and its nearest held-out one where there is one."""

    cell: Cell
    query: Query
    flagged: bool
    match: bool
    sample: Slice
    training: Slice
    held_out: Slice | None


def shown_pairs(audit: Audit, plan: AuditPlan, folder: Location) -> list[Pair]:
    """The pairs to look at: matches first, then what else is flagged, then the rest, each by falling similarity.

    Their pixels are read from the blocks in `folder`."""

    def rank(cell: CellAudit, query: Query) -> tuple[bool, bool, float, str]:
        similarity = query.training.similarity if query.training else 0.0
        return not cell.is_match(query), not cell.flags(query), -similarity, query.id

    compared = [(cell, query) for cell in audit.cells for query in cell.samples if query.training]
    chosen = sorted(compared, key=lambda pair: rank(*pair))[:SHOWN_PAIRS]
    wanted = {(Group.GENERATED, query.id) for _, query in chosen}
    wanted |= {(Group.REFERENCE, query.training.id) for _, query in chosen if query.training}
    wanted |= {(Group.HELD_OUT, query.held_out.id) for _, query in chosen if query.held_out}
    images = read_images(plan, folder, wanted)
    return [
        Pair(
            cell.cell,
            query,
            flagged=cell.flags(query),
            match=cell.is_match(query),
            sample=images[Group.GENERATED, query.id],
            training=images[Group.REFERENCE, query.training.id],
            held_out=images[Group.HELD_OUT, query.held_out.id] if query.held_out else None,
        )
        for cell, query in chosen
        if query.training
    ]


def audit_page(
    *,
    title: str,
    audit: Audit,
    plan: AuditPlan,
    pairs: Sequence[Pair],
    config: Config,
    notices: Sequence[str],
    facts: Mapping[str, str],
    split: str,
) -> str:
    """The page as HTML; `notices` are shown under the verdict, `facts` listed at the end."""
    decided = [cell for cell in audit.cells if cell.limits]
    return render(
        "audit/page.html",
        plane=config.data.plane,
        title=title,
        verdict=verdict(audit),
        audit=audit,
        p=p_value_text(audit.p_value),
        explanation=explanation(audit, config),
        notices=[*notices, *warnings(audit)],
        rows=[_row(cell, plan) for cell in audit.cells],
        plot=data_uri(similarity_png(decided)) if decided else None,
        pairs=[_pair_values(pair) for pair in pairs],
        settings=config.audit,
        mirrored=mirrors(config.data.plane),
        split=split,
        facts=facts,
    )


def similarity_png(cells: Sequence[CellAudit]) -> bytes:
    """Distributions over the cells decided on: similarity to the nearest training image, and the ratio of distances."""
    queries = {
        "held-out images": [query for cell in cells for query in cell.held_out],
        "samples": [query for cell in cells for query in cell.samples],
    }
    figure = Figure(figsize=(10, 3.4), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2)
    panels: tuple[tuple[Any, Callable[[Query], float | None], Iterable[float]], ...] = (
        (
            left,
            lambda query: query.training.similarity if query.training else None,
            (c.limits.similarity for c in cells if c.limits),
        ),
        (right, lambda query: query.ratio, (c.limits.ratio for c in cells if c.limits)),
    )
    for axis, value, limits in panels:
        values = {name: [v for q in some if (v := value(q)) is not None] for name, some in queries.items()}
        _histogram(axis, values, sorted(limits), logarithmic=axis is right)
    left.set_xlabel("similarity to the nearest training image")
    right.set_xlabel("distance to training / distance to held-out")
    left.set_ylabel("share of images")
    return png_with_legend(figure, 2)


def difference(sample: Slice, training: Slice, alignment: Alignment) -> Slice:
    """|sample - training image| once moved, and its intensities scaled to fit, in the foreground: -1 where equal, 1
    where half the range of intensities apart."""
    moved = aligned(torch.from_numpy(np.asarray(sample, np.float32)), alignment).numpy()
    inside = training > FOREGROUND
    if inside.sum() < 2 or float(moved[inside].std()) == 0.0:
        return np.full_like(training, -1.0)
    slope, offset = np.polyfit(moved[inside].astype(np.float64), training[inside].astype(np.float64), 1)
    gap = np.where(inside, np.abs(slope * moved + offset - training), 0.0)
    return (2.0 * np.clip(gap, 0.0, 1.0) - 1.0).astype(np.float32)


def _histogram(axis: Any, values: Mapping[str, Sequence[float]], limits: Sequence[float], *, logarithmic: bool) -> None:
    everything = np.array([v for some in values.values() for v in some])
    if logarithmic:
        low, high = max(float(everything.min()), MIN_DISTANCE), float(everything.max())
        edges = np.geomspace(low / 1.05, high * 1.05, 41)
        axis.set_xscale("log")
    else:
        edges = np.linspace(float(everything.min()) - 0.01, float(everything.max()) + 0.01, 41)
    for name, some in values.items():
        shares = np.histogram(np.clip(some, edges[0], edges[-1]), edges)[0] / max(len(some), 1)
        axis.stairs(shares, edges, color=_COLOURS[name], linewidth=1.6, label=f"{name} ({len(some)})")
        axis.stairs(shares, edges, color=_COLOURS[name], alpha=0.15, fill=True)
    axis.axvspan(limits[0], limits[-1], color=FAINT, alpha=0.2, linewidth=0)
    for limit in {limits[0], limits[-1]}:
        axis.axvline(limit, color=FAINT, linewidth=1, linestyle="--")
    axis.spines[["top", "right"]].set_visible(False)
    axis.tick_params(labelsize=8)


def _row(cell: CellAudit, plan: AuditPlan) -> dict[str, object]:
    yardstick = plan.counterparts[cell.cell].yardstick
    return {
        "cell": cell,
        "borrowed": yardstick != (cell.cell,),
        "training": real_counts(plan, Group.REFERENCE, cell.references),
        "held_out": real_counts(plan, Group.HELD_OUT, yardstick),
        "p": p_value_text(cell.adjusted),
    }


def _pair_values(pair: Pair) -> dict[str, object]:
    assert pair.query.training is not None
    alignment = pair.query.training.alignment
    x, y = alignment.shift
    moves = [f"moved by ({x}, {y}) px"] if (x, y) != (0, 0) else []
    moves += ["mirrored"] if alignment.mirrored else []
    return {
        "cell": pair.cell,
        "mark": "match" if pair.match else "flagged" if pair.flagged else "",
        "query": pair.query,
        "moves": ", ".join(moves),
        "sample": embedded_slice(pair.sample, synthetic=True),
        "training": embedded_slice(pair.training, synthetic=False),
        "difference": embedded_slice(difference(pair.sample, pair.training, alignment), synthetic=False),
        "held_out": embedded_slice(pair.held_out, synthetic=False) if pair.held_out is not None else None,
    }
