"""Draw the focal lesions of a subject: number, size, place and kind, from distributions of the published order.

"Cited" is what a paper reports, "of that order" what only resembles one; docs/phantom.md keeps the two apart.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mrigen.labels import Pathology
from mrigen.phantom.parameters import (
    HyperintensityParameters,
    PlaqueParameters,
    TumourFocus,
    TumourParameters,
    Vector,
)

CORE_MEDIAN_ML, CORE_SIGMA = 27.0, 0.7
OEDEMA_MEDIAN_RATIO, OEDEMA_SIGMA = 1.6, 0.5
MULTIFOCAL_SHARE = 0.15
PLAQUE_MEAN_COUNT, PLAQUE_DISPERSION = 36.0, 1.8
PLAQUE_MEDIAN_ML, PLAQUE_SIGMA = 0.09, 1.0
ACTIVE_PATIENT_SHARE, ACTIVE_MEAN_FURTHER = 0.5, 1.5
BLACK_HOLE_SHARE = 0.3
WMH_YEARS, WMH_MEDIAN_ML = (45.0, 55.0, 65.0, 75.0, 85.0), (0.2, 0.7, 2.0, 4.5, 9.0)
WMH_SIGMA, WMH_DEMENTIA_FACTOR = 0.8, 1.7
FAZEKAS_ML = (0.5, 5.0, 15.0)

# name, share of cases, centre (right side) and spread in mm
_LOBES: tuple[tuple[str, float, Vector, Vector], ...] = (
    ("frontal", 0.40, (28.0, 28.0, 20.0), (6.0, 10.0, 10.0)),
    ("temporal", 0.29, (43.0, -22.0, -6.0), (5.0, 12.0, 6.0)),
    ("parietal", 0.14, (31.0, -40.0, 32.0), (6.0, 9.0, 8.0)),
    ("deep", 0.14, (20.0, -12.0, 10.0), (4.0, 7.0, 4.0)),
    ("occipital", 0.03, (28.0, -70.0, 12.0), (5.0, 6.0, 7.0)),
)

_KINDS: Mapping[str, float] = {
    "periventricular": 0.42,
    "callosal": 0.10,
    "juxtacortical": 0.20,
    "deep": 0.20,
    "infratentorial": 0.08,
}

# the lateral ventricle's outer wall (right side): position in mm, frontal horn to occipital horn
_VENTRICLE_WALL = np.array(
    [[15, 30, 8], [17, 18, 16], [18, 4, 22], [20, -10, 25], [24, -24, 25], [30, -36, 20], [34, -46, 12], [32, -60, 8]],
    dtype=np.float64,
)


def draw_seed(rng: np.random.Generator) -> int:
    """The seed of what a random field decides."""
    return int(rng.integers(2**31))


def as_vector(values: np.ndarray) -> Vector:
    """Three numbers as plain floats."""
    return (float(values[0]), float(values[1]), float(values[2]))


def _draw_focus(rng: np.random.Generator, centre: np.ndarray, volume_ml: float) -> TumourFocus:
    """One mass of two to four lobules within half a radius of its centre."""
    radius = float((3000.0 * volume_ml / (4.0 * np.pi)) ** (1 / 3))  # of the ball of that volume
    number = int(rng.integers(2, 5))
    offsets = np.clip(rng.normal(0.0, 0.42, (number, 3)), -0.8, 0.8) * radius
    sizes = rng.uniform(0.5, 0.95, number) * radius
    return TumourFocus(
        centre_mm=as_vector(centre),
        radius_mm=radius,
        lobules=tuple((as_vector(centre + o), float(s)) for o, s in zip(offsets, sizes, strict=True)),
    )


def draw_tumour(rng: np.random.Generator) -> TumourParameters:
    """A glioblastoma.

    Shares of the lobes are those of Larjavaara et al. (Neuro Oncol 9:319, 2007, all gliomas). Volumes are log-normal,
    of the order of those in the BraTS sets (Bakas et al., Sci Data 4:170117, 2017); 15 % have further foci.
    """
    name, _, centre, spread = _LOBES[int(rng.choice(len(_LOBES), p=[lobe[1] for lobe in _LOBES]))]
    side = float(rng.choice([-1.0, 1.0]))
    flip = np.array([side, 1.0, 1.0])
    position = (np.asarray(centre) + np.clip(rng.standard_normal(3), -1.5, 1.5) * np.asarray(spread)) * flip
    core = float(np.clip(rng.lognormal(np.log(CORE_MEDIAN_ML), CORE_SIGMA), 4.0, 110.0))
    ratio = rng.lognormal(np.log(OEDEMA_MEDIAN_RATIO), OEDEMA_SIGMA)
    satellites = int(rng.integers(1, 3)) if rng.random() < MULTIFOCAL_SHARE else 0
    shares = rng.uniform(0.04, 0.20, satellites)
    foci = [_draw_focus(rng, position, core * (1.0 - float(shares.sum())))]
    for share in shares:
        away = rng.standard_normal(3) * (0.6, 1.2, 0.8)
        away *= (foci[0].radius_mm + rng.uniform(10.0, 18.0)) / np.linalg.norm(away)
        spot = position + away
        spot[0] = side * np.clip(side * spot[0], 14.0, 46.0)
        spot = np.array([spot[0], np.clip(spot[1], -76.0, 44.0), np.clip(spot[2], -8.0, 46.0)])
        foci.append(_draw_focus(rng, spot, core * float(share)))
    return TumourParameters(
        lobe=name,
        side="right" if side > 0 else "left",
        foci=tuple(foci),
        core_ml=core,
        necrosis_share=float(np.clip(rng.beta(3.0, 4.5), 0.08, 0.75)),
        non_enhancing_share=float(rng.beta(2.0, 5.0)),
        oedema_ml=float(np.clip(core * ratio, 4.0, 150.0)),
        irregularity=float(rng.uniform(0.14, 0.26)),
        mass_effect=float(rng.uniform(0.2, 0.5)),
        seed=draw_seed(rng),
    )


def _draw_plaque(rng: np.random.Generator, kind: str, state: str) -> PlaqueParameters:
    volume = float(rng.lognormal(np.log(PLAQUE_MEDIAN_ML), PLAQUE_SIGMA))
    elongation = float(rng.uniform(1.1, 1.7))
    flip = np.array([float(rng.choice([-1.0, 1.0])), 1.0, 1.0])
    direction = rng.standard_normal(3)
    if kind == "periventricular":
        volume *= 1.8
        elongation = float(rng.uniform(1.3, 2.4))
        # Dawson's fingers follow the veins, which leave the ventricle at right angles.
        direction = np.array([1.0, rng.normal(0.0, 0.3), rng.normal(0.25, 0.4)])
        place = rng.uniform(0.0, len(_VENTRICLE_WALL) - 1.0)
        wall = np.array([np.interp(place, np.arange(len(_VENTRICLE_WALL)), column) for column in _VENTRICLE_WALL.T])
        out = rng.uniform(1.0, 5.0)
        centre = wall + direction / np.linalg.norm(direction) * out
    elif kind == "callosal":
        direction = np.array([0.3, rng.normal(0.0, 0.3), 1.0])
        y = rng.uniform(-34.0, 22.0)
        centre = np.array([rng.uniform(2.0, 9.0), y, 24.0 - 0.008 * (y + 5.0) ** 2 + rng.normal(0.0, 1.0)])
    elif kind == "infratentorial":
        centre = np.array([rng.uniform(0.0, 22.0), rng.uniform(-62.0, -20.0), rng.uniform(-46.0, -22.0)])
    else:
        centre = np.array([rng.uniform(8.0, 58.0), rng.uniform(-90.0, 55.0), rng.uniform(-12.0, 62.0)])
    direction = direction / np.linalg.norm(direction)
    return PlaqueParameters(
        kind=kind,
        state=state,
        centre_mm=as_vector(centre * flip),
        direction=as_vector(direction * flip),
        volume_ml=float(np.clip(volume, 0.02, 6.0)),
        elongation=elongation,
        severity=float(rng.uniform(0.65, 1.0)),
    )


def draw_plaques(rng: np.random.Generator) -> tuple[PlaqueParameters, ...]:
    """The plaques of a patient with multiple sclerosis.

    Their number is negative binomial, their volumes log-normal, which together give loads of the order of the public
    sets (Lesjak et al., Neuroinformatics 16:51, 2018); places after Filippi et al. (Brain 142:1858, 2019).
    """
    probability = PLAQUE_DISPERSION / (PLAQUE_DISPERSION + PLAQUE_MEAN_COUNT)
    number = int(np.clip(rng.negative_binomial(PLAQUE_DISPERSION, probability), 6, 160))
    active = 1 + int(rng.poisson(ACTIVE_MEAN_FURTHER)) if rng.random() < ACTIVE_PATIENT_SHARE else 0
    kinds = list(rng.choice(list(_KINDS), size=number, p=list(_KINDS.values())))
    kinds[0] = "periventricular"
    states = [
        "active" if index < active else "black_hole" if rng.random() < BLACK_HOLE_SHARE else "quiet"
        for index in rng.permutation(number)
    ]
    return tuple(_draw_plaque(rng, str(kind), state) for kind, state in zip(kinds, states, strict=True))


def draw_hyperintensity(rng: np.random.Generator, pathology: Pathology, age: float) -> HyperintensityParameters | None:
    """The white-matter hyperintensities of age, in everybody from 45 on but in Sclerosis, more of them in Dementia.

    Log-normal about a median that grows with age, of the order of DeCarli et al. (Neurobiol Aging 26:491, 2005); the
    grade after Fazekas et al. (AJR 149:351, 1987) is read off the volume.
    """
    if pathology is Pathology.SCLEROSIS or age < WMH_YEARS[0]:
        return None
    median = float(np.interp(age, WMH_YEARS, WMH_MEDIAN_ML))
    if pathology is Pathology.DEMENTIA:
        median *= WMH_DEMENTIA_FACTOR
    volume = float(np.clip(rng.lognormal(np.log(median), WMH_SIGMA), 0.1, 45.0))
    return HyperintensityParameters(
        volume_ml=volume,
        deep_share=float(rng.beta(3.0, 6.0)),
        fazekas=sum(volume >= limit for limit in FAZEKAS_ML),
        seed=draw_seed(rng),
    )
