"""Draw a subject: age, the shape of its brain, its scans. Focal lesions are drawn in `draw_lesions`.

Medians and spreads are of the order of what the named papers describe; none is fitted to data. docs/phantom.md lists
them with their sources.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mrigen.labels import Modality, Pathology
from mrigen.phantom.draw_lesions import as_vector, draw_hyperintensity, draw_plaques, draw_seed, draw_tumour
from mrigen.phantom.parameters import AnatomyParameters, ScanParameters, SubjectParameters, Vector, VesselParameters
from mrigen.phantom.signal import Protocol, Relaxation, Tissue, relaxation_at
from mrigen.phantom.sites import REFERENCE, Scanner, Site

# mean, standard deviation, lowest and highest age in years; Healthy is uniform between the last two
_AGE_YEARS: Mapping[Pathology, tuple[float, float, float, float]] = {
    Pathology.HEALTHY: (0.0, 0.0, 20.0, 90.0),
    Pathology.GLIOBLASTOMA: (62.0, 12.0, 25.0, 88.0),
    Pathology.SCLEROSIS: (43.0, 12.0, 20.0, 75.0),
    Pathology.DEMENTIA: (75.0, 8.0, 52.0, 92.0),
}
# median of the ventricles of Healthy at these ages
_VENTRICLE_YEARS, _VENTRICLE_ML = (20.0, 40.0, 60.0, 80.0, 90.0), (14.0, 17.0, 24.0, 38.0, 46.0)
_VENTRICLE_FACTOR: Mapping[Pathology, float] = {Pathology.DEMENTIA: 1.5, Pathology.SCLEROSIS: 1.3}
_SMALLEST_VENTRICLE_ML, _LARGEST_VENTRICLE_ML = 7.0, 110.0


def _draw_age(rng: np.random.Generator, pathology: Pathology, older: float) -> float:
    """Years. The four ranges overlap: age alone does not tell the pathology between 52 and 75."""
    mean, deviation, low, high = _AGE_YEARS[pathology]
    if pathology is Pathology.HEALTHY:
        return round(float(rng.uniform(max(low, low + older), min(high, high + older))), 1)
    return round(float(np.clip(rng.normal(mean + older, deviation), low, high)), 1)


def _draw_anatomy(rng: np.random.Generator, pathology: Pathology, age: float, tilt_deg: Vector) -> AnatomyParameters:
    """Ventricles and sulci widen and hippocampi shrink with age, in Dementia further, with overlap.

    Ventricles after Scahill et al. (Arch Neurol 60:989, 2003) and Nestor et al. (Brain 131:2443, 2008), hippocampal
    loss after Raz et al. (Cereb Cortex 15:1676, 2005) and Jack et al. (Neurology 49:786, 1997): of that order.
    """
    demented = pathology is Pathology.DEMENTIA
    median = np.interp(age, _VENTRICLE_YEARS, _VENTRICLE_ML) * _VENTRICLE_FACTOR.get(pathology, 1.0)
    ventricle = rng.lognormal(np.log(median), 0.33 if demented else 0.27)
    widening = rng.normal(0.30 + 0.012 * (age - 50.0), 0.15) + (rng.normal(0.8, 0.3) if demented else 0.0)
    loss = rng.normal(0.004 * max(age - 45.0, 0.0), 0.04) + (rng.normal(0.24, 0.06) if demented else 0.0)
    whole = rng.uniform(0.87, 0.965)  # the template is larger than most brains
    return AnatomyParameters(
        scale=as_vector(whole * rng.uniform(0.955, 1.03, 3)),
        rotation_deg=as_vector(rng.normal(tilt_deg, (2.5, 1.5, 2.0))),
        warp_seed=draw_seed(rng),
        warp_mm=float(rng.uniform(2.2, 3.4)),
        fold_warp_mm=float(rng.uniform(1.1, 1.7)),
        ventricle_ml=float(np.clip(ventricle, _SMALLEST_VENTRICLE_ML, _LARGEST_VENTRICLE_ML)),
        sulcal_widening=float(np.clip(widening, -0.1, 2.4)),
        hippocampal_loss=float(np.clip(loss, 0.0, 0.55)),
        edge_seed=draw_seed(rng),
    )


def _draw_scan(rng: np.random.Generator, modality: Modality, scanner: Scanner) -> ScanParameters:
    nominal = scanner.protocols[modality]
    tr, te, ti = np.clip(rng.normal(1.0, 0.03, 3), 0.92, 1.08)
    protocol = Protocol(
        float(nominal.tr_ms * tr),
        float(nominal.te_ms * te),
        None if nominal.ti_ms is None else float(nominal.ti_ms * (1.0 + (ti - 1.0) / 3.0)),
    )
    # Proton density has the most signal and the least contrast: it is the cleanest of the five.
    cleaner = 1.6 if modality is Modality.PD else 1.15
    return ScanParameters(
        protocol=protocol,
        gain=float(rng.uniform(1000.0, 1300.0)),
        snr=float(cleaner * rng.uniform(38.0, 70.0) * scanner.snr),
        bias=float(rng.uniform(0.03, 0.07) * scanner.bias),
        bias_seed=draw_seed(rng),
        noise_seed=draw_seed(rng),
    )


def _draw_relaxation(rng: np.random.Generator, field_t: float) -> dict[Tissue, Relaxation]:
    jittered = {}
    for tissue, nominal in relaxation_at(field_t).items():
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


def draw_parameters(rng: np.random.Generator, pathology: Pathology, site: Site = REFERENCE) -> SubjectParameters:
    """Draw a subject of a site. Nothing after this call is random but what the seeds in the result name."""
    age = _draw_age(rng, pathology, site.years)
    return SubjectParameters(
        pathology=pathology,
        age=age,
        anatomy=_draw_anatomy(rng, pathology, age, site.tilt_deg),
        vessels=VesselParameters(float(rng.uniform(0.85, 1.0)), float(rng.uniform(0.10, 0.20)), draw_seed(rng)),
        tumour=draw_tumour(rng) if pathology is Pathology.GLIOBLASTOMA else None,
        plaques=draw_plaques(rng) if pathology is Pathology.SCLEROSIS else (),
        hyperintensity=draw_hyperintensity(rng, pathology, age),
        texture_seed=draw_seed(rng),
        relaxation=_draw_relaxation(rng, site.scanner.field_t),
        scans={modality: _draw_scan(rng, modality, site.scanner) for modality in Modality},
    )
