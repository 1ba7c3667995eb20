"""Everything random about a phantom subject, drawn in one place.

Ranges are set to resemble published descriptions, not fitted to data: ventricles grow and sulci widen with age and
more so in Alzheimer's disease (Scahill et al., Arch Neurol 60:989, 2003); glioblastoma sits in the white matter of the
lobes, frontal most often (Larjavaara et al., Neuro Oncol 9:319, 2007); plaques of multiple sclerosis are ovoid,
3 mm and larger, periventricular, callosal or juxtacortical (Filippi et al., Brain 142:1858, 2019).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from mrigen.labels import Modality, Pathology
from mrigen.sources.phantom.signal import PROTOCOLS, RELAXATION, Protocol, Relaxation, Tissue

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class AnatomyParameters:
    """The shape of the brain before any focal lesion."""

    scale: Vector
    # template mm per subject mm is 1 / scale
    rotation_deg: Vector
    warp_seed: int
    warp_mm: float
    # standard deviation of the slow displacement along each axis
    fold_warp_mm: float
    # the same of the fast displacement that moves the gyri
    ventricle_growth_mm: float
    # how far the ventricles' walls move outwards
    sulcal_widening: float
    # exponent: fluid fraction f becomes 1 - (1 - f)^(1 + widening)
    hippocampal_atrophy: float
    # 0 none, 1 wholly replaced by fluid


@dataclass(frozen=True)
class TumourParameters:
    """A glioblastoma: necrosis within an enhancing rim within oedema. Millimetres in template space."""

    lobe: str
    centre_mm: Vector
    radius_mm: float
    # outer radius of the rim
    axes: Vector
    # relative lengths of the three axes
    rotation_deg: Vector
    necrosis: float
    # radius of the core against radius_mm
    oedema_mm: float
    # reach of oedema beyond the rim
    irregularity: float
    mass_effect: float
    # tissue is pushed outwards by mass_effect * radius_mm at the rim
    seed: int


@dataclass(frozen=True)
class PlaqueParameters:
    """One ovoid lesion: its centre is moved to the nearest fitting place of its kind."""

    kind: str
    # periventricular, callosal, juxtacortical or deep
    centre_mm: Vector
    direction: Vector
    # of the long axis
    length_mm: float
    width_mm: float
    active: bool


@dataclass(frozen=True)
class HyperintensityParameters:
    """White-matter hyperintensities of age: caps on the horns, a band along the body, and spots."""

    cap_mm: float
    band_mm: float
    spots: tuple[PlaqueParameters, ...]


@dataclass(frozen=True)
class VesselParameters:
    """How much blood shows."""

    fullness: float
    cortical_density: float
    # share of sulcal places that hold a visible vein
    seed: int


@dataclass(frozen=True)
class ScanParameters:
    """One acquisition."""

    protocol: Protocol
    gain: float
    # signal units per unit of fully relaxed water
    snr: float
    # of white matter
    bias: float
    # standard deviation of the logarithm of the bias field
    bias_seed: int
    noise_seed: int


@dataclass(frozen=True)
class SubjectParameters:
    """All of a subject."""

    pathology: Pathology
    age: float
    anatomy: AnatomyParameters
    vessels: VesselParameters
    tumour: TumourParameters | None
    plaques: tuple[PlaqueParameters, ...]
    hyperintensity: HyperintensityParameters | None
    texture_seed: int
    relaxation: Mapping[Tissue, Relaxation]
    scans: Mapping[Modality, ScanParameters]


_AGE_YEARS: Mapping[Pathology, tuple[float, float]] = {
    Pathology.HEALTHY: (20.0, 85.0),
    Pathology.GLIOBLASTOMA: (40.0, 80.0),
    Pathology.SCLEROSIS: (20.0, 60.0),
    Pathology.DEMENTIA: (62.0, 90.0),
}

# name, share of cases, centre (right side) and spread in mm
_LOBES: tuple[tuple[str, float, Vector, Vector], ...] = (
    ("frontal", 0.40, (28.0, 28.0, 20.0), (5.0, 9.0, 8.0)),
    ("temporal", 0.22, (43.0, -26.0, -2.0), (4.0, 10.0, 5.0)),
    ("parietal", 0.25, (31.0, -40.0, 32.0), (5.0, 8.0, 7.0)),
    ("occipital", 0.13, (28.0, -70.0, 12.0), (4.0, 6.0, 7.0)),
)

# the lateral ventricle's outer wall (right side): position in mm, frontal horn to occipital horn
_VENTRICLE_WALL = np.array(
    [[15, 30, 8], [17, 18, 16], [18, 4, 22], [20, -10, 25], [24, -24, 25], [30, -36, 20], [34, -46, 12], [32, -60, 8]],
    dtype=np.float64,
)


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31))


def _vector(values: np.ndarray) -> Vector:
    return (float(values[0]), float(values[1]), float(values[2]))


def _draw_anatomy(rng: np.random.Generator, pathology: Pathology, age: float) -> AnatomyParameters:
    decades = (age - 50.0) / 10.0
    growth = float(np.clip(rng.normal(0.4 + 0.45 * decades, 0.9), -1.5, 4.0))
    widening = float(np.clip(rng.normal(0.15 + 0.12 * decades, 0.15), -0.25, 0.9))
    hippocampus = 0.0
    if pathology is Pathology.DEMENTIA:
        growth = float(rng.uniform(4.5, 9.0))
        widening = float(rng.uniform(1.7, 3.4))
        hippocampus = float(rng.uniform(0.45, 0.9))
    elif pathology is Pathology.SCLEROSIS:
        growth = float(np.clip(growth + rng.uniform(0.0, 2.0), -1.5, 4.0))
    whole = rng.uniform(0.93, 1.0)
    return AnatomyParameters(
        scale=_vector(whole * rng.uniform(0.97, 1.03, 3)),
        rotation_deg=_vector(rng.normal(0.0, (2.5, 1.5, 2.0))),
        warp_seed=_seed(rng),
        warp_mm=float(rng.uniform(2.2, 3.2)),
        fold_warp_mm=float(rng.uniform(0.8, 1.3)),
        ventricle_growth_mm=growth,
        sulcal_widening=widening,
        hippocampal_atrophy=hippocampus,
    )


def _draw_tumour(rng: np.random.Generator) -> TumourParameters:
    name, _, centre, spread = _LOBES[int(rng.choice(len(_LOBES), p=[lobe[1] for lobe in _LOBES]))]
    side = float(rng.choice([-1.0, 1.0]))
    position = (np.asarray(centre) + np.clip(rng.standard_normal(3), -1.5, 1.5) * np.asarray(spread)) * (side, 1, 1)
    axes = np.exp(rng.normal(0.0, 0.14, 3))
    return TumourParameters(
        lobe=name,
        centre_mm=_vector(position),
        radius_mm=float(rng.uniform(14.0, 23.0)),
        axes=_vector(axes / axes.prod() ** (1 / 3)),
        rotation_deg=_vector(rng.uniform(0.0, 180.0, 3)),
        necrosis=float(rng.uniform(0.45, 0.78)),
        oedema_mm=float(rng.uniform(8.0, 24.0)),
        irregularity=float(rng.uniform(0.14, 0.26)),
        mass_effect=float(rng.uniform(0.25, 0.55)),
        seed=_seed(rng),
    )


def _draw_plaque(rng: np.random.Generator, kind: str, active: bool) -> PlaqueParameters:
    side = float(rng.choice([-1.0, 1.0]))
    length = float(np.clip(rng.lognormal(np.log(9.5), 0.25), 4.0, 14.0))
    width = length * float(rng.uniform(0.6, 0.9))
    if kind == "periventricular":
        place = rng.uniform(0.0, len(_VENTRICLE_WALL) - 1.0)
        wall = np.array([np.interp(place, np.arange(len(_VENTRICLE_WALL)), column) for column in _VENTRICLE_WALL.T])
        # Dawson's fingers follow the veins, which leave the ventricle at right angles.
        direction = np.array([1.0, rng.normal(0.0, 0.25), rng.normal(0.25, 0.4)])
        direction /= np.linalg.norm(direction)
        length, width = min(length * 1.3, 14.0), length * float(rng.uniform(0.55, 0.8))
        centre = wall + direction * (0.4 * length + rng.uniform(-1.0, 2.0))
    elif kind == "callosal":
        y = rng.uniform(-34.0, 22.0)
        centre = np.array([rng.uniform(2.0, 9.0), y, 24.0 - 0.008 * (y + 5.0) ** 2 + rng.normal(0.0, 1.0)])
        direction = np.array([0.3, rng.normal(0.0, 0.3), 1.0])
    else:
        centre = np.array([rng.uniform(8.0, 58.0), rng.uniform(-90.0, 55.0), rng.uniform(-12.0, 62.0)])
        direction = rng.standard_normal(3)
    flip = np.array([side, 1.0, 1.0])
    direction = direction / np.linalg.norm(direction)
    return PlaqueParameters(kind, _vector(centre * flip), _vector(direction * flip), length, width, active)


def _draw_plaques(rng: np.random.Generator) -> tuple[PlaqueParameters, ...]:
    kinds = ("periventricular", "callosal", "juxtacortical", "deep")
    number = int(rng.integers(24, 46))
    inflamed = float(rng.choice([0.0, 0.08, 0.2]))
    chosen = rng.choice(len(kinds), size=number, p=[0.55, 0.1, 0.2, 0.15])
    return tuple(_draw_plaque(rng, kinds[int(kind)], bool(rng.random() < inflamed)) for kind in chosen)


def _draw_hyperintensity(rng: np.random.Generator, pathology: Pathology, age: float) -> HyperintensityParameters | None:
    if pathology is Pathology.DEMENTIA:
        burden = float(rng.uniform(0.35, 1.0))
    elif pathology is Pathology.HEALTHY and age > 60.0:
        burden = float(rng.uniform(0.0, 0.3)) * (age - 60.0) / 25.0
    else:
        return None
    spots = [_draw_plaque(rng, "deep", False) for _ in range(int(rng.poisson(9.0 * burden)))]
    return HyperintensityParameters(cap_mm=1.0 + 6.0 * burden, band_mm=0.5 + 2.2 * burden, spots=tuple(spots))


def _draw_scan(rng: np.random.Generator, modality: Modality) -> ScanParameters:
    nominal = PROTOCOLS[modality]
    tr, te, ti = np.clip(rng.normal(1.0, 0.03, 3), 0.92, 1.08)
    protocol = Protocol(
        float(nominal.tr_ms * tr),
        float(nominal.te_ms * te),
        None if nominal.ti_ms is None else float(nominal.ti_ms * (1.0 + (ti - 1.0) / 3.0)),
    )
    return ScanParameters(
        protocol=protocol,
        gain=float(rng.uniform(1000.0, 1300.0)),
        snr=float(rng.uniform(38.0, 70.0)),
        bias=float(rng.uniform(0.03, 0.07)),
        bias_seed=_seed(rng),
        noise_seed=_seed(rng),
    )


def _draw_relaxation(rng: np.random.Generator) -> dict[Tissue, Relaxation]:
    jittered = {}
    for tissue, nominal in RELAXATION.items():
        t1, t2, density = np.clip(rng.normal(1.0, (0.03, 0.04, 0.015)), 0.9, 1.1)
        if tissue is Tissue.FLUID:  # water at body temperature hardly varies, and FLAIR is set to null it
            t1, density = 1.0 + (t1 - 1.0) / 4.0, 1.0
        jittered[tissue] = Relaxation(
            float(nominal.t1_ms * t1),
            float(nominal.t2_ms * t2),
            float(nominal.proton_density * density),
            float(nominal.t1_gadolinium_ms * t1),
        )
    return jittered


def draw_parameters(rng: np.random.Generator, pathology: Pathology) -> SubjectParameters:
    """Draw a subject. Nothing after this call is random but what the seeds in the result name."""
    low, high = _AGE_YEARS[pathology]
    age = round(float(rng.uniform(low, high)), 1)
    return SubjectParameters(
        pathology=pathology,
        age=age,
        anatomy=_draw_anatomy(rng, pathology, age),
        vessels=VesselParameters(float(rng.uniform(0.85, 1.0)), float(rng.uniform(0.10, 0.20)), _seed(rng)),
        tumour=_draw_tumour(rng) if pathology is Pathology.GLIOBLASTOMA else None,
        plaques=_draw_plaques(rng) if pathology is Pathology.SCLEROSIS else (),
        hyperintensity=_draw_hyperintensity(rng, pathology, age),
        texture_seed=_seed(rng),
        relaxation=_draw_relaxation(rng),
        scans={modality: _draw_scan(rng, modality) for modality in Modality},
    )
