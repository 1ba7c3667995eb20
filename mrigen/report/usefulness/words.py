"""The verdict of the study of usefulness."""

from __future__ import annotations

from mrigen.studies.usefulness.summary import ALL, Usefulness


def usefulness_verdict(study: Usefulness) -> str:
    """In a sentence: where synthetic images harm, make no difference, and help, over all modalities."""
    nothing = "make no difference that this study can tell"
    said: dict[str, list[str]] = {"harm": [], nothing: [], "help": []}
    for arm in study.arms:
        if not arm.gain:
            continue
        gain = arm.gain[ALL]
        ends = "no interval" if gain.low is None else f"{gain.low:+.3f} to {gain.high:+.3f}"
        amount = f"{arm.num_real_subjects} real subjects ({gain.value:+.3f}, {ends})"
        if gain.low is not None and gain.low > 0:
            said["help"].append(amount)
        elif gain.high is not None and gain.high < 0:
            said["harm"].append(amount)
        else:
            said[nothing].append(amount)
    clauses = [f"{does} beside {' and '.join(amounts)}" for does, amounts in said.items() if amounts]
    return f"Added to real images, synthetic ones {'; they '.join(clauses)}, in balanced accuracy over all modalities."
