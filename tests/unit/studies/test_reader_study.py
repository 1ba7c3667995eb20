"""A reader study from a run to its result: what readers could learn from a page, and how answers are taken."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mrigen.errors import InputError
from mrigen.labels import Cell
from mrigen.stages.reader_study import BuiltStudy, build_study, score_study
from mrigen.storage import Location
from mrigen.studies.reader_study.design import StudyOrder, draw_orders
from mrigen.studies.reader_study.display import BLACK, shown_levels
from tests.command import hashes, mrigen
from tests.fake_run import SIZE, made_up_image, sample_row, tiny_config, write_data, write_samples

CELLS = [Cell.parse(name) for name in ("Healthy:T1w", "Glioblastoma:FLAIR")]
ORDER = StudyOrder(num_images=24, num_repeats=6, asked=("pathology", "modality"))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Samples that are as real images are, but for what gives generated ones away: an uneven background, values that
    do not reach as far, the type and compression of their files, and heights of their own."""
    folder, rng = tmp_path / "run", np.random.default_rng(0)
    Location.parse(folder / "config.json").write_json(tiny_config().model_dump(mode="json"))
    write_data(folder, CELLS, {"train": 1, "test": 5}, slices=4)
    rows = []
    for cell in CELLS:
        for number in range(20):
            image = 0.9 * made_up_image("real", f"like {cell} {number}") - 0.05
            image = np.where(image < BLACK, -1 + rng.uniform(0, 0.05, image.shape), image).astype(np.float32)
            rows.append({**sample_row(cell, number, image=image), "slice_mm": 6.0 * (number % 4) + 1.5})
    write_samples(folder / "samples", rows)
    return folder


def built(run: Path, name: str = "study", order: StudyOrder = ORDER, **asked: Any) -> BuiltStudy:
    return build_study(Location.parse(run), tiny_config(), order, Location.parse(run.parent / name), **asked)


def embedded(page: Location) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="study">(.*?)</script>', page.read_bytes().decode())
    assert found is not None
    return json.loads(found.group(1))


def levels_of(text: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), np.uint8)


def write_answers(study: BuiltStudy, folder: Path, share_right: float) -> list[Path]:
    """What simulated readers send back, who are right with that probability."""
    rng, files = np.random.default_rng(1), []
    for reader, order in enumerate(study.key.orders, start=1):
        answers = []
        for position, number in enumerate(order):
            image = study.key.images[number]
            synthetic = image.synthetic == (rng.random() < share_right)
            pathology, _, modality = image.cell.partition(":")
            answers.append(
                {
                    "position": position,
                    "answer": "synthetic" if synthetic else "real",
                    "confidence": int(rng.integers(1, 6)),
                    "seconds": 2.0 + number,
                    "pathology": pathology if number % 2 else "cannot tell",
                    "modality": modality,
                    "comment": "<b>odd</b>" if position == 3 else "",
                }
            )
        files.append(folder / f"reader-{reader}.json")
        content = {"study": study.key.id, "reader": reader, "started": "2026-01-01", "answers": answers}
        files[-1].write_text(json.dumps(content))
    return files


def test_a_page_tells_nothing_of_which_images_are_real(run: Path) -> None:
    study = built(run)
    for reader, page in enumerate(study.pages, start=1):
        text, content = page.read_bytes().decode(), embedded(page)
        assert sorted(content) == ["asked", "height", "images", "reader", "study", "width"]
        for image in study.key.images:  # no name, subject or label of any image
            assert image.id not in text
            assert image.owner not in text
        assert "like" not in content
        truth = np.array([study.key.images[number].synthetic for number in study.key.orders[reader - 1]])
        assert len({len(one) for one in content["images"]}) == 1  # no size of anything
        images = np.stack([levels_of(one) for one in content["images"]])
        assert images.shape == (30, SIZE * SIZE)
        assert (images.max(axis=1) == 255).all()
        assert (images.min(axis=1) == 0).all()
        corners = images.reshape(-1, SIZE, SIZE)[:, [0, 0, -1, -1], [0, -1, 0, -1]]
        assert (corners == 0).all()
        # Of all levels between, each kind has as many different ones, and as much black.
        for measure in ((images == 0).mean(axis=1), np.array([len(np.unique(one)) for one in images])):
            spread = measure.std()
            assert abs(measure[truth].mean() - measure[~truth].mean()) <= spread
    pictures = [frozenset(embedded(page)["images"]) for page in study.pages]
    assert pictures[0] == pictures[1] == pictures[2]
    assert len({tuple(embedded(page)["images"]) for page in study.pages}) == 3


def test_values_alone_would_tell_and_levels_do_not() -> None:
    image = made_up_image("a")
    spoiled = np.where(image == -1, -0.97, 0.8 * image - 0.1)
    assert np.unique(image[image < BLACK]).tolist() == [-1.0]
    real, made = shown_levels(image), shown_levels(spoiled)
    assert np.array_equal(real[:2], made[:2])  # background
    assert real.max() == made.max() == 255
    assert np.array_equal(shown_levels(image.astype(np.float16)), shown_levels(image.astype(np.float16) + 0.0))
    up = np.full((4, 6), -1.0)
    up[3, 5] = 1.0  # right, front
    assert shown_levels(up)[0, 3] == 255
    for bad in (np.full((4, 4), -1.0), np.full((4, 4), np.nan), np.zeros((2, 2, 2))):
        with pytest.raises(ValueError, match=r"black all over|finite values"):
            shown_levels(bad)


def test_orders_say_nothing_of_the_truth() -> None:
    """Over many studies no place, neighbour or repeat leans to either kind."""
    truths, after, gaps = [], [], []
    for seed in range(300):
        for order in draw_orders(12, StudyOrder(num_images=24, num_repeats=6, num_readers=2, seed=seed)):
            assert Counter(Counter(order).values()) == {1: 18, 2: 6}
            truth = np.array(order) % 2
            assert truth.sum() == 15
            truths.append(truth)
            after.append((truth[1:] == truth[:-1]).mean())
            places = {number: [i for i, one in enumerate(order) if one == number] for number in set(order)}
            gaps += [found[1] - found[0] for found in places.values() if len(found) == 2]
    assert np.abs(np.mean(truths, axis=0) - 0.5).max() < 4 * 0.5 / np.sqrt(600)
    assert np.mean(after) == pytest.approx(14 / 29, abs=0.03)  # as in a random order of 15 and 15
    assert min(gaps) > 6


def test_images_are_balanced_by_cell_subject_and_height(run: Path) -> None:
    study = built(run)
    assert Counter((image.cell, image.synthetic) for image in study.key.images) == {
        (str(cell), synthetic): 6 for cell in CELLS for synthetic in (True, False)
    }
    subjects = Counter(image.owner for image in study.key.images if not image.synthetic)
    assert len(subjects) == 10  # five of each pathology
    assert max(subjects.values()) == 2
    pairs = zip(study.key.images[::2], study.key.images[1::2], strict=True)
    assert {abs(real.slice_mm - made.slice_mm) for real, made in pairs} == {1.5}
    again = hashes(run.parent / "study")
    built(run)
    assert hashes(run.parent / "study") == again
    assert built(run, "other", ORDER.model_copy(update={"seed": 1})).key.id != study.key.id


def test_a_study_is_built_scored_and_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = run.parent / "study"
    options = ("--images", 24, "--repeats", 6, "--ask", "pathology", "--ask", "modality")
    assert mrigen("reader-study", "build", run, "--out", out, *options) == 0
    told = capsys.readouterr()
    assert f"key:  {out / 'key.json'} (not for readers)" in told.out
    assert "power to show readers who guess to lie within 0.1 of 0.5: 0.0" in told.out
    files = write_answers(built(run), run.parent, 0.9)
    assert mrigen("reader-study", "score", out, *files) == 0
    told = capsys.readouterr()
    assert re.search(
        r"3 readers called \d\d % \(\d\d to \d+ %\) of the images rightly real or synthetic, better", told.out
    )
    scores = json.loads((out / "result" / "scores.json").read_text())
    assert scores["num_real"] == scores["num_synthetic"] == 12
    assert scores["num_subjects"] == 10
    assert scores["mean"]["accuracy"]["p_value"] < 0.01
    assert scores["named_right"]["modality"]["real"]["value"] == 1.0
    assert scores["named_right"]["pathology"]["real"]["value"] == 0.0  # even numbers are real, and could not be told
    assert scores["named_right"]["pathology"]["synthetic"]["value"] == 1.0
    assert scores["repeats"]["all readers"]["same"]["n"] == 18
    assert scores["seconds"]["reader 1"]["quartiles_s"][1] == 13.5
    assert scores["equivalence"]["margin"] == 0.1
    assert sorted(scores["agreement"]) == ["all readers", "readers 1 and 2", "readers 1 and 3", "readers 2 and 3"]
    page = (out / "result" / "index.html").read_text()
    assert "&lt;b&gt;odd" in page
    assert not re.search(r"<script|<link|@import|url\(|https?://", page)

    assert mrigen("reader-study", "score", out, files[0]) == 0
    assert "One reader answered: all figures hold for that reader alone" in capsys.readouterr().err


def test_readers_who_guess_are_shown_to_guess_where_the_margin_allows(run: Path) -> None:
    study = built(run, order=ORDER.model_copy(update={"margin": 0.45}))
    files = write_answers(study, run.parent, 0.5)
    [words] = score_study(Location.parse(run.parent / "study"), [Location.parse(file) for file in files]).words
    assert "not told from guessing, and shown to lie within 45 points of guessing (TOST, p" in words


def test_what_readers_send_back_is_held_against_the_key(run: Path) -> None:
    study, folder = built(run), Location.parse(run.parent / "study")
    [file, second, _] = write_answers(study, run.parent, 0.5)
    whole = json.loads(file.read_text())

    def refused(tree: dict[str, Any] | list[Any], message: str) -> None:
        file.write_text(json.dumps(tree))
        with pytest.raises(InputError, match=message):
            score_study(folder, [Location.parse(file)])

    answers = whole["answers"]
    refused({**whole, "study": "ab"}, "is of the study 'ab', this one is")
    refused({**whole, "reader": 4}, "is of reader 4, this study has 3")
    refused({**whole, "answers": answers[:-1]}, "answers 29 of 30 images: let reader 1 finish, or leave the file out")
    refused({**whole, "answers": [*answers, answers[0]]}, "answers an image twice")
    refused({**whole, "answers": [{**answers[0], "confidence": 6}, *answers[1:]]}, "answers.0.confidence")
    refused({**whole, "answers": [{**answers[0], "modality": "CT"}, *answers[1:]]}, "answers.0.modality")
    refused({**whole, "answers": [{**answers[0], "modality": None}, *answers[1:]]}, "answer 0 names no modality")
    refused([], "is no file of answers")
    file.write_text(json.dumps(whole))
    with pytest.raises(InputError, match="two files are of reader 1"):
        score_study(folder, [Location.parse(file)] * 2)
    with pytest.raises(InputError, match="no answers: name the files"):
        score_study(folder, [])
    key = json.loads((run.parent / "study" / "key.json").read_text())
    (run.parent / "study" / "key.json").write_text(json.dumps({**key, "orders": [[0, 1]]}))
    with pytest.raises(InputError, match="orders: every reader must see every image"):
        score_study(folder, [Location.parse(second)])


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--images", "7"], "7 images cannot be half real, half generated: take an even number"),
        (["--images", "2", "--repeats", "0"], "2 images are too few for 2 cells: two of each are needed"),
        (["--images", "100"], "has 20 held-out real images and 20 samples, 25 of each are needed: generate more of it"),
        (["--cells", "MS:*"], "cells 'MS:*': there are only Healthy:T1w, Glioblastoma:FLAIR"),
        (["--ask", "age"], "asked.0: Input should be 'pathology' or 'modality'"),
        (["--margin", "0.6"], "margin: Input should be less than 0.5, got '0.6'"),
        (["--images", "24", "--seed", "1"], "holds another study, whose pages may be with readers"),
    ],
)
def test_bad_orders_end_with_one_line(
    run: Path, args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    built(run)
    before = hashes(run.parent / "study")
    assert mrigen("reader-study", "build", run, "--out", run.parent / "study", *args) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error
    assert hashes(run.parent / "study") == before


def test_sizes_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert mrigen("reader-study", "size", "--readers", 4, "--margin", 0.1, "--reader-sd", 0.02) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"to show that readers who guess lie within 0.1 of 0.5: \d+ images", lines[0])
    assert re.fullmatch(r"to tell readers of accuracy 0.6 from guessing: \d+ images", lines[1])
    assert mrigen("reader-study", "size", "--readers", 2, "--reader-sd", 0.2) == 0
    assert "take more readers" in capsys.readouterr().out
