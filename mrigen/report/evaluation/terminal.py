"""The figures of an evaluation as lines for a terminal."""

from __future__ import annotations

from mrigen.condition_classifier.fidelity import TARGETS
from mrigen.evaluation.extrapolation import ANSWERS, FLOOR, GENERATED, HEALTHY, NEAREST, Extrapolation
from mrigen.evaluation.summary import FIDELITY, Evaluation
from mrigen.images.scopes import ScopeKind
from mrigen.report.evaluation.extrapolation import has_figure, standing
from mrigen.report.evaluation.verdict import verdict
from mrigen.report.figure_text import aligned, figure_text, p_text


def evaluation_lines(evaluation: Evaluation) -> str:
    """A table of all rows with the numbers of images, by the leading extractor; one of the cells held out of training,
    where extrapolation was asked for; and the verdict below. `-` stands where there is no figure."""
    lead = evaluation.extractors[0] if evaluation.extractors else "none"
    columns = {
        f"{lead}/kid": "KID",
        f"{lead}/kid_floor": "floor",
        f"{lead}/fid": "FID",
        f"{lead}/fid_floor": "floor",
        f"{lead}/precision": "precision",
        f"{lead}/coverage": "coverage",
        "diversity/ms_ssim_generated": "MS-SSIM",
        "diversity/ms_ssim_real": "of real",
        **{f"{FIDELITY}/{target}": target for target in TARGETS},
        "autoencoder-quality/psnr_db": "AE PSNR",
        "autoencoder-quality/kid_restored": "AE KID",
    }
    lines = [["cell", "real", "made", *columns.values(), "test"]]
    for row in (
        *evaluation.of_kind(ScopeKind.CELL),
        *evaluation.of_kind(ScopeKind.PATHOLOGY, ScopeKind.MODALITY, ScopeKind.OVERALL),
    ):
        mark = " *" if row.scope.untrained and row.scope.kind == ScopeKind.CELL else ""
        figures = [row.figures.get(name) for name in columns]
        shown = [figure_text(n, f) or "-" if f else "-" for n, f in zip(columns, figures, strict=True)]
        test = p_text(figures[0]) if figures[0] else None
        counts = [str(row.images["held_out"]), str(row.images["generated"])]
        lines.append([row.name + mark, *counts, *shown, test or "-"])
    shown_lines = aligned(lines)
    if any(row.scope.untrained for row in evaluation.rows):
        shown_lines.append("* never seen in training")
    if evaluation.extrapolation is not None:
        shown_lines += _answer_lines(evaluation.extrapolation)
    return "\n".join([*shown_lines, "", *verdict(evaluation)])


def _answer_lines(found: Extrapolation) -> list[str]:
    """The KID of every answer for the cells that the model never saw, without those that nothing can be said of."""
    unseen = [score for score in found.scores if score.unseen and has_figure(score, GENERATED)]
    if not unseen:
        return []
    lead, figure = found.extractors[0], f"{found.extractors[0]}/kid"
    titles = {GENERATED: "generated", FLOOR: "floor", HEALTHY: "healthy", NEAREST: "other modality"}
    lines = [["never seen", *(titles[name] for name in ANSWERS), "generated are"]]
    for score in unseen:
        shown = [figure_text(figure, score.figures[name][figure]) or "-" for name in ANSWERS]
        rank = standing(score, figure)
        lines.append([str(score.cell), *shown, rank.words if rank else "-"])
    return [
        "",
        f"KID by {lead} to held-out real images of the cell, of generated images and of lazy answers:",
        *aligned(lines),
    ]
