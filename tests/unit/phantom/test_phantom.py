"""The phantom cohort: pure in its arguments, true to the signal equations, and each pathology what it says."""

from __future__ import annotations

import json
from functools import lru_cache

import numpy as np
import pytest

from mrigen.labels import Modality, Pathology
from mrigen.phantom import LABELS, PhantomSubject, make_subject
from mrigen.phantom.anatomy import Anatomy, build_anatomy
from mrigen.phantom.draw import draw_parameters
from mrigen.phantom.fields import Grid, smooth_noise, working_grid
from mrigen.phantom.segmentation import segment
from mrigen.phantom.signal import (
    PROTOCOLS,
    RELAXATION,
    Protocol,
    Tissue,
    add_rician_noise,
    inversion_recovery,
    mix_signal,
    spin_echo,
    tissue_signal,
)
from mrigen.phantom.template import load_template

COARSE_MM, FINE_MM = 4.0, 3.0
PATHOLOGIES = list(Pathology)
LESIONS_OF = {
    Pathology.HEALTHY: {"hyperintensity"},
    Pathology.GLIOBLASTOMA: {"necrosis", "oedema", "rim", "tumour", "hyperintensity"},
    Pathology.SCLEROSIS: {"plaque", "active_plaque", "black_hole"},
    Pathology.DEMENTIA: {"hyperintensity"},
}


@lru_cache(maxsize=64)
def subject(index: int, spacing_mm: float = COARSE_MM) -> PhantomSubject:
    return make_subject(11, index, spacing_mm)


def plain_anatomy(index: int, spacing_mm: float = COARSE_MM) -> Anatomy:
    """The brain of a subject before its lesions."""
    drawn = draw_parameters(np.random.default_rng(np.random.SeedSequence([11, index])), PATHOLOGIES[index % 4])
    return build_anatomy(drawn.anatomy, drawn.vessels, None, load_template(spacing_mm), working_grid(spacing_mm))


# --- a function of its arguments ---


def test_seed_and_index_both_change_the_subject() -> None:
    reference = subject(0).images[Modality.T2W]
    assert not np.array_equal(reference, subject(4).images[Modality.T2W])
    assert not np.array_equal(reference, make_subject(12, 0, COARSE_MM).images[Modality.T2W])


@pytest.mark.parametrize(
    ("index", "age", "ventricle_ml", "means"),
    [
        (0, 29.0, 19.2, [275.52, 324.42, 280.52, 163.85, 635.37]),
        (1, 71.9, 49.344, [266.61, 325.29, 378.0, 185.6, 614.05]),
        (2, 39.6, 20.672, [329.57, 305.16, 333.39, 158.17, 638.88]),
        (3, 77.7, 81.856, [249.37, 288.88, 360.14, 133.28, 712.01]),
    ],
)
def test_subjects_are_those_of_this_format(index: int, age: float, ventricle_ml: float, means: list[float]) -> None:
    """Whoever changes these raises `tree.FORMAT`: the embedded model was trained on such subjects."""
    made = subject(index)
    assert (made.age, made.measured["ventricle_ml"]) == (age, ventricle_ml)
    assert [image[made.brain > 0].mean() for image in made.images.values()] == pytest.approx(means, rel=1e-4)


@pytest.mark.parametrize("index", range(4))
def test_arrays_have_the_promised_types_and_range(index: int) -> None:
    made = subject(index)
    assert made.subject == f"{index:04d}"
    assert made.pathology is PATHOLOGIES[index % 4]
    assert 20 <= made.age <= 92
    assert set(made.images) == set(Modality)
    for image in made.images.values():
        assert image.dtype == np.float32
        assert image.shape == made.brain.shape == made.segmentation.shape
        assert np.isfinite(image).all()
        assert (image[made.brain == 0] == 0).all()
        assert 100 < image.max() < 2000
    assert made.affine.dtype == np.float64
    assert np.allclose(np.diag(made.affine), [COARSE_MM] * 3 + [1])
    assert made.parameters["pathology"] == made.pathology.value
    assert json.loads(json.dumps(made.parameters)) == made.parameters


@pytest.mark.parametrize(
    ("seed", "index", "spacing_mm", "words"),
    [
        *((0, 0, spacing_mm, f"spacing_mm is {spacing_mm!r}") for spacing_mm in (0.0, -1.0, np.nan, np.inf, 20.1)),
        (-1, 0, COARSE_MM, "seed -1 and index 0"),
        (0, -3, COARSE_MM, "seed 0 and index -3"),
    ],
)
def test_what_cannot_be_is_refused_with_its_value(seed: int, index: int, spacing_mm: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_subject(seed, index, spacing_mm)


def test_left_is_left_and_front_is_front() -> None:
    """A lesion drawn on the right lies at positive x: the affine and the arrays agree on RAS+."""
    for index in range(1, 24, 4):
        made = subject(index)
        tumour = made.parameters["tumour"]
        assert isinstance(tumour, dict)
        core = np.isin(made.segmentation, [LABELS["necrosis"], LABELS["rim"], LABELS["tumour"]])
        centre = made.affine[:3, :3] @ np.argwhere(core).mean(axis=0) + made.affine[:3, 3]
        assert np.linalg.norm(centre - np.asarray(tumour["foci"][0]["centre_mm"])) < 20.0
        assert (centre[0] > 0) == (tumour["side"] == "right")


def test_brain_fits_the_field_of_view() -> None:
    # But for its lower face, where the template cuts the spinal cord.
    for index in range(12):
        brain = subject(index).brain
        faces = [brain[0], brain[-1], brain[:, 0], brain[:, -1], brain[:, :, -1]]
        assert not any(face.any() for face in faces)


def test_voxel_size_does_not_change_the_anatomy() -> None:
    volumes = [made.brain.sum() * made.affine[0, 0] ** 3 for made in (subject(7), subject(7, FINE_MM))]
    assert abs(volumes[0] / volumes[1] - 1) < 0.03


def test_noise_is_a_function_of_place_with_unit_variance() -> None:
    coarse = Grid((12, 12, 12), 4.0, (-30.0, -40.0, -20.0))
    fine = Grid((34, 34, 34), 4.0 / 3.0, (-30.0, -40.0, -20.0))
    np.testing.assert_allclose(smooth_noise(5, fine, 6.0)[0][::3, ::3, ::3], smooth_noise(5, coarse, 6.0)[0], atol=1e-4)
    values = smooth_noise(5, working_grid(4.0), 6.0)[0]
    assert abs(values.std() - 1) < 0.1
    assert abs(values.mean()) < 0.05


# --- the signal equations ---


def test_spin_echo_against_hand_values() -> None:
    # TR = T1 ln 2 recovers half, TE = T2 ln 4 leaves a quarter.
    assert spin_echo(0.8, 1000, 100, 1000 * np.log(2), 100 * np.log(4)) == pytest.approx(0.8 * 0.5 * 0.25)
    assert spin_echo(0.7, 850, 70, 1e9, 35) == pytest.approx(0.7 * np.exp(-0.5))
    assert spin_echo(0.7, 850, 70, 0, 35) == 0.0


def test_inversion_recovery_nulls_at_t1_ln_2() -> None:
    assert inversion_recovery(1.0, 4000, 1500, 1e9, 110, 4000 * np.log(2)) == pytest.approx(0.0, abs=1e-12)
    assert inversion_recovery(1.0, 4000, 1500, 1e9, 0, 0) == pytest.approx(-1.0)
    fluid = tissue_signal(RELAXATION[Tissue.FLUID], PROTOCOLS[Modality.FLAIR], gadolinium=False)
    white = tissue_signal(RELAXATION[Tissue.WHITE], PROTOCOLS[Modality.FLAIR], gadolinium=False)
    assert abs(fluid) < 0.3 * white


def test_pure_voxels_take_the_signal_of_their_tissue() -> None:
    protocol = Protocol(3000, 14)
    mixed = mix_signal(np.eye(len(Tissue), dtype=np.float32), RELAXATION, protocol, False)
    expected = [tissue_signal(RELAXATION[tissue], protocol, False) for tissue in Tissue]
    np.testing.assert_allclose(mixed, expected, rtol=1e-6)


def test_gadolinium_never_darkens_and_lights_up_blood() -> None:
    protocol = PROTOCOLS[Modality.T1CE]
    gain = {
        t: tissue_signal(RELAXATION[t], protocol, True) / tissue_signal(RELAXATION[t], protocol, False) for t in Tissue
    }
    assert min(gain.values()) >= 1.0
    assert all(gain[t] > 1.7 for t in (Tissue.BLOOD, Tissue.CHOROID, Tissue.RIM, Tissue.ACTIVE_PLAQUE))


def test_rician_noise_has_its_rayleigh_floor_and_second_moment() -> None:
    silent = add_rician_noise(np.zeros(200_000, dtype=np.float32), 2.0, 1)
    assert silent.mean() == pytest.approx(2.0 * np.sqrt(np.pi / 2), rel=0.01)
    loud = add_rician_noise(np.full(200_000, 10.0, dtype=np.float32), 2.0, 2)
    assert (loud**2).mean() == pytest.approx(10.0**2 + 2 * 2.0**2, rel=0.01)


# --- contrasts ---


def tissue_means(modality: Modality) -> tuple[float, float, float]:
    """White matter, grey matter and fluid of a healthy subject's image."""
    anatomy = plain_anatomy(0)
    values = subject(0).images[modality][anatomy.brain]
    white, grey, fluid = (values[anatomy.fractions[t] > 0.8].mean() for t in (Tissue.WHITE, Tissue.GREY, Tissue.FLUID))
    return float(white), float(grey), float(fluid)


def test_each_contrast_orders_tissue_as_it_should() -> None:
    white, grey, fluid = tissue_means(Modality.T1W)
    assert white > 1.08 * grey > 1.3 * fluid
    white, grey, fluid = tissue_means(Modality.T2W)
    assert fluid > 1.5 * grey > 1.5 * 1.15 * white
    white, grey, fluid = tissue_means(Modality.FLAIR)
    assert grey > white > 2.0 * fluid
    white, grey, fluid = tissue_means(Modality.PD)
    assert max(white, grey, fluid) < 1.35 * min(white, grey, fluid)


@pytest.mark.parametrize("index", [0, 4, 8, 12])
def test_contrast_agent_shows_in_every_healthy_subject(index: int) -> None:
    made = subject(index)
    inside = made.brain > 0
    plain, enhanced = made.images[Modality.T1W][inside], made.images[Modality.T1CE][inside]
    plain, enhanced = plain / np.median(plain), enhanced / np.median(enhanced)
    brightest = enhanced > np.quantile(enhanced, 0.995)
    assert enhanced[brightest].mean() > 1.25
    assert enhanced[brightest].mean() > 1.5 * plain[brightest].mean()
    assert enhanced.max() > 1.15 * plain.max()


# --- pathologies ---


@pytest.mark.parametrize("index", range(12))
def test_lesions_are_those_of_the_pathology(index: int) -> None:
    made = subject(index)
    present = {name for name, label in LABELS.items() if label >= 11 and (made.segmentation == label).any()}
    assert present <= LESIONS_OF[made.pathology]
    assert not made.segmentation[made.brain == 0].any()
    assert made.segmentation[made.brain > 0].all()
    if made.pathology in (Pathology.GLIOBLASTOMA, Pathology.SCLEROSIS):
        assert present
    if made.pathology is Pathology.HEALTHY and made.age < 45:
        assert not present


@pytest.mark.parametrize("index", [1, 5])
def test_necrosis_lies_within_tumour_within_oedema(index: int) -> None:
    made = subject(index, FINE_MM)
    necrosis, rim, oedema, dull = (LABELS[name] for name in ("necrosis", "rim", "oedema", "tumour"))
    assert {necrosis, rim, oedema} <= set(np.unique(made.segmentation).tolist())
    # Around necrosis lies necrosis or solid tumour, hardly ever anything else.
    places = np.argwhere(made.segmentation == necrosis)
    around = np.concatenate([places + step for step in np.vstack([np.eye(3, dtype=int), -np.eye(3, dtype=int)])])
    assert np.isin(made.segmentation[tuple(around.T)], [necrosis, rim, dull]).mean() > 0.9
    # Oedema reaches further than the core.
    core = np.argwhere(np.isin(made.segmentation, [necrosis, rim, dull]))
    spread = {
        name: np.linalg.norm(found - core.mean(axis=0), axis=1).mean()
        for name, found in (("core", core), ("oedema", np.argwhere(made.segmentation == oedema)))
    }
    assert spread["core"] < spread["oedema"]


@pytest.mark.parametrize("index", [1, 5])
def test_tumours_spare_the_ventricles_and_the_other_hemisphere(index: int) -> None:
    made = subject(index, FINE_MM)
    tumour = made.parameters["tumour"]
    assert isinstance(tumour, dict)
    found = np.argwhere(np.isin(made.segmentation, [LABELS[n] for n in ("necrosis", "rim", "tumour", "oedema")]))
    x = found @ made.affine[0, :3] + made.affine[0, 3]
    # Warp, turn and mass effect move the midline itself by some millimetres.
    assert ((x if tumour["side"] == "right" else -x) > -12.0).mean() > 0.99
    assert made.measured["ventricle_ml"] > 0.45 * made.parameters["anatomy"]["ventricle_ml"]  # type: ignore[index]


@pytest.mark.parametrize("index", [1, 5, 9])
def test_rim_enhances_and_oedema_is_bright_in_flair(index: int) -> None:
    made = subject(index)
    rim, oedema = made.segmentation == LABELS["rim"], made.segmentation == LABELS["oedema"]
    healthy = ~made.lesions & (made.brain > 0)
    t1w, t1ce, flair = (made.images[m] for m in (Modality.T1W, Modality.T1CE, Modality.FLAIR))
    assert t1ce[rim].mean() / t1ce[healthy].mean() > 1.25 * t1w[rim].mean() / t1w[healthy].mean()
    assert flair[oedema].mean() > 1.3 * flair[healthy].mean()


def test_black_holes_are_dark_and_active_plaques_enhance() -> None:
    t1w, t1ce = PROTOCOLS[Modality.T1W], PROTOCOLS[Modality.T1CE]
    dark, grey, white = (
        tissue_signal(RELAXATION[t], t1w, False) for t in (Tissue.BLACK_HOLE, Tissue.GREY, Tissue.WHITE)
    )
    quiet = tissue_signal(RELAXATION[Tissue.PLAQUE], t1w, False)
    assert dark < 0.85 * grey < grey < quiet < white
    assert tissue_signal(RELAXATION[Tissue.ACTIVE_PLAQUE], t1ce, True) > 1.3 * white


@pytest.mark.parametrize("index", range(4))
def test_fractions_are_fractions(index: int) -> None:
    mixture = plain_anatomy(index).fractions
    assert mixture.min() >= -1e-6
    np.testing.assert_allclose(mixture.sum(axis=0), 1.0, atol=1e-5)


def test_lesions_have_about_the_drawn_volumes() -> None:
    tumour_ratio, wmh_ratio = [], []
    for index in (1, 5, 9, 13, 17, 21):
        made = subject(index)
        tumour, found = made.parameters["tumour"], made.measured
        assert isinstance(tumour, dict)
        core = found["necrosis_ml"] + found["enhancing_ml"] + found["non_enhancing_ml"]
        tumour_ratio.append((core / tumour["core_ml"], found["oedema_ml"] / tumour["oedema_ml"]))
        assert found["lesion_count"] >= 1
    assert np.median(tumour_ratio, axis=0) == pytest.approx([1.0, 0.9], abs=0.25)
    for index in (3, 7, 11, 15):
        made = subject(index)
        ageing = made.parameters["hyperintensity"]
        assert isinstance(ageing, dict)
        wmh_ratio.append(made.measured["wmh_ml"] / ageing["volume_ml"])
    assert np.median(wmh_ratio) == pytest.approx(0.85, abs=0.35)


def test_white_matter_lesions_lie_in_tissue() -> None:
    """No plaque and no hyperintensity takes what the same brain without them holds as fluid."""
    made, plain = subject(7, FINE_MM), plain_anatomy(7, FINE_MM)
    before = np.zeros(made.segmentation.shape, np.uint8)
    before[plain.brain] = segment(plain, plain.fractions)
    under = before[made.segmentation == LABELS["hyperintensity"]]
    assert under.size > 20
    assert np.isin(under, [LABELS["white"], LABELS["grey"]]).all()
    assert (under == LABELS["white"]).mean() > 0.8
