"""Sites: the scanner of each, how heads lie in it, and who comes.

Where a paper is named, ranges are of the order of what it describes or asks for; docs/phantom.md lists them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from mrigen.labels import Modality, Pathology
from mrigen.phantom.parameters import Vector
from mrigen.phantom.signal import PROTOCOLS, REFERENCE_T, Protocol, nulling_ms


@dataclass(frozen=True)
class Scanner:
    """A scanner and its protocols, against the reference: 3 T, `PROTOCOLS`, voxels as sharp as they are small."""

    field_t: float = REFERENCE_T
    protocols: Mapping[Modality, Protocol] = field(default_factory=lambda: PROTOCOLS, hash=False)
    """Each scan is some per cent off."""
    snr: float = 1.0
    """Factor of what the reference has."""
    bias: float = 1.0
    """Likewise, of the logarithm of the bias field."""
    resolution_mm: Vector = (0.0, 0.0, 0.0)
    """Full width at half maximum of what the scanner makes of a point, where that is more than a voxel."""


@dataclass(frozen=True)
class Site:
    """A scanner, and those who are scanned there."""

    number: int = 0
    """Part of the seed of its people. 0: the reference, which is no site."""
    scanner: Scanner = Scanner()
    tilt_deg: Vector = (0.0, 0.0, 0.0)
    """About x, y and z, on the mean of all heads."""
    years: float = 0.0
    """How much older people are, within the ranges of their pathology."""
    shares: Mapping[Pathology, float] = field(
        default_factory=lambda: dict.fromkeys(Pathology, 1 / len(Pathology)), hash=False
    )
    """Of all subjects; they sum to 1."""

    def pathology_of(self, index: int) -> Pathology:
        """Of subject `index`: what lags most behind its share, so that any number of subjects keeps to the shares, and
        equal shares take turns."""
        counts = dict.fromkeys(Pathology, 0)
        for count in range(1, index + 2):
            chosen = max(Pathology, key=lambda pathology: self.shares[pathology] * count - counts[pathology])
            counts[chosen] += 1
        return chosen


REFERENCE = Site()


def _draw_scanner(rng: np.random.Generator) -> Scanner:
    """Half of the scanners have 1.5 T; half prepare T1w by an inversion, as Ellingson et al. (Neuro Oncol 17:1188,
    2015) recommend, within or near whose ranges the times of T2w and FLAIR lie, too. T1ce has the times of T1w; FLAIR
    nulls fluid. SNR goes with the field (Edelstein et al., Magn Reson Med 3:604, 1986), and differs from coil to coil.
    """

    def protocol(*ranges_ms: tuple[float, float]) -> Protocol:
        return Protocol(*(float(rng.uniform(low, high)) for low, high in ranges_ms))

    field_t = float(rng.choice((1.5, 3.0)))
    inversion = rng.random() < 0.5
    t1w = protocol((1900, 2400), (3, 5), (900, 1100)) if inversion else protocol((450, 700), (8, 15))
    flair = protocol((7000, 11000), (90, 140))
    protocols = {
        Modality.T1W: t1w,
        Modality.T1CE: t1w,
        Modality.T2W: protocol((3000, 7000), (80, 120)),
        Modality.FLAIR: replace(flair, ti_ms=nulling_ms(flair.tr_ms)),
        Modality.PD: protocol((2000, 4500), (8, 25)),
    }
    in_plane = float(rng.uniform(0.8, 2.0))
    return Scanner(
        field_t=field_t,
        protocols=protocols,
        snr=float(field_t / REFERENCE_T * rng.lognormal(0.0, 0.2)),
        bias=float(np.exp(rng.uniform(np.log(0.5), np.log(2.0)))),
        resolution_mm=(in_plane, in_plane, float(rng.uniform(1.0, 5.0))),
    )


def draw_site(number: int) -> Site:
    """Site `number`, the same in every cohort; 0 is the reference. Raises ValueError if it is negative."""
    if number == 0:
        return REFERENCE
    rng = np.random.default_rng(number)
    scanner = _draw_scanner(rng)
    tilt = np.clip(rng.normal(0.0, (5.0, 1.5, 1.5)), -8.0, 8.0)
    return Site(
        number=number,
        scanner=scanner,
        tilt_deg=(float(tilt[0]), float(tilt[1]), float(tilt[2])),
        years=float(np.clip(rng.normal(0.0, 6.0), -12.0, 12.0)),
        shares={p: float(share) for p, share in zip(Pathology, rng.dirichlet([2.0] * len(Pathology)), strict=True)},
    )
