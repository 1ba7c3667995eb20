"""What an evaluation says of images, each figure held against one computed by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from mrigen.condition_classifier.classifier import Trained
from mrigen.condition_classifier.fidelity import ask, fidelity
from mrigen.condition_classifier.store import find_or_train
from mrigen.evaluation import planning
from mrigen.evaluation.described_cells import DescribedCell, DescribedImages, sort_by_cell
from mrigen.evaluation.extrapolation import FLOOR, GENERATED, HEALTHY, NEAREST
from mrigen.evaluation.figure_tasks import ScopeByExtractor, pair_likeness, scope_figures
from mrigen.evaluation.planning import EvaluationPlan
from mrigen.evaluation.summary import NO_BRAINS, NO_LESIONS, NO_MASKS, Evaluation, clinical_figures, pair_interval
from mrigen.features.efficientnet import FeatureExtractor
from mrigen.features.networks import find_networks
from mrigen.images.index import Group, hash_order, index_generated, index_real
from mrigen.images.labelled import LabelledImages
from mrigen.images.scopes import Scope, ScopeKind
from mrigen.labels import Cell, Modality, all_cells
from mrigen.metrics.distribution import frechet
from mrigen.metrics.kernel import SIDES, TIMES, kid, width_name
from mrigen.metrics.resampling import ImageSet, seeded
from mrigen.model_folder.files import load_autoencoder
from mrigen.records import pack_mask
from mrigen.storage import Location
from tests.fake_run import SIZE, made_up_image, sample_row, tiny_config, write_autoencoder, write_data, write_samples
from tests.unit.evaluation.described import compared, figures_of, plan_of, row_named, tables_of

FULL, FEW, BROKEN, EMPTY = (Cell.parse(n) for n in ("Healthy:T1w", "Healthy:T2w", "Dementia:PD", "Sclerosis:PD"))
CONFIG = tiny_config("held_out_cells=['Dementia:PD']")
LEAD = "efficientnet-lite0"
FULL_BY_LEAD = ScopeByExtractor(Scope(str(FULL), ScopeKind.CELL, (FULL,)), LEAD)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("run")
    write_data(folder, [FULL, FEW, BROKEN], {"train": 6, "test": 5}, lesions=lesions)
    nan = np.full((SIZE, SIZE), np.nan)
    rows = [sample_row(FULL, i) for i in range(11)]
    rows += [sample_row(FEW, i) for i in range(5)]
    rows += [sample_row(BROKEN, i, trained=False, image=nan if i == 3 else None) for i in range(10)]
    rows += [sample_row(EMPTY, i) for i in range(10)]
    write_samples(folder / "samples", rows)
    write_autoencoder(folder / "vae", CONFIG)
    return folder


def lesions(name: str) -> bytes | None:
    """The left half of the lowest slices of FULL, nothing in all others of it and in FEW, unknown elsewhere."""
    if "Dementia" in name:
        return None
    mask = np.zeros((SIZE, SIZE), bool)
    mask[: SIZE // 2] = name.endswith("Healthy-T1w-0")
    return pack_mask(mask)


@pytest.fixture(scope="module")
def plan(run: Path) -> EvaluationPlan:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "SHARD_ROWS", 16)
        return plan_of(run, CONFIG)


@pytest.fixture(scope="module")
def tables(run: Path, plan: EvaluationPlan) -> list[pa.Table]:
    return tables_of(run, plan, CONFIG)


@pytest.fixture(scope="module")
def trained(run: Path) -> Trained:
    networks = find_networks(Location.parse(run), CONFIG)
    assert networks.classifier is not None
    return find_or_train(networks.classifier, CONFIG, networks.classifiers)


@pytest.fixture(scope="module")
def evaluation(plan: EvaluationPlan, tables: list[pa.Table], trained: Trained) -> Evaluation:
    return figures_of(tables, plan, CONFIG, classifier=trained)


def image_names(split: str = "test", subjects: int = 5) -> list[str]:
    return [f"{split}{n:03d}Healthy-T1w-{k}" for n in range(subjects) for k in range(3)]


def real_images(names: list[str]) -> torch.Tensor:
    return torch.stack([torch.from_numpy(made_up_image("real", name)) for name in names])[:, None].half().float()


def test_rows_are_all_cells_and_what_they_are_pooled_to(evaluation: Evaluation) -> None:
    assert [row.name for row in evaluation.of_kind(ScopeKind.OVERALL)] == ["All trained cells", "All untrained cells"]
    assert [row.name for row in evaluation.of_kind(ScopeKind.MODALITY)] == ["T1w", "T2w", "PD"]
    assert [row.name for row in evaluation.of_kind(ScopeKind.PATHOLOGY)] == ["Healthy", "Sclerosis"]
    assert len(evaluation.of_kind(ScopeKind.CELL)) == 20


def test_a_full_cell_has_every_figure_with_n_and_interval(evaluation: Evaluation) -> None:
    row = row_named(evaluation, FULL)
    assert not row.scope.untrained
    assert row.images == {"held_out": 15, "held_out_subjects": 5, "generated": 11, "reference": 11}
    numbers = {"autoencoder-quality": 15, "diversity": 10, LEAD: 11, "mri": 11, "autoencoder": 11}
    for name, figure in row.figures.items():
        if name.startswith(("fidelity", "clinical")) or "kid_width" in name:
            continue
        if name == "autoencoder-quality/lesion_mae":
            assert figure.n == 5
            continue
        assert figure.value is not None, name
        assert figure.n == (11 if "/kid" in name else numbers[name.partition("/")[0]]), name
        assert figure.low is not None, name
        assert figure.low <= figure.high, name
    measured = {name.partition("/")[2] for name in row.figures if name.startswith(LEAD)}
    names = {"kid", "fid", "precision", "recall", "density", "coverage"}
    widths = {width_name(side, times): times for side in SIDES for times in TIMES}
    del widths["kid_width_both_0.25"]  # one subject of five
    assert measured == names | {f"{name}_floor" for name in names} | set(widths)
    assert all(row.figures[f"{LEAD}/{name}"].n == round(times * 11) for name, times in widths.items())
    low, high = row.figures[f"{LEAD}/kid"].interval or (0.0, 0.0)
    for side in SIDES:
        assert row.figures[f"{LEAD}/{width_name(side, 1.0)}"].value == pytest.approx(high - low, rel=0.4)


def test_where_there_is_no_figure_there_is_a_reason(evaluation: Evaluation) -> None:
    few, broken, empty = (row_named(evaluation, cell).figures for cell in (FEW, BROKEN, EMPTY))
    assert "here are 15 real and 5" in (few[f"{LEAD}/fid"].reason or "")
    assert few["diversity/ms_ssim_generated"].value is not None
    reason = "1 of 10 images hold values that are not finite"
    assert broken[f"{LEAD}/kid"].reason == broken["diversity/ms_ssim_generated"].reason == reason
    assert broken[f"{LEAD}/fid_floor"].value is not None
    assert empty[f"{LEAD}/fid"].reason == empty[f"{LEAD}/fid_floor"].reason == "no image of this cell in the test split"
    for name in ("autoencoder-quality/psnr_db", "diversity/ms_ssim_real"):
        assert empty[name].reason == "no image in the test split"
    assert empty["diversity/ms_ssim_generated"].value is not None
    nothing = row_named(evaluation, "Glioblastoma:FLAIR").figures
    assert nothing["diversity/ms_ssim_generated"].reason == "no generated image"
    pooled = row_named(evaluation, "All trained cells").figures[f"{LEAD}/fid_infinity"]
    assert "needs 100 images" in (pooled.reason or "")


def test_pooled_figures_take_equally_many_of_each_cell(evaluation: Evaluation) -> None:
    trained = row_named(evaluation, "All trained cells")
    assert trained.images["generated"] == 26
    # EMPTY has no held-out image to compare its 10 with; the floor takes what the figure takes.
    assert trained.figures[f"{LEAD}/fid"].n == trained.figures[f"{LEAD}/fid_floor"].n == 11 + 5
    assert trained.figures["autoencoder-quality/psnr_db"].n == 30


def test_pairs_are_as_many_for_generated_as_for_real(plan: EvaluationPlan, tables: list[pa.Table]) -> None:
    """FEW has 10 pairs of generated images, so no more of real ones, though 40 are asked for and 90 there."""
    drawn = pair_likeness(compared(tables, plan, tiny_config("evaluation.num_pairs=40")), FEW)
    assert {group: len(pairs.values) for group, pairs in drawn.items()} == {Group.HELD_OUT: 10, Group.GENERATED: 10}
    assert all(first != second for first, second in drawn[Group.HELD_OUT].owners)


def test_distances_and_autoencoder_figures_are_those_computed_by_hand(
    evaluation: Evaluation, run: Path, trained: Trained
) -> None:
    real = real_images(image_names())
    fake = torch.stack([torch.from_numpy(made_up_image("fake", str(FULL), i)) for i in range(11)])[:, None]
    fake = fake.half().float()
    extractor, autoencoder = FeatureExtractor(32), load_autoencoder(run / "vae")
    with torch.inference_mode():
        latents = autoencoder.encode(real).mean
        restored = autoencoder.decode(latents).clamp(-1, 1)
        distance = frechet(extractor(real), extractor(fake)).value
        latent_distance = frechet(latents.flatten(1), autoencoder.encode(fake).mean.flatten(1)).value
        classifier_distance = frechet(trained.classifier.features(real), trained.classifier.features(fake)).value
    error = (restored - real).square().mean(dim=(1, 2, 3))
    figures = row_named(evaluation, FULL).figures
    assert figures["mri/fid"].value == pytest.approx(classifier_distance, rel=1e-3)
    assert figures[f"{LEAD}/fid"].value == pytest.approx(distance, rel=1e-3)
    assert figures["autoencoder/fid"].value == pytest.approx(latent_distance, rel=1e-3)
    expected = float((10 * torch.log10(4 / error)).mean())
    assert figures["autoencoder-quality/psnr_db"].value == pytest.approx(expected, rel=1e-4)
    mae = float((restored - real).abs().mean())
    assert figures["autoencoder-quality/mae"].value == pytest.approx(mae, rel=1e-4)


def test_the_kid_of_reconstructions_is_against_real_images_of_others(evaluation: Evaluation, run: Path) -> None:
    extractor, autoencoder = FeatureExtractor(32), load_autoencoder(run / "vae")
    held_out, reference = (sorted(image_names(*of), key=hash_order)[:11] for of in (("test", 5), ("train", 6)))
    with torch.inference_mode():
        restored = autoencoder.decode(autoencoder.encode(real_images(held_out)).mean).clamp(-1, 1)
        features = extractor(real_images(reference)), extractor(restored)
    sets = [
        ImageSet.of(some, [name.partition("-")[0] for name in names], [0] * 11, [0] * 11)
        for some, names in zip(features, (reference, held_out), strict=True)
    ]
    figure = row_named(evaluation, FULL).figures["autoencoder-quality/kid_restored"]
    assert figure.value == pytest.approx(kid(*sets, 2, seeded(0)).value, rel=1e-3)


def test_fidelity_is_what_the_classifier_says_of_the_same_images(
    evaluation: Evaluation, run: Path, trained: Trained
) -> None:
    index = index_real(Location.parse(run / "data"), "test")
    samples = index_generated(Location.parse(run / "samples"))
    held_out = LabelledImages.read(index, [row for row in index.rows if row.group == Group.HELD_OUT])
    generated = LabelledImages.read(samples, samples.rows)
    never_seen = {cell for cell in all_cells() if cell not in (FULL, FEW, EMPTY)}
    by_hand = fidelity(
        ask(trained, held_out), ask(trained, generated), trained.counts, untrained=never_seen, num_bootstraps=20
    )
    for name in (FULL, BROKEN, EMPTY, "All trained cells"):
        for target in ("pathology", "modality"):
            for side in ("", "_real"):
                said = row_named(evaluation, name).figures[f"fidelity/{target}{side}"]
                figure = by_hand.rows[str(name)][f"{target}{side}"]
                assert (said.value, said.n, said.reason) == (figure.value, figure.n, figure.reason)
    assert evaluation.confusion == by_hand.confusion
    assert sum(map(sum, evaluation.confusion["modality"]["generated"])) == 16
    assert evaluation.classifier is not None
    assert evaluation.classifier["counts"] == {"Healthy:T1w": 18, "Healthy:T2w": 18, "Dementia:PD": 18}


def test_cells_are_held_against_lazy_answers_where_that_is_asked_for(
    plan: EvaluationPlan, tables: list[pa.Table], trained: Trained, evaluation: Evaluation
) -> None:
    assert evaluation.extrapolation is None
    found = figures_of(tables, plan, CONFIG, classifier=trained, extrapolation=True)
    assert found.extrapolation is not None
    assert found.extrapolation.extractors == (LEAD, "mri", "autoencoder")
    scores = {score.cell: score for score in found.extrapolation.scores}
    assert {cell for cell, score in scores.items() if score.unseen} == plan.untrained
    full, broken = scores[FULL], scores[BROKEN]
    assert full.stand_ins == {HEALTHY: None, NEAREST: None}
    assert full.figures[GENERATED][f"{LEAD}/kid"].n == 11
    reason = broken.figures[GENERATED][f"{LEAD}/kid"].reason
    assert reason == "1 of 25 images hold values that are not finite"
    assert broken.figures[FLOOR][f"{LEAD}/kid"].value is not None
    nothing = scores[Cell.parse("Dementia:T1w")].figures[GENERATED]["mri/kid"]
    assert nothing.reason == "no truth: no held-out real image of this cell"


def test_the_error_in_lesions_is_taken_where_the_mask_says(evaluation: Evaluation, run: Path) -> None:
    lowest, autoencoder = real_images(image_names())[0::3], load_autoencoder(run / "vae")
    with torch.inference_mode():
        error = (autoencoder.decode(autoencoder.encode(lowest).mean).clamp(-1, 1) - lowest).abs()
    figures = {
        cell: row_named(evaluation, cell).figures["autoencoder-quality/lesion_mae"] for cell in (FULL, FEW, BROKEN)
    }
    assert figures[FULL].value == pytest.approx(float(error[:, :, : SIZE // 2].mean()), rel=1e-4)
    assert (figures[FULL].n, figures[FULL].low is not None) == (5, True)
    assert row_named(evaluation, "Healthy").figures["autoencoder-quality/lesion_mae"].n == 5
    assert (figures[FEW].reason, figures[BROKEN].reason) == (NO_LESIONS, NO_MASKS)


def test_error_maps_are_means_over_all_images_of_a_modality(evaluation: Evaluation, run: Path) -> None:
    autoencoder, real = load_autoencoder(run / "vae"), real_images(image_names())
    with torch.inference_mode():
        error = (autoencoder.decode(autoencoder.encode(real).mean).clamp(-1, 1) - real).abs().mean(dim=(0, 1))
    assert set(evaluation.error_maps) == {Modality.T1W, Modality.T2W, Modality.PD}
    assert evaluation.error_maps[Modality.T1W] == pytest.approx(error.numpy(), abs=1e-4)


def test_neither_the_order_of_tasks_nor_another_run_changes_a_bit(
    run: Path, plan: EvaluationPlan, tables: list[pa.Table], trained: Trained, evaluation: Evaluation
) -> None:
    again = figures_of(tables_of(run, plan, CONFIG), plan, CONFIG, classifier=trained)
    assert [row.as_json() for row in again.rows] == [row.as_json() for row in evaluation.rows]
    for key, images in evaluation.pictures.items():
        assert np.array_equal(np.stack(images), np.stack(again.pictures[key]))
    for modality, image in evaluation.error_maps.items():
        assert np.array_equal(image, again.error_maps[modality])
    other = scope_figures(compared(tables, plan, tiny_config("seed=1")), FULL_BY_LEAD)
    assert other["kid"].low != row_named(evaluation, FULL).figures[f"{LEAD}/kid"].low


def test_images_that_are_all_the_same_give_reasons(plan: EvaluationPlan, tables: list[pa.Table]) -> None:
    """A held-out set without any variety has no spread to compare with."""
    described = sort_by_cell(tables, (SIZE, SIZE))
    key = Group.HELD_OUT, FULL
    rows = described.groups[key].rows
    alike = DescribedCell([{**row, "features": rows[0]["features"]} for row in rows])
    flat = DescribedImages({**described.groups, key: alike})
    figures = scope_figures(compared(flat, plan, CONFIG), FULL_BY_LEAD)
    assert figures["kid"].reason == "the features of the real images are all the same"


def test_the_interval_of_pairs_knows_that_pairs_share_images() -> None:
    """With values a_i + a_j over all pairs of 40 owners, the mean has the standard error 2 sd(a) / sqrt(40)."""
    own = np.random.default_rng(0).normal(size=40)
    first, second = np.triu_indices(40, k=1)
    named = [(str(i), FULL) for pair in zip(first, second, strict=True) for i in pair]
    config = tiny_config("evaluation.num_bootstraps=1000")
    low, high = pair_interval(own[first] + own[second], named, config, "x") or (0.0, 0.0)
    assert (high - low) / (2 * 1.96) == pytest.approx(2 * own.std() / 40**0.5, rel=0.15)
    assert low < 2 * own.mean() < high
    assert pair_interval(np.ones(1), [("a", FULL), ("b", FULL)], config, "x") is None


def test_areas_are_measured_where_images_show_no_skull(run: Path, evaluation: Evaluation) -> None:
    assert row_named(evaluation, FULL).figures["clinical/ventricle_mm2"].reason == NO_BRAINS

    config = tiny_config("data.head=strip")
    flair, healthy, glioblastoma = Cell.parse("Glioblastoma:FLAIR"), np.eye(9)[0], np.eye(9)[1]
    rows = [
        {"owner": str(area), "bright_mm2": area, "ventricle_mm2": 40.0, "answers": said}
        for area, said in ((0.0, healthy), (30.0, glioblastoma), (60.0, healthy))
    ]
    groups = {(Group.GENERATED, flair): DescribedCell(rows)}
    images = compared(DescribedImages(groups), plan_of(run, config), config)
    figures = clinical_figures(flair, images)
    values = {name: (figure.value, figure.n) for name, figure in figures.items() if not name.endswith("_real")}
    assert values == {
        "clinical/bright_mm2": (30.0, 3),
        "clinical/bright_share": (pytest.approx(2 / 3), 3),
        "clinical/pathology_of_bright": (0.5, 2),
        "clinical/ventricle_mm2": (40.0, 3),
    }
    assert figures["clinical/bright_mm2_real"].reason == "no image of this cell in the test split"
