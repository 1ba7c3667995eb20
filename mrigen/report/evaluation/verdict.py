"""What the figures of an evaluation come to, in a few sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mrigen.condition_classifier.fidelity import TARGETS
from mrigen.evaluation.summary import FIDELITY, Evaluation, ScopeRow
from mrigen.images.scopes import ScopeKind
from mrigen.metrics.figure import Figure
from mrigen.metrics.kernel import MIN_UNITS
from mrigen.report.evaluation.extrapolation import extrapolation_verdict
from mrigen.report.figure_text import ALPHA, apart, figure_and_interval, number_text, p_text, told_apart

MOST = 5
"""Sentences of a verdict."""
Said = tuple[int, str]
"""How much a sentence would change the reader's mind, and the sentence: `BROKEN` where figures are less than half of
what real images reach, 1 where it speaks against the images or of what is not known, else 0."""
BROKEN = 2
_NOTHING = Figure.missing("not computed")


def verdict(evaluation: Evaluation) -> list[str]:
    """At most MOST sentences, the worst first; by the leading extractor where features are
    compared. The tables tell the rest."""
    cells, overall = evaluation.of_kind(ScopeKind.CELL), evaluation.of_kind(ScopeKind.OVERALL)
    lead = evaluation.extractors[0] if evaluation.extractors else _named_first(overall[0])
    if not any(row.images["generated"] for row in cells):
        return [f"Nothing can be said of generated images: {_figure(overall[0], lead, 'kid').reason}."]
    said: list[Said] = []
    made = [row for row in cells if row.images["generated"]]
    if trained := [row for row in made if not row.scope.untrained]:
        said += _distance(overall[0], lead, "trained cells")
        pooled = [overall[0], *evaluation.of_kind(ScopeKind.PATHOLOGY)]
        said += _support(trained, evaluation.of_kind(ScopeKind.MODALITY), pooled, lead)
        if lead in evaluation.extractors:
            said += _told(trained, lead)
    said += _fidelity(overall[0])
    said += _diversity(trained)
    if len(trained) < len(made):
        said += _distance(overall[-1], lead, "cells never seen in training")
    said += _autoencoder(overall[0])
    asked = [] if evaluation.extrapolation is None else [extrapolation_verdict(evaluation.extrapolation)]
    ordered = [sentence for _, sentence in sorted(said, key=lambda one: -one[0])]
    return [*ordered[: MOST - len(asked)], *asked]


def _named_first(row: ScopeRow) -> str:
    """The first extractor of the configuration, be it usable or not."""
    return next(name.removesuffix("/kid") for name in row.figures if name.endswith("/kid"))


def _told(rows: Sequence[ScopeRow], lead: str) -> Iterator[Said]:
    tested = [row for row in rows if told_apart(_figure(row, lead, "kid")) is not None]
    if not tested:
        needs = f"has the {MIN_UNITS} held-out subjects that the test needs"
        yield 0, f"Of trained cells ({len(rows)}), no single one {needs}."
        return
    told = sum(bool(told_apart(_figure(row, lead, "kid"))) for row in tested)
    floors = [found for row in tested if (found := told_apart(_figure(row, lead, "kid_floor"))) is not None]
    of_real = ""
    if floors:
        of_real = f"; of real images of other subjects the same test says so in {sum(floors)} of {len(floors)}"
    yield (
        int(told > 0),
        f"In {told} of {len(tested)} trained cells that could be tested, generated images can be told from real ones "
        f"(p < {ALPHA}){of_real}{_farthest(rows, lead)}.",
    )


def _distance(pooled: ScopeRow, lead: str, kind: str) -> Iterator[Said]:
    figure, floor = _figure(pooled, lead, "kid"), _figure(pooled, lead, "kid_floor")
    if figure.value is None:
        yield 1, f"Over all {kind} there is no KID: {figure.reason}."
        return
    told = told_apart(figure)
    sentence = f"Over all {kind} "
    if told is not None:
        can = "can" if told else "cannot"
        sentence += f"generated images {can} be told from real ones (permutation test, {p_text(figure)}): "
    sentence += f"KID is {figure_and_interval('kid', figure)}"
    if floor.value is not None:
        sentence += (
            f"; real images of other subjects reach {figure_and_interval('kid', floor)}{_overlap(figure, floor)}"
        )
    yield int(told is True or apart(figure, floor)), sentence + "."


def _farthest(rows: Sequence[ScopeRow], lead: str) -> str:
    """The cells with the greatest KID among those that are clearly above their floor."""
    excess = []
    for row in rows:
        figure, floor = _figure(row, lead, "kid"), _figure(row, lead, "kid_floor")
        if figure.value is not None and floor.value is not None and apart(figure, floor) and figure.value > floor.value:
            excess.append((figure.value, row.name))
    names = ", ".join(f"{name} ({number_text('kid', value)})" for value, name in sorted(excess, reverse=True)[:3])
    return f"; farthest by KID: {names}" if names else ""


def _support(
    cells: Sequence[ScopeRow], modalities: Sequence[ScopeRow], pooled: Sequence[ScopeRow], lead: str
) -> Iterator[Said]:
    """Precision and coverage where they are worst: of cells, or of modalities where no cell has enough images.

    Pathologies and all together may blame, never praise: there a blob lies between the images of many cells and looks
    like some of them.
    """
    shares, against = [], 0
    for name, what in (("precision", "of the generated images look like some real one"),
                       ("coverage", "of the real images have a generated one near")):  # fmt: skip
        for rows in (cells, modalities, pooled):
            found = []
            for row in rows:
                figure, floor = _figure(row, lead, name), _figure(row, lead, f"{name}_floor")
                if figure.value is not None and floor.value is not None:
                    found.append((figure.value - floor.value, row.name, figure, floor))
            if found:
                break
        if not found:
            continue
        gap, where, figure, floor = min(found, key=lambda one: one[0])
        if rows is pooled and not _under_half(figure, floor):
            continue
        against = max(against, BROKEN if _under_half(figure, floor) else int(gap < 0 and apart(figure, floor)))
        shares.append(f"in {where} {figure.value:.0%} {what} ({name}; real images reach {floor.value:.0%})")
    if shares:
        yield against, "At worst, " + ", and ".join(shares) + "."


def _diversity(rows: Sequence[ScopeRow]) -> Iterator[Said]:
    pairs = [(row.figures["diversity/ms_ssim_generated"], row.figures["diversity/ms_ssim_real"]) for row in rows]
    known = [(made, real) for made, real in pairs if made.low is not None and real.low is not None]
    if not known:
        return
    alike = sum(apart(made, real) and (made.value or 0) > (real.value or 0) for made, real in known)
    unlike = sum(apart(made, real) and (made.value or 0) < (real.value or 0) for made, real in known)
    yield (
        int(alike + unlike > 0),
        f"Generated images are clearly more alike than real ones in {alike} of {len(known)} trained cells, and clearly "
        f"less alike in {unlike} (MS-SSIM).",
    )


def _fidelity(trained: ScopeRow) -> Iterator[Said]:
    """Accuracy on generated images beside that on held-out real ones."""
    figures = {target: _figure(trained, FIDELITY, target) for target in TARGETS}
    reasons = {figure.reason for figure in figures.values()}
    if len(reasons) == 1 and None not in reasons:
        yield 1, f"Whether generated images show what was asked for is not known: {reasons.pop()}."
        return
    for target, made in figures.items():
        if made.value is None:
            yield 1, f"Whether generated images show the {target} that was asked for is not known: {made.reason}."
            continue
        sentence = (
            f"A classifier trained on real images names the {target} of generated images of all trained cells with a "
            f"balanced accuracy of {figure_and_interval(target, made)}"
        )
        real = _figure(trained, FIDELITY, f"{target}_real")
        if real.value is not None:
            sentence += f"; on held-out real ones it reaches {figure_and_interval(target, real)}{_overlap(made, real)}"
            if apart(made, real) and made.value > real.value:
                sentence += ": these images are easier to tell apart than real ones, which is no praise"
        less = apart(made, real) and made.value < (real.value or 0.0)
        yield BROKEN if less and _under_half(made, real) else int(less), sentence + "."


def _autoencoder(row: ScopeRow) -> Iterator[Said]:
    figure = row.figures["autoencoder-quality/psnr_db"]
    if figure.value is not None:
        decibels = figure_and_interval("psnr_db", figure)
        restores = f"The autoencoder restores held-out real images to {decibels} dB"
        kid = row.figures["autoencoder-quality/kid_restored"]
        far = f", at a KID of {figure_and_interval('kid', kid)}" if kid.value is not None else ""
        yield 0, f"{restores}{far}: what it loses, generated images lack too."


def _under_half(made: Figure, real: Figure) -> bool:
    return 2 * (made.value or 0.0) < (real.value or 0.0)


def _overlap(first: Figure, second: Figure) -> str:
    """What is to be said of two intervals; nothing unless both are there."""
    if first.interval is None or second.interval is None:
        return ""
    return ", and the intervals do not overlap" if apart(first, second) else ", and the intervals overlap"


def _figure(row: ScopeRow, extractor: str, name: str) -> Figure:
    return row.figures.get(f"{extractor}/{name}", _NOTHING)
