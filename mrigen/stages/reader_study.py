"""Reader studies: the pages that readers work in, and what their answers say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mrigen.cohort.order import named_cells
from mrigen.config import Config, parse_section
from mrigen.errors import InputError
from mrigen.images.index import Group, ImageIndex, in_file_order, index_generated, index_real, refuse_other_shape
from mrigen.images.labelled import read_pixels
from mrigen.labels import all_cells
from mrigen.report.notices import model_notices, notices
from mrigen.report.provenance import comparison_facts
from mrigen.report.publish import Published, publish, result_folder
from mrigen.report.reader_study.page import reader_study_page
from mrigen.report.reader_study.reading import reading_page
from mrigen.report.reader_study.words import study_lines, study_notices, study_verdict
from mrigen.run import SUCCESS
from mrigen.storage import Location
from mrigen.studies.reader_study.answers import read_all
from mrigen.studies.reader_study.design import (
    SAME_HEIGHT_MM,
    Pair,
    StudyKey,
    StudyOrder,
    choose_pairs,
    draw_orders,
    furthest_mm,
    study_images,
)
from mrigen.studies.reader_study.display import Levels, shown_levels
from mrigen.studies.reader_study.summary import summarise

KEY = "key.json"


@dataclass(frozen=True)
class BuiltStudy:
    """A study that is ready for its readers."""

    key: StudyKey
    pages: tuple[Location, ...]
    licences: tuple[str, ...]
    """Of the real images that the pages hold."""


def build_study(
    run: Location,
    config: Config,
    order: StudyOrder,
    out: Location,
    *,
    samples: Location | None = None,
    cells: str | None = None,
    command: str = "",
) -> BuiltStudy:
    """Build a study of the samples of a run (`run/samples`) among its held-out real images: `key.json`, which readers
    must not see, and `pages/reader-N.html` in `out`.

    `cells` names some, as `mrigen generate` has them; None takes all that have both. The same call writes the same
    bytes, so that a killed one is repeated. Raises InputError for cells with too few images, images of volumes, and an
    `out` that holds anything else.
    """
    out, samples = result_folder(out, KEY), samples or run / "samples"
    real, made = index_real(run / "data", "test"), index_generated(samples)
    refuse_other_shape(real, made)
    if len(real.shape or ()) != 2:
        raise InputError("readers are shown slices, and the images of this run are volumes")
    held_out = {row.cell for row in real.rows if row.group == Group.HELD_OUT}
    known = [cell for cell in all_cells() if cell in held_out & {row.cell for row in made.rows}]
    if not known:
        raise InputError(f"no cell has both held-out images in {run / 'data'} and samples in {samples}")
    chosen = known if cells is None else [cell for text in cells.split(",") for cell in named_cells(text, known)]
    pairs = choose_pairs(real, made, sorted(set(chosen)), order)
    told = notices(real.provenance, complete=(samples / SUCCESS).is_file())
    told += model_notices(run / "model", made.provenance, real.held_out_subjects)
    if (apart := furthest_mm(pairs)) > SAME_HEIGHT_MM:
        told.append(
            f"Slices of a real and a generated image lie up to {apart:.1f} mm apart: their heights may give readers a "
            "hint. More samples of each cell find nearer ones."
        )
    key = StudyKey(
        command=command,
        seed=order.seed,
        margin=order.margin,
        asked=order.asked,
        num_repeats=order.num_repeats,
        images=study_images(pairs),
        orders=tuple(map(tuple, draw_orders(len(pairs), order))),
        facts=comparison_facts(config, real.provenance, made.provenance),
        notices=tuple(told),
    )
    if (out / KEY).is_file() and read_key(out).model_dump(exclude={"command"}) != key.model_dump(exclude={"command"}):
        raise InputError(f"{out} holds another study, whose pages may be with readers: use a new folder for --out")
    (out / KEY).write_json(key.model_dump(mode="json"))
    levels = _levels(pairs, real, made)
    pages = []
    for reader in range(1, order.num_readers + 1):
        html = reading_page(
            key,
            reader,
            levels,
            plane=config.data.plane,
            spacing_mm=config.data.spacing_mm,
            notices=notices(real.provenance),
        )
        pages.append(out / "pages" / f"reader-{reader}.html")
        pages[-1].write_bytes(html.encode())
    return BuiltStudy(key, tuple(pages), tuple(filter(None, real.provenance["licence"])))


def score_study(
    study: Location, answers: Sequence[Location], *, out: Location | None = None, command: str = ""
) -> Published:
    """Score the answers of one reader or more, a file each: `index.html` and `scores.json` in `out` (`study/result`).

    Raises InputError for a folder that holds no study, and for answers to another one, or unfinished ones.
    """
    key, out = read_key(study), result_folder(out or study / "result", "scores.json")
    if not answers:
        raise InputError("no answers: name the files that readers sent back")
    result = summarise(key, read_all(answers, key))
    told = [*key.notices, *study_notices(result, len(key.orders))]
    facts = {**key.facts, "Built by": key.command, **({"Command": command} if command else {})}
    page = reader_study_page(f"Reader study {key.id}", result, told, {k: v for k, v in facts.items() if v})
    figures = {"notices": told, "verdict": study_verdict(result), **result.as_json(), "facts": dict(key.facts)}
    return publish(out, page, "scores.json", figures, notices=told, words=[study_lines(result)])


def read_key(study: Location) -> StudyKey:
    """The key of a study. Raises InputError for a folder that holds none."""
    file = study / KEY
    if not file.is_file():
        raise InputError(f"no {KEY} in {study}: name a folder that `mrigen reader-study build` wrote")
    return parse_section(StudyKey, file.read_json(), str(file))


def _levels(pairs: Sequence[Pair], real: ImageIndex, made: ImageIndex) -> list[Levels]:
    """The grey levels of all images of the pairs, in the order of the key."""
    found: dict[str, Levels] = {}
    for side, index in enumerate((real, made)):
        rows = in_file_order(pair[side] for pair in pairs)
        images = (image for some in read_pixels(index.files, rows) for image in some)
        for row, image in zip(rows, images, strict=True):
            try:
                found[row.id] = shown_levels(image)
            except ValueError as error:
                raise InputError(f"image {row.id} in {index.files[row.file]} cannot be shown: {error}") from None
    return [found[row.id] for pair in pairs for row in pair]
