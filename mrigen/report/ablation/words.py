"""The verdict of an ablation."""

from __future__ import annotations

from mrigen.config.model import NO_GUIDANCE
from mrigen.metrics.figure import Figure
from mrigen.report.figure_text import apart
from mrigen.studies.ablation.looking import EXTRACTORS
from mrigen.studies.ablation.settings import Drop
from mrigen.studies.ablation.summary import Ablation


def ablation_verdict(study: Ablation) -> list[str]:
    """What is not known, and what leaving something out costs, a sentence each."""
    own, said = study.rows[study.own], []
    unguided = study.setting(Drop.NOTHING, **NO_GUIDANCE)
    for setting, what, target in (
        (study.setting(Drop.PATHOLOGY), "the pathology", "pathology"),
        (study.setting(Drop.MODALITY), "the modality", "modality"),
        (unguided, "guidance", "pathology"),
    ):
        if setting is None or setting == study.own:
            continue
        figures = study.rows[setting]
        names = {f"{name}/kid": f"KID by {name}" for name in EXTRACTORS} | {target: f"accuracy of the {target}"}
        pairs = [(label, own[name], figures[name]) for name, label in names.items()]
        changes = [
            f"{label} goes from {before.value:.3f} to {after.value:.3f}{_overlap(before, after)}"
            for label, before, after in pairs
            if before.value is not None and after.value is not None
        ]
        if changes:
            said.append(f"Without {what}, {', '.join(changes)}.")
    reasons = {own[f"{name}/kid"].reason for name in EXTRACTORS} - {None}
    said = [*(f"There is no KID: {reason}." for reason in sorted(map(str, reasons))), *said]
    return said or ["No figure could be taken: see the reasons."]


def _overlap(first: Figure, second: Figure) -> str:
    """What to add where the intervals of two figures overlap."""
    if first.interval is None or second.interval is None:
        return " (no interval)"
    return "" if apart(first, second) else " (their intervals overlap)"
