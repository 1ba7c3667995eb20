"""What the figures of an evaluation come to, in a few sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mrigen.condition_classifier.fidelity import TARGETS
from mrigen.evaluation.summary import FIDELITY, Evaluation, Row
from mrigen.images.scopes import ScopeKind
from mrigen.metrics.figure import Figure
from mrigen.metrics.kernel import MIN_UNITS
from mrigen.report.evaluation.extrapolation import extrapolation_verdict
from mrigen.report.figure_text import ALPHA, apart, figure_and_interval, number_text, p_text, told_apart

_NOTHING = Figure.missing("not computed")


def verdict(evaluation: Evaluation) -> list[str]:
    """Sentences, the most important first; by the leading extractor where features are compared."""
    cells, overall = evaluation.of_kind(ScopeKind.CELL), evaluation.of_kind(ScopeKind.OVERALL)
    lead = evaluation.extractors[0] if evaluation.extractors else _named_first(overall[0])
    if not any(row.images["generated"] for row in cells):
        return [f"Nothing can be said of generated images: {_figure(overall[0], lead, 'kid').reason}."]
    sentences: list[str] = []
    for untrained, kind in ((False, "trained cells"), (True, "cells never seen in training")):
        of_kind = [row for row in cells if row.scope.untrained is untrained and row.images["generated"]]
        if not of_kind:
            continue
        pooled = next(row for row in overall if row.scope.untrained is untrained)
        sentences += _distance(pooled, lead, kind)
        if lead in evaluation.extractors:
            sentences += [*_told(of_kind, lead, kind), *_worst(of_kind, lead, kind)]
        sentences += _coverage(pooled, lead, kind) if not untrained else []
        sentences += _diversity(of_kind, kind)
    sentences += _fidelity(overall[0])
    if evaluation.extrapolation is not None:
        sentences.append(extrapolation_verdict(evaluation.extrapolation))
    return [*sentences, *_autoencoder(overall[0])]


def _named_first(row: Row) -> str:
    """The first extractor of the configuration, be it usable or not."""
    return next(name.removesuffix("/kid") for name in row.figures if name.endswith("/kid"))


def _told(rows: Sequence[Row], lead: str, kind: str) -> Iterator[str]:
    tested = [row for row in rows if told_apart(_figure(row, lead, "kid")) is not None]
    if not tested:
        yield f"Of {kind} ({len(rows)}), no single one has the {MIN_UNITS} held-out subjects that the test needs."
        return
    told = sum(bool(told_apart(_figure(row, lead, "kid"))) for row in tested)
    floors = [told_apart(_figure(row, lead, "kid_floor")) for row in tested]
    yield (
        f"In {told} of {len(tested)} {kind} that could be tested, generated images can be told from real ones "
        f"(p < {ALPHA}); of real images of other subjects the same test says so in {sum(map(bool, floors))} of "
        f"{sum(found is not None for found in floors)}."
    )


def _distance(pooled: Row, lead: str, kind: str) -> Iterator[str]:
    figure, floor = _figure(pooled, lead, "kid"), _figure(pooled, lead, "kid_floor")
    if figure.value is None:
        yield f"Over all {kind} there is no KID: {figure.reason}."
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
    yield sentence + "."


def _worst(rows: Sequence[Row], lead: str, kind: str) -> Iterator[str]:
    """The cells with the greatest KID among those that are clearly above their floor."""
    excess, compared = [], 0
    for row in rows:
        figure, floor = _figure(row, lead, "kid"), _figure(row, lead, "kid_floor")
        if figure.value is None or floor.value is None or figure.low is None or floor.low is None:
            continue
        compared += 1
        if apart(figure, floor) and figure.value > floor.value:
            excess.append((figure.value, row.name))
    if excess:
        names = ", ".join(f"{name} ({number_text('kid', value)})" for value, name in sorted(excess, reverse=True)[:3])
        yield (
            f"In {len(excess)} of the {compared} {kind} with intervals KID lies clearly above its floor; "
            f"farthest: {names}."
        )


def _coverage(pooled: Row, lead: str, kind: str) -> Iterator[str]:
    shares = []
    for name, what in (("precision", "of the generated images look like some real one"),
                       ("coverage", "of the real images have a generated one near")):  # fmt: skip
        figure, floor = _figure(pooled, lead, name), _figure(pooled, lead, f"{name}_floor")
        if figure.value is not None and floor.value is not None:
            shares.append(f"{figure.value:.0%} {what} ({name}; real images reach {floor.value:.0%})")
    if shares:
        yield f"Over all {kind}, " + " and ".join(shares) + "."


def _diversity(rows: Sequence[Row], kind: str) -> Iterator[str]:
    pairs = [(row.figures["diversity/ms_ssim_generated"], row.figures["diversity/ms_ssim_real"]) for row in rows]
    known = [(made, real) for made, real in pairs if made.low is not None and real.low is not None]
    if not known:
        return
    alike = sum(apart(made, real) and (made.value or 0) > (real.value or 0) for made, real in known)
    unlike = sum(apart(made, real) and (made.value or 0) < (real.value or 0) for made, real in known)
    yield (
        f"Generated images are clearly more alike than real ones in {alike} of {len(known)} {kind}, and clearly "
        f"less alike in {unlike} (MS-SSIM)."
    )


def _fidelity(trained: Row) -> Iterator[str]:
    """Accuracy on generated images beside that on held-out real ones."""
    figures = {target: _figure(trained, FIDELITY, target) for target in TARGETS}
    reasons = {figure.reason for figure in figures.values()}
    if len(reasons) == 1 and None not in reasons:
        yield f"Whether generated images show what was asked for is not known: {reasons.pop()}."
        return
    for target, made in figures.items():
        if made.value is None:
            yield f"Whether generated images show the {target} that was asked for is not known: {made.reason}."
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
        yield sentence + "."


def _autoencoder(row: Row) -> Iterator[str]:
    figure = row.figures["autoencoder-quality/psnr_db"]
    if figure.value is not None:
        decibels = figure_and_interval("psnr_db", figure)
        restores = f"The autoencoder restores held-out real images to {decibels} dB"
        kid = row.figures["autoencoder-quality/kid_restored"]
        far = f", at a KID of {figure_and_interval('kid', kid)}" if kid.value is not None else ""
        yield f"{restores}{far}: what it loses, generated images lack too."


def _overlap(first: Figure, second: Figure) -> str:
    """What is to be said of two intervals; nothing unless both are there."""
    if first.interval is None or second.interval is None:
        return ""
    return ", and the intervals do not overlap" if apart(first, second) else ", and the intervals overlap"


def _figure(row: Row, extractor: str, name: str) -> Figure:
    return row.figures.get(f"{extractor}/{name}", _NOTHING)
