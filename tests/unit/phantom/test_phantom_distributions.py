"""What is drawn has the documented medians, shares and ranges, and what is made has the volumes that were drawn."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import pytest

from mrigen.labels import Pathology
from mrigen.phantom.anatomy import build_anatomy, midline_shift_mm
from mrigen.phantom.draw import draw_parameters
from mrigen.phantom.fields import Grid, level_of_volume, working_grid
from mrigen.phantom.parameters import PlaqueParameters, SubjectParameters, TumourParameters
from mrigen.phantom.segmentation import measure, segment
from mrigen.phantom.template import load_template

COARSE_MM = 4.0
COHORT = 400  # draws alone are cheap; the tolerances below are some three standard errors


@lru_cache(maxsize=4)
def drawn(pathology: Pathology) -> tuple[SubjectParameters, ...]:
    return tuple(draw_parameters(np.random.default_rng([5, seed]), pathology) for seed in range(COHORT))


def tumours() -> list[TumourParameters]:
    return [one.tumour for one in drawn(Pathology.GLIOBLASTOMA) if one.tumour is not None]


def ages(pathology: Pathology) -> np.ndarray:
    return np.array([one.age for one in drawn(pathology)])


# --- ages ---


def test_ages_have_their_means_and_overlap() -> None:
    for pathology, mean in ((Pathology.GLIOBLASTOMA, 62), (Pathology.SCLEROSIS, 43), (Pathology.DEMENTIA, 75)):
        assert ages(pathology).mean() == pytest.approx(mean, abs=2.0)
    healthy = ages(Pathology.HEALTHY)
    assert np.histogram(healthy, bins=7, range=(20, 90))[0].min() > COHORT / 7 * 0.6
    # In every decade from 50 to 70 there are some of each.
    for low in (50, 60):
        for pathology in Pathology:
            found = ages(pathology)
            assert ((found >= low) & (found < low + 10)).mean() > 0.02


# --- glioblastoma ---


def test_tumour_volumes_are_log_normal_about_their_medians() -> None:
    core = np.array([tumour.core_ml for tumour in tumours()])
    assert np.median(core) == pytest.approx(27, rel=0.13)
    assert np.log(core).std() == pytest.approx(0.7, abs=0.1)
    assert 4.0 <= core.min() < core.max() <= 110.0
    ratio = np.array([tumour.oedema_ml / tumour.core_ml for tumour in tumours()])
    assert np.median(ratio) == pytest.approx(1.6, rel=0.1)
    assert np.mean([tumour.necrosis_share for tumour in tumours()]) == pytest.approx(0.4, abs=0.04)


def test_tumours_sit_where_gliomas_do_on_both_sides() -> None:
    lobes = [tumour.lobe for tumour in tumours()]
    for lobe, share in (("frontal", 0.40), ("temporal", 0.29), ("parietal", 0.14), ("deep", 0.14), ("occipital", 0.03)):
        assert lobes.count(lobe) / COHORT == pytest.approx(share, abs=0.075)
    assert np.mean([tumour.side == "left" for tumour in tumours()]) == pytest.approx(0.5, abs=0.08)
    assert np.mean([len(tumour.foci) > 1 for tumour in tumours()]) == pytest.approx(0.15, abs=0.055)
    for tumour in tumours():
        for focus in tumour.foci:
            assert (focus.centre_mm[0] > 0) == (tumour.side == "right")


def test_larger_tumours_shift_the_midline_further() -> None:
    shift = np.array([midline_shift_mm(tumour) for tumour in tumours()])
    core = np.array([tumour.core_ml for tumour in tumours()])
    assert np.corrcoef(shift, np.log(core))[0, 1] > 0.3
    assert 0.5 < np.median(shift) < 5.0
    assert shift.max() < 12.0
    assert midline_shift_mm(None) == 0.0


# --- multiple sclerosis ---


def plaques() -> list[PlaqueParameters]:
    return [plaque for one in drawn(Pathology.SCLEROSIS) for plaque in one.plaques]


def test_plaques_are_over_dispersed_in_number_and_log_normal_in_size() -> None:
    counts = np.array([len(one.plaques) for one in drawn(Pathology.SCLEROSIS)])
    assert counts.mean() == pytest.approx(36, rel=0.12)
    assert counts.var() > 8 * counts.mean()  # a Poisson number would have a variance of its mean
    assert 6 <= counts.min() < counts.max() <= 160
    volume = np.array([plaque.volume_ml for plaque in plaques() if plaque.kind == "deep"])
    assert np.median(volume) == pytest.approx(0.09, rel=0.1)
    beside = np.array([plaque.volume_ml for plaque in plaques() if plaque.kind == "periventricular"])
    assert np.median(beside) == pytest.approx(0.16, rel=0.1)


def test_the_axes_of_a_plaque_give_its_volume() -> None:
    for plaque in plaques()[:20]:
        ellipsoid = np.pi / 6 * plaque.length_mm * plaque.width_mm**2 / 1000
        assert ellipsoid == pytest.approx(plaque.volume_ml)
        assert plaque.length_mm == pytest.approx(plaque.elongation * plaque.width_mm)


# --- ageing and dementia ---


def test_health_grows_old() -> None:
    healthy = drawn(Pathology.HEALTHY)
    age = ages(Pathology.HEALTHY)
    ventricles = np.array([one.anatomy.ventricle_ml for one in healthy])
    assert np.corrcoef(age, np.log(ventricles))[0, 1] > 0.6
    for low, high, median in ((20, 35, 15), (55, 65, 24), (75, 85, 38)):
        assert np.median(ventricles[(age > low) & (age < high)]) == pytest.approx(median, rel=0.18)
    assert np.corrcoef(age, [one.anatomy.sulcal_widening for one in healthy])[0, 1] > 0.5
    assert np.corrcoef(age, [one.anatomy.hippocampal_loss for one in healthy])[0, 1] > 0.5


def test_hyperintensities_grow_with_age_and_spare_the_young() -> None:
    healthy = drawn(Pathology.HEALTHY)
    assert all((one.hyperintensity is None) == (one.age < 45) for one in healthy)
    volume = {
        decade: np.median(
            [one.hyperintensity.volume_ml for one in healthy if one.hyperintensity and abs(one.age - decade) < 5]
        )
        for decade in (55, 65, 75, 85)
    }
    for decade, median in ((55, 0.7), (65, 2.0), (75, 4.5), (85, 9.0)):
        assert volume[decade] == pytest.approx(median, rel=0.5)
    grades = {one.hyperintensity.fazekas for one in healthy if one.hyperintensity}
    assert grades == {0, 1, 2, 3}


def test_dementia_is_more_than_hyperintensities_and_overlaps_with_age() -> None:
    old = [one for one in drawn(Pathology.HEALTHY) if one.age > 65]
    demented = [one for one in drawn(Pathology.DEMENTIA) if one.age > 65]

    def both(name: str) -> tuple[np.ndarray, np.ndarray]:
        healthy, ill = (np.array([getattr(one.anatomy, name) for one in group]) for group in (old, demented))
        return healthy, ill

    for name, ratio in (("ventricle_ml", 1.3), ("sulcal_widening", 1.8), ("hippocampal_loss", 2.0)):
        healthy, ill = both(name)
        assert np.median(ill) > ratio * np.median(healthy)
    healthy, ill = both("ventricle_ml")
    assert np.quantile(healthy, 0.9) > np.quantile(ill, 0.25)
    wmh = {
        name: np.array([one.hyperintensity.volume_ml for one in group if one.hyperintensity])
        for name, group in (("old", old), ("demented", demented))
    }
    assert np.quantile(wmh["old"], 0.9) > np.median(wmh["demented"]) > np.median(wmh["old"])


# --- what is made has the volumes that were drawn ---


def test_a_level_encloses_its_volume() -> None:
    grid = Grid((10, 10, 10), 10.0, (0.0, 0.0, 0.0))  # voxels of 1 ml
    field = np.arange(1000, dtype=np.float32)[::-1].copy()
    whole, half = np.ones(1000, np.float32), np.full(1000, 0.5, np.float32)
    assert (field <= level_of_volume(field, whole, 100.0, grid)).sum() == 100
    assert (field <= level_of_volume(field, half, 100.0, grid)).sum() == 200
    assert level_of_volume(field, whole, 5000.0, grid) == field.max()
    assert level_of_volume(field, 0 * whole, 1.0, grid) < field.min()


def test_ventricles_and_hippocampi_have_about_the_drawn_volume() -> None:
    template, grid = load_template(COARSE_MM), working_grid(COARSE_MM)
    plain = drawn(Pathology.HEALTHY)[0]

    def measured(**changes: object) -> dict[str, float]:
        anatomy = type(plain.anatomy)(**{**vars(plain.anatomy), "sulcal_widening": 0.3, **changes})
        built = build_anatomy(anatomy, plain.vessels, None, template, grid)
        labels = np.zeros(grid.shape, np.uint8)
        labels[built.brain] = segment(built, built.fractions)
        return measure(labels, grid.spacing_mm)

    for aim in (14.0, 25.0, 50.0, 80.0):
        assert measured(ventricle_ml=aim)["ventricle_ml"] == pytest.approx(aim, rel=0.15)
    for scale in (0.85, 1.0):  # millilitres are the subject's, not the template's
        assert measured(ventricle_ml=40.0, scale=(scale,) * 3)["ventricle_ml"] == pytest.approx(40.0, rel=0.15)
    full = measured(hippocampal_loss=0.0)["hippocampus_ml"]
    assert 4.0 < full < 9.0
    for loss in (0.15, 0.35):
        assert measured(hippocampal_loss=loss)["hippocampus_ml"] == pytest.approx((1 - loss) * full, rel=0.2)
