"""All that is drawn for a phantom subject. `draw` and `draw_lesions` fill these in; nothing else is random."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mrigen.labels import Modality, Pathology
from mrigen.phantom.signal import Protocol, Relaxation, Tissue

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class AnatomyParameters:
    """The shape of the brain before any focal lesion."""

    scale: Vector
    """Template mm per subject mm is 1 / scale."""
    rotation_deg: Vector
    warp_seed: int
    warp_mm: float
    """Standard deviation of the slow displacement along each axis."""
    fold_warp_mm: float
    """The same of the fast displacement that moves the gyri."""
    ventricle_ml: float
    """Lateral and third ventricles that the growth field aims at."""
    sulcal_widening: float
    """Exponent: fluid fraction f becomes 1 - (1 - f)^(1 + widening)."""
    hippocampal_loss: float
    """Share of each hippocampus's volume that fluid has taken."""
    edge_seed: int
    """Of the unevenness that skull stripping leaves at the brain's outline."""


@dataclass(frozen=True)
class TumourFocus:
    """One mass: lobules that melt into one another. Millimetres in template space."""

    centre_mm: Vector
    radius_mm: float
    """Of the ball of the same volume."""
    lobules: tuple[tuple[Vector, float], ...]
    """Centre and radius of each, mm."""


@dataclass(frozen=True)
class TumourParameters:
    """A glioblastoma: necrosis within an uneven enhancing rim, part that does not enhance, oedema around."""

    lobe: str
    """Of the first focus."""
    side: str
    foci: tuple[TumourFocus, ...]
    core_ml: float
    """Necrosis, enhancing and non-enhancing tumour of all foci."""
    necrosis_share: float
    """Of core_ml."""
    non_enhancing_share: float
    """Of the solid part."""
    oedema_ml: float
    irregularity: float
    """Of the outline, against the radius."""
    mass_effect: float
    """Tissue is pushed outwards by mass_effect * radius_mm at the rim."""
    seed: int


@dataclass(frozen=True)
class PlaqueParameters:
    """One lesion of multiple sclerosis: its centre is moved to the nearest fitting place of its kind."""

    kind: str
    """Periventricular, callosal, juxtacortical, deep or infratentorial."""
    state: str
    """Quiet, active (takes up gadolinium) or black_hole (long T1)."""
    centre_mm: Vector
    direction: Vector
    """Of the long axis."""
    volume_ml: float
    elongation: float
    """Length against width."""
    severity: float
    """Share of the tissue that it replaces at its centre."""

    @property
    def width_mm(self) -> float:
        """Short axis of the prolate ellipsoid that has this volume."""
        return float((6000.0 * self.volume_ml / (3.141592653589793 * self.elongation)) ** (1 / 3))

    @property
    def length_mm(self) -> float:
        """Long axis."""
        return self.width_mm * self.elongation


@dataclass(frozen=True)
class HyperintensityParameters:
    """White-matter hyperintensities of age: what borders the ventricles, and deep spots."""

    volume_ml: float
    deep_share: float
    fazekas: int
    """0 to 3, from the volume."""
    seed: int


@dataclass(frozen=True)
class VesselParameters:
    """How much blood shows."""

    fullness: float
    cortical_density: float
    """Share of sulcal places that hold a visible vein."""
    seed: int


@dataclass(frozen=True)
class ScanParameters:
    """One acquisition."""

    protocol: Protocol
    gain: float
    """Signal units per unit of fully relaxed water."""
    snr: float
    """Of white matter."""
    bias: float
    """Standard deviation of the logarithm of the bias field."""
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
