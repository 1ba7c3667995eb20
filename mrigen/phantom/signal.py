"""What a scanner makes of tissue: relaxation times, signal equations, bias field and noise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mrigen.labels import Modality
from mrigen.phantom.fields import FloatArray, Grid


class Tissue(IntEnum):
    """Row of each tissue in an array of fractions."""

    GREY = 0
    WHITE = 1
    FLUID = 2
    BLOOD = 3
    CHOROID = 4
    NECROSIS = 5
    OEDEMA = 6
    RIM = 7
    PLAQUE = 8
    ACTIVE_PLAQUE = 9
    HYPERINTENSITY = 10
    BLACK_HOLE = 11
    TUMOUR = 12


@dataclass(frozen=True)
class Relaxation:
    """Times in ms at 3 T, proton density against water; `t1_gadolinium_ms` is T1 after contrast agent."""

    t1_ms: float
    t2_ms: float
    proton_density: float
    t1_gadolinium_ms: float


# Orders of magnitude at 3 T after Wansapura et al. (J Magn Reson Imaging 9:531, 1999) for grey and white matter, Lu et
# al. (Magn Reson Med 52:679, 2004) for blood, Stanisz et al. (Magn Reson Med 54:507, 2005) for the spread between
# studies. Blood's density is lowered by flow. Pathological tissue is set by hand to look as radiologists describe it: a
# plaque is as grey as cortex in T1w, a black hole darker, and TUMOUR is the solid part that does not enhance.
RELAXATION: Mapping[Tissue, Relaxation] = {
    Tissue.GREY: Relaxation(1400, 95, 0.82, 1360),
    Tissue.WHITE: Relaxation(850, 70, 0.70, 840),
    Tissue.FLUID: Relaxation(4000, 1500, 1.00, 4000),
    Tissue.BLOOD: Relaxation(1650, 55, 0.75, 220),
    Tissue.CHOROID: Relaxation(1700, 100, 0.85, 400),
    Tissue.NECROSIS: Relaxation(2600, 420, 0.95, 2500),
    Tissue.OEDEMA: Relaxation(1500, 180, 0.88, 1490),
    Tissue.RIM: Relaxation(1350, 130, 0.85, 380),
    Tissue.PLAQUE: Relaxation(1250, 160, 0.84, 1240),
    Tissue.ACTIVE_PLAQUE: Relaxation(1350, 175, 0.87, 430),
    Tissue.HYPERINTENSITY: Relaxation(1200, 140, 0.82, 1190),
    Tissue.BLACK_HOLE: Relaxation(2000, 190, 0.88, 1990),
    Tissue.TUMOUR: Relaxation(1500, 125, 0.85, 1350),
}
REFERENCE_T = 3


def relaxation_at(field_t: float) -> Mapping[Tissue, Relaxation]:
    """Relaxation at a field strength in tesla.

    T1 of all but fluid rises with the 0.38th power of the field (order: Rooney et al., Magn Reson Med 57:308, 2007, for
    grey and white matter; lesions alike is ours). T2 and what gadolinium adds to the rate stay as they are.
    """
    if field_t == REFERENCE_T:
        return RELAXATION
    found = {}
    for tissue, at_reference in RELAXATION.items():
        t1 = at_reference.t1_ms * (1.0 if tissue is Tissue.FLUID else (field_t / REFERENCE_T) ** 0.38)
        added_rate = 1.0 / at_reference.t1_gadolinium_ms - 1.0 / at_reference.t1_ms
        found[tissue] = replace(at_reference, t1_ms=t1, t1_gadolinium_ms=1.0 / (1.0 / t1 + added_rate))
    return found


@dataclass(frozen=True)
class Protocol:
    """Times of a spin-echo sequence in ms; `ti_ms` is None without an inversion pulse."""

    tr_ms: float
    te_ms: float
    ti_ms: float | None = None


PROTOCOLS: Mapping[Modality, Protocol] = {
    Modality.T1W: Protocol(600, 10),
    Modality.T1CE: Protocol(600, 10),
    Modality.T2W: Protocol(4500, 95),
    Modality.FLAIR: Protocol(9000, 110, 2450),
    Modality.PD: Protocol(3000, 14),
}


def spin_echo(proton_density: float, t1_ms: float, t2_ms: float, tr_ms: float, te_ms: float) -> float:
    """S = PD (1 - exp(-TR/T1)) exp(-TE/T2), for TE much shorter than TR (Haacke et al., MRI, 1999, ch. 8)."""
    return float(proton_density * (1.0 - np.exp(-tr_ms / t1_ms)) * np.exp(-te_ms / t2_ms))


def inversion_recovery(
    proton_density: float, t1_ms: float, t2_ms: float, tr_ms: float, te_ms: float, ti_ms: float
) -> float:
    """S = PD (1 - 2 exp(-TI/T1) + exp(-TR/T1)) exp(-TE/T2), signed (Haacke et al., MRI, 1999, ch. 8)."""
    recovery = 1.0 - 2.0 * np.exp(-ti_ms / t1_ms) + np.exp(-tr_ms / t1_ms)
    return float(proton_density * recovery * np.exp(-te_ms / t2_ms))


def nulling_ms(tr_ms: float) -> float:
    """The inversion time at which fluid has no signal."""
    t1_ms = RELAXATION[Tissue.FLUID].t1_ms
    return float(t1_ms * np.log(2.0 / (1.0 + np.exp(-tr_ms / t1_ms))))


def tissue_signal(relaxation: Relaxation, protocol: Protocol, gadolinium: bool) -> float:
    """Signed signal of one tissue, in units of the signal of fully relaxed water."""
    t1 = relaxation.t1_gadolinium_ms if gadolinium else relaxation.t1_ms
    density, t2 = relaxation.proton_density, relaxation.t2_ms
    if protocol.ti_ms is None:
        return spin_echo(density, t1, t2, protocol.tr_ms, protocol.te_ms)
    return inversion_recovery(density, t1, t2, protocol.tr_ms, protocol.te_ms, protocol.ti_ms)


def mix_signal(
    fractions: FloatArray, relaxation: Mapping[Tissue, Relaxation], protocol: Protocol, gadolinium: bool
) -> FloatArray:
    """Magnitude of the noise-free signal of voxels that hold several tissues.

    `fractions` is (len(Tissue), N) with columns that sum to 1; gives float32 (N,). Signals add before the magnitude is
    taken, as partial volume does.
    """
    signal = np.zeros(fractions.shape[1], dtype=np.float32)
    for tissue in Tissue:
        signal += fractions[tissue] * np.float32(tissue_signal(relaxation[tissue], protocol, gadolinium))
    return np.abs(signal)


def replace_tissue(fractions: FloatArray, tissue: Tissue, amount: FloatArray) -> None:
    """Let `amount` (N,) of each voxel of `fractions` (len(Tissue), N) become `tissue`, taken from all others alike."""
    fractions *= 1.0 - amount
    fractions[tissue] += amount


def at_resolution(
    signal: FloatArray, brain: NDArray[np.bool_], grid: Grid, resolution_mm: Sequence[float]
) -> FloatArray:
    """The signal (N,) of the brain's voxels, blurred to `resolution_mm` along x, y and z (full width at half maximum),
    of which the voxels themselves make a part. Nothing comes in from outside of the brain."""
    widths = np.sqrt(np.maximum(np.square(resolution_mm) / grid.spacing_mm**2 - 1.0, 0.0)) / np.sqrt(8.0 * np.log(2.0))
    if not widths.any():
        return signal
    dense = np.zeros((2, *grid.shape), np.float32)
    dense[:, brain] = signal, np.ones_like(signal)
    blurred, weight = (ndimage.gaussian_filter(part, widths)[brain] for part in dense)
    seen: FloatArray = blurred / weight
    return seen


def add_rician_noise(signal: FloatArray, sigma: float, seed: int) -> FloatArray:
    """Magnitude of the signal with normal noise of `sigma` in both channels (Gudbjartsson and Patz, 1995)."""
    noise = np.random.default_rng(seed).standard_normal((2, *signal.shape), dtype=np.float32) * np.float32(sigma)
    magnitude: FloatArray = np.sqrt((signal + noise[0]) ** 2 + noise[1] ** 2)
    return magnitude
