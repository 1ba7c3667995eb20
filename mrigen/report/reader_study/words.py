"""What the result of a reader study says, in sentences."""

from __future__ import annotations

from mrigen.metrics.figure import Figure
from mrigen.report.figure_text import figure_and_interval, p_text
from mrigen.studies.reader_study.power import ALPHA
from mrigen.studies.reader_study.summary import ReaderStudy

ONE_READER = "One reader answered: all figures hold for that reader alone, not for readers in general."


def study_notices(study: ReaderStudy, num_planned: int) -> list[str]:
    """What a reader of the result must know first."""
    found = [ONE_READER] if len(study.readers) == 1 else []
    if len(study.readers) < num_planned:
        found.append(f"{len(study.readers)} of the {num_planned} readers that were planned are counted.")
    return found


def study_verdict(study: ReaderStudy) -> str:
    """Whether readers tell the images apart, or are shown not to; a wide interval shows neither."""
    accuracy, equal = study.mean["accuracy"], study.equivalence
    who = f"Reader {study.readers[0]}" if len(study.readers) == 1 else f"{len(study.readers)} readers"
    was = f"{who} called {_percent(accuracy)} of the images rightly real or synthetic"
    differs = accuracy.p_value is not None and accuracy.p_value < ALPHA
    same = equal.p_value is not None and equal.p_value < ALPHA
    margin = f"within {100 * study.margin:g} points of guessing (TOST, {p_text(equal) or 'no test'})"
    if accuracy.value is not None and differs:
        how = "better than guessing" if accuracy.value > 0.5 else "worse than guessing: they take real for synthetic"
        told = f"{how} ({p_text(accuracy)})" + (f", yet {margin}, as the study set out to show" if same else "")
    elif same:
        told = f"which is not told from guessing, and shown to lie {margin}"
    else:
        told = f"which is neither told from guessing ({p_text(accuracy) or 'no test'}) nor shown to lie {margin}"
    return f"{was}, {told}."


def study_lines(study: ReaderStudy) -> str:
    """The result for a terminal."""
    area, kappa = study.mean["roc_area"], study.agreement.get("all readers")
    lines = [study_verdict(study), f"ROC area {_told(area)}; d' {_told(study.mean['d_prime'])}"]
    if kappa is not None:
        lines.append(f"agreement of readers, Fleiss' kappa {_told(kappa)}")
    return "\n".join(lines)


def _told(figure: Figure) -> str:
    return figure.reason or figure_and_interval("", figure)


def _percent(figure: Figure) -> str:
    """`54 % (48 to 60 %)`."""
    if figure.value is None:
        return "an unknown share"
    ends = f" ({100 * figure.interval[0]:.0f} to {100 * figure.interval[1]:.0f} %)" if figure.interval else ""
    return f"{100 * figure.value:.0f} %{ends}"
