"""Sites: scanners that do to one subject what their parameters say, and people of their own."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from mrigen.labels import Modality, Pathology
from mrigen.phantom import LABELS, PhantomSubject, make_subject
from mrigen.phantom.draw import draw_parameters
from mrigen.phantom.fields import Grid
from mrigen.phantom.parameters import SubjectParameters
from mrigen.phantom.signal import PROTOCOLS, RELAXATION, Protocol, Tissue, at_resolution, relaxation_at, tissue_signal
from mrigen.phantom.sites import REFERENCE, Scanner, Site, draw_site

SPACING_MM = 4.0
SITES = [draw_site(number) for number in range(1, 201)]
NOISELESS = Scanner(snr=1e6, bias=0.0)


@lru_cache(maxsize=16)
def scanned(scanner: Scanner, index: int = 0) -> PhantomSubject:
    return make_subject(11, index, SPACING_MM, replace(REFERENCE, scanner=scanner))


def drawn(site: Site, pathology: Pathology) -> list[SubjectParameters]:
    return [draw_parameters(np.random.default_rng(seed), pathology, site) for seed in range(100)]


def inside(made: PhantomSubject, modality: Modality) -> np.ndarray:
    return made.images[modality][made.brain > 0]


# --- what is drawn ---


def test_a_number_names_a_site() -> None:
    assert draw_site(0) is REFERENCE
    assert [draw_site(number) for number in range(1, 201)] == SITES
    assert len({site.scanner.snr for site in SITES}) == 200


def test_sites_spread_as_documented() -> None:
    fields = Counter(site.scanner.field_t for site in SITES)
    assert sorted(fields) == [1.5, 3.0]
    assert min(fields.values()) > 70
    snr = {field: [site.scanner.snr for site in SITES if site.scanner.field_t == field] for field in fields}
    assert np.median(snr[1.5]) / np.median(snr[3.0]) == pytest.approx(0.5, rel=0.1)
    assert np.std([site.years for site in SITES]) == pytest.approx(6.0, rel=0.2)
    assert np.mean([site.shares[Pathology.DEMENTIA] for site in SITES]) == pytest.approx(0.25, abs=0.03)
    for site in SITES:
        times = site.scanner.protocols
        assert times[Modality.T1CE] == times[Modality.T1W]
        fluid = relaxation_at(site.scanner.field_t)[Tissue.FLUID]
        assert tissue_signal(fluid, times[Modality.FLAIR], gadolinium=False) == pytest.approx(0.0, abs=1e-9)


def test_relaxation_follows_the_field() -> None:
    assert relaxation_at(3.0) is RELAXATION
    low = relaxation_at(1.5)
    assert low[Tissue.WHITE].t1_ms == pytest.approx(656, rel=0.03)  # measured: Rooney et al., 2007
    assert low[Tissue.FLUID] == RELAXATION[Tissue.FLUID]
    added = [1 / table[Tissue.RIM].t1_gadolinium_ms - 1 / table[Tissue.RIM].t1_ms for table in (low, RELAXATION)]
    assert added[0] == pytest.approx(added[1])


# --- one subject in several scanners ---


def test_a_scanner_leaves_the_anatomy_alone() -> None:
    reference, other = scanned(Scanner(), 2), scanned(draw_site(1).scanner, 2)
    np.testing.assert_array_equal(reference.segmentation, other.segmentation)
    assert (reference.age, reference.measured) == (other.age, other.measured)
    for modality in Modality:
        assert not np.array_equal(reference.images[modality], other.images[modality])


def test_noise_and_bias_field_are_those_of_the_scanner() -> None:
    clean = scanned(NOISELESS)
    for modality in (Modality.T1W, Modality.PD):
        noise = [
            np.std(inside(scanned(replace(NOISELESS, snr=snr)), modality) - inside(clean, modality))
            for snr in (1.0, 0.5)
        ]
        assert noise[1] / noise[0] == pytest.approx(2.0, rel=0.05)
        bias = [
            np.log(inside(scanned(replace(NOISELESS, bias=bias)), modality) / inside(clean, modality))
            for bias in (1.0, 2.0)
        ]
        assert 0.02 < np.std(bias[0]) < 0.1
        np.testing.assert_allclose(bias[1], 2.0 * bias[0], atol=1e-3)


def test_resolution_is_the_width_of_a_point() -> None:
    grid = Grid((31, 31, 31), 2.0, (0.0, 0.0, 0.0))
    everywhere = np.ones(grid.shape, bool)
    point = np.zeros(grid.shape, np.float32)
    point[15, 15, 15] = 1.0
    seen = at_resolution(point.ravel(), everywhere, grid, (1.0, 6.0, 10.0)).reshape(grid.shape)
    assert seen.sum() == pytest.approx(1.0, abs=1e-4)
    squares = ((np.arange(31) - 15.0) * grid.spacing_mm) ** 2
    variances = [(seen.sum(axis=tuple({0, 1, 2} - {axis})) * squares).sum() for axis in range(3)]
    # A normal curve of this full width at half maximum, less what the voxel itself makes of a point.
    widths = [0.0, (6.0**2 - 2.0**2) / (8 * np.log(2)), (10.0**2 - 2.0**2) / (8 * np.log(2))]
    assert variances == pytest.approx(widths, rel=0.03, abs=1e-6)


def test_thick_slices_blur_from_slice_to_slice_alone() -> None:
    thin, thick = scanned(NOISELESS), scanned(replace(NOISELESS, resolution_mm=(2.0, 2.0, 8.0)))
    brain = thin.brain > 0
    steps = [
        [np.abs(np.diff(made.images[Modality.T2W], axis=axis))[pairs].mean() for made in (thin, thick)]
        for axis, pairs in ((0, brain[1:] & brain[:-1]), (2, brain[:, :, 1:] & brain[:, :, :-1]))
    ]
    (thin_x, thick_x), (thin_z, thick_z) = steps
    assert thick_z < 0.7 * thin_z
    assert thick_x / thin_x > 1.2 * thick_z / thin_z
    # Nothing comes in from outside: the brain is not darker at its outline.
    assert inside(thick, Modality.T2W).mean() == pytest.approx(inside(thin, Modality.T2W).mean(), rel=0.02)


def test_contrast_follows_protocol_and_field() -> None:
    """The ratio of two tissues in the image, by the labels, has the order that the signal equations give."""
    scanners = [
        replace(NOISELESS, field_t=field_t, protocols={**PROTOCOLS, Modality.T1W: t1w, Modality.T2W: t2w})
        for field_t, t1w, t2w in (
            (3.0, Protocol(2200, 4, 1000), Protocol(4500, 120)),
            (3.0, Protocol(700, 10), Protocol(4500, 80)),
            (1.5, Protocol(450, 10), Protocol(3000, 100)),
        )
    ]
    for modality, bright, dark in (
        (Modality.T1W, Tissue.WHITE, Tissue.GREY),
        (Modality.T2W, Tissue.GREY, Tissue.WHITE),
    ):
        seen, told = [], []
        for scanner in scanners:
            made, relaxation = scanned(scanner), relaxation_at(scanner.field_t)
            means = [
                np.median(made.images[modality][made.segmentation == LABELS[t.name.lower()]]) for t in (bright, dark)
            ]
            signals = [tissue_signal(relaxation[t], scanner.protocols[modality], False) for t in (bright, dark)]
            seen.append(means[0] / means[1])
            told.append(signals[0] / signals[1])
        assert np.argsort(seen).tolist() == np.argsort(told).tolist()
        assert np.ptp(seen) > 0.05


# --- who comes ---


@pytest.mark.parametrize("site", [REFERENCE, *SITES[:20]])
def test_any_number_of_subjects_keeps_to_the_shares(site: Site) -> None:
    assert sum(site.shares.values()) == pytest.approx(1.0)
    counts: Counter[Pathology] = Counter()
    for index in range(40):
        counts[site.pathology_of(index)] += 1
        for pathology, share in site.shares.items():
            assert abs(counts[pathology] - share * (index + 1)) < 1.0


def test_the_reference_takes_turns() -> None:
    assert [REFERENCE.pathology_of(index) for index in range(12)] == [*Pathology] * 3


def test_people_are_as_much_older_and_heads_lie_as_the_site_says() -> None:
    for pathology in (Pathology.GLIOBLASTOMA, Pathology.HEALTHY):
        usual, here = (
            drawn(REFERENCE, pathology),
            drawn(replace(REFERENCE, years=5.0, tilt_deg=(7.0, 0.0, -2.0)), pathology),
        )
        older = np.mean([there.age - one.age for one, there in zip(usual, here, strict=True)])
        assert older == pytest.approx(5.0 if pathology is Pathology.GLIOBLASTOMA else 2.5, abs=0.6)
        assert all(20.0 <= one.age <= 90.0 for one in here)
        turned = np.subtract([one.anatomy.rotation_deg for one in here], [one.anatomy.rotation_deg for one in usual])
        np.testing.assert_allclose(turned, [[7.0, 0.0, -2.0]] * len(here), atol=1e-9)


def test_nobody_is_at_two_sites() -> None:
    site = replace(SITES[0], shares=REFERENCE.shares)
    made = [make_subject(3, 0, SPACING_MM, replace(site, number=number)).parameters["anatomy"] for number in (1, 2)]
    assert made[0] != made[1]


@pytest.mark.parametrize("pitch", [-8.0, 8.0])
def test_a_tilted_brain_fits_the_field_of_view(pitch: float) -> None:
    for index in (0, 3):
        brain = make_subject(11, index, SPACING_MM, replace(REFERENCE, tilt_deg=(pitch, 3.0, 3.0))).brain
        assert not any(face.any() for face in (brain[0], brain[-1], brain[:, 0], brain[:, -1], brain[:, :, -1]))
