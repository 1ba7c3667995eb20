"""An audit in words: its verdict, lines for a terminal, and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mrigen import __version__
from mrigen.audit.decision import Audit, CellAudit, Neighbour
from mrigen.audit.pairing import AuditPlan
from mrigen.config import Config
from mrigen.images.index import Group
from mrigen.labels import Cell
from mrigen.report.figure_text import aligned
from mrigen.report.provenance import Provenance

SUSPICIOUS_THRESHOLD = 0.995
"""A threshold above this says that held-out images themselves are copies of training images."""


def verdict(audit: Audit) -> str:
    """One line. Never "anonymous": that no copy was found does not make images so."""
    if audit.p_value is None:
        return "Nothing could be judged."
    if audit.failed:
        count = audit.matches.count
        return f"{count} sample{' looks like a copy' if count == 1 else 's look like copies'} of training images."
    if audit.detectable is None:
        return "Too few images to tell a copy."
    if audit.num_undecided:
        count = audit.num_undecided
        return f"No copies detected; {count} sample{' was' if count == 1 else 's were'} not judged."
    return "No copies detected."


def explanation(audit: Audit, config: Config) -> str:
    """What the verdict rests on, in a sentence or two."""
    if audit.p_value is None:
        return "No cell has the samples, training images and held-out images that a judgement needs: see the table."
    p = "< 0.0001" if audit.p_value < 1e-4 else f"= {p_value_text(audit.p_value)}"
    chance = sum(expected_flags(cell, config.audit.percentile) for cell in audit.cells)
    parts = [
        f"Of {audit.flagged.n} samples judged, {audit.flagged.count} are nearer to a training image than "
        f"{config.audit.percentile:g} % of held-out images are; about {chance:.0f} would be by chance.",
        "Matches, those also much nearer to training than to held-out images: "
        f"{audit.matches.count} of the samples, {audit.held_out_matches.count} of {audit.held_out_matches.n} "
        "held-out images.",
        f"That matches are no more frequent among samples has p {p}; the audit fails below {audit.significance:g}.",
    ]
    if audit.detectable is None:
        parts.append("With so few images it could not have failed, had every sample been a copy.")
    elif not audit.failed:
        parts.append(f"It would have failed at {audit.detectable} matches.")
    return " ".join(parts)


def warnings(audit: Audit) -> list[str]:
    """What limits the decision."""
    found = [
        f"{cell.cell}: held-out images are like training images up to {cell.limits.similarity:.4f}. Copies cannot be "
        "told there: look for one person under two names."
        for cell in audit.cells
        if cell.limits and cell.limits.similarity > SUSPICIOUS_THRESHOLD
    ]
    if 2 * audit.unlike.count > audit.unlike.n:
        found.append(
            f"{audit.unlike.count} of {audit.unlike.n} samples are unlike training and held-out images alike: they "
            "copy nothing, but they are no brains like these either. Judge them by `mrigen evaluate`."
        )
    if audit.p_value is not None and audit.num_undecided:
        found.append(
            f"{audit.num_undecided} samples were not judged: the table says why for each cell. "
            "Nothing is known of them."
        )
    return found


def expected_flags(cell: CellAudit, percentile: float) -> float:
    """Samples flagged by chance alone: the threshold is the r-th highest of n values, beyond which r of n + 1 fall."""
    if cell.limits is None:
        return 0.0
    number = len([query for query in cell.held_out if query.training])
    beyond = sum(query.training.similarity >= cell.limits.similarity for query in cell.held_out if query.training)
    return cell.flagged.n * beyond / (number + 1)


def audit_text(audit: Audit) -> str:
    """A table of the cells for a terminal."""
    lines = [["cell", "samples", "held out", "threshold", "flagged", "matches", "p"]]
    for cell in audit.cells:
        mark = "" if cell.trained else " *"
        figures = ["-"] * 4
        if cell.limits:
            figures = [
                f"{cell.limits.similarity:.3f}",
                str(cell.flagged.count),
                str(cell.matches.count),
                p_value_text(cell.adjusted),
            ]
        lines.append([f"{cell.cell}{mark}", str(len(cell.samples)), str(len(cell.held_out)), *figures])
    text = aligned(lines)
    for cell in audit.cells:
        if cell.reason:
            text.append(f"{cell.cell}: not judged: {cell.reason}")
        elif cell.num_faulty:
            count = f"{cell.num_faulty} of {len(cell.samples)} samples"
            text.append(f"{cell.cell}: {count} constant or not finite: left out")
    if any(not cell.trained for cell in audit.cells):
        text.append("* never seen in training: compared with its pathology and its modality")
    return "\n".join(text)


def audit_json(
    audit: Audit,
    plan: AuditPlan,
    config: Config,
    said: Sequence[str],
    real: Provenance,
    generated: Provenance,
    *,
    split: str,
) -> dict[str, Any]:
    """All figures for `audit.json`; no time and no place, so that equal input gives equal bytes."""
    return {
        "mrigen_version": __version__,
        "split": split,
        "config_sha256": config.digest(),
        "real": dict(real),
        "generated": dict(generated),
        "notices": [*said, *warnings(audit)],
        "settings": config.audit.model_dump(mode="json") | {"feature_size": config.evaluation.feature_size},
        "failed": audit.failed,
        "verdict": verdict(audit),
        "overall": {
            "samples": sum(len(cell.samples) for cell in audit.cells),
            "not_judged": audit.num_undecided,
            **_shares(audit),
            "p_value": audit.p_value,
            "smallest_failing_matches": audit.detectable,
        },
        "cells": [_cell_json(cell, plan) for cell in audit.cells],
        "flagged_samples": [
            {
                "cell": str(cell.cell),
                "match": cell.is_match(query),
                "id": query.id,
                "ratio": query.ratio,
                "training": _neighbour_json(query.training),
                "held_out": _neighbour_json(query.held_out),
            }
            for cell in audit.cells
            for query in cell.samples
            if cell.flags(query)
        ],
    }


def real_counts(plan: AuditPlan, group: Group, cells: Sequence[Cell]) -> dict[str, int]:
    """Images and subjects of some cells."""
    rows = [row for block in plan.blocks if block.group == group and block.cell in cells for row in block.rows]
    return {"images": len(rows), "subjects": len({row.owner for row in rows})}


def p_value_text(p_value: float | None) -> str:
    """To two digits; one too small to tell is given as a bound."""
    if p_value is None:
        return "-"
    return "< 0.0001" if p_value < 1e-4 else f"{p_value:.2g}"


def _cell_json(cell: CellAudit, plan: AuditPlan) -> dict[str, Any]:
    yardstick = plan.counterparts[cell.cell].yardstick
    return {
        "pathology": str(cell.cell.pathology),
        "modality": str(cell.cell.modality),
        "trained": cell.trained,
        "compared_with": [str(other) for other in cell.references],
        "threshold_from": [str(other) for other in yardstick],
        "training": real_counts(plan, Group.REFERENCE, cell.references),
        "held_out": real_counts(plan, Group.HELD_OUT, yardstick),
        "samples": len(cell.samples),
        "faulty_samples": cell.num_faulty,
        "reason": cell.reason,
        "threshold": cell.limits.similarity if cell.limits else None,
        "ratio_limit": cell.limits.ratio if cell.limits else None,
        **_shares(cell),
        "p_value": cell.p_value,
        "p_value_holm": cell.adjusted,
    }


def _shares(decided: Audit | CellAudit) -> dict[str, Any]:
    shares = {name: getattr(decided, name) for name in ("flagged", "matches", "held_out_matches", "unlike")}
    return {
        name: {"count": share.count, "n": share.n} | dict(zip(("low", "high"), share.interval, strict=True))
        for name, share in shares.items()
    }


def _neighbour_json(neighbour: Neighbour | None) -> dict[str, Any] | None:
    if neighbour is None:
        return None
    return {
        "id": neighbour.id,
        "similarity": neighbour.similarity,
        "feature_cosine": neighbour.cosine,
        "mirrored": neighbour.alignment.mirrored,
        "shift": list(neighbour.alignment.shift),
    }
