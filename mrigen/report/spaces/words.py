"""The verdict of the study of spaces."""

from __future__ import annotations

from collections.abc import Sequence

from mrigen.features.names import EFFICIENTNET
from mrigen.report.figure_text import apart, figure_and_interval
from mrigen.studies.spaces.plan import PIXELS, SpaceTraining
from mrigen.studies.spaces.summary import Spaces

SAME = {"same_time": "In the same time", "same_steps": "After the same number of steps"}


def spaces_verdict(study: Spaces) -> list[str]:
    """What pixels cost beside latents, and which space comes nearest to real images, a sentence each."""
    said = []
    if (pixels := study.costs.get(PIXELS)) is not None:
        for space, cost in study.costs.items():
            if space != PIXELS:
                step, sample = (
                    min(a) / min(b) for a, b in ((pixels.step_s, cost.step_s), (pixels.sample_s, cost.sample_s))
                )
                said.append(
                    f"At its fastest a step in pixels takes {step:.3g} times as long as in {space} and "
                    f"{pixels.peak_bytes / cost.peak_bytes:.3g} times the memory, a sample {sample:.3g} times as long."
                )
    said += [f"{SAME[name]}, {_compared(study, some)}" for name, some in study.trainings.items()]
    return said


def _compared(study: Spaces, trainings: Sequence[SpaceTraining]) -> str:
    ends = {training: study.end(training) for training in trainings}
    known = {training: figure for training, figure in ends.items() if figure.value is not None}
    if not known:
        return f"there is no KID: {next(iter(ends.values())).reason}."
    told = ", ".join(
        f"{one.space} {figure_and_interval('kid', figure)} after {one.num_steps} steps" for one, figure in known.items()
    )
    best = min(known, key=lambda one: known[one].value or 0.0)
    far = [one.space for one in known if apart(known[best], known[one])]
    near = [one.space for one in known if one != best and one.space not in far]
    clauses = [f"apart from {' and '.join(far)}"] if far else []
    clauses += [f"not apart from {' and '.join(near)}"] if near else []
    return f"KID by {EFFICIENTNET} is {told}; {best.space} comes nearest, by intervals {' and '.join(clauses)}."
