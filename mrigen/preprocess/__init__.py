"""From a scan to training images, by functions without state: foreground, brain masks, bias and registration,
intensities, and slices or volumes on a fixed grid."""

from __future__ import annotations

from mrigen.preprocess.brain_mask import check_strip_command
from mrigen.preprocess.foreground import Foreground, find_foreground
from mrigen.preprocess.intensity import normalise, smoothing_sigmas
from mrigen.preprocess.lesions import lesions_on_grid
from mrigen.preprocess.order import PreparedScan, prepare_images
from mrigen.preprocess.registration import check_extras
from mrigen.preprocess.sampling import TrainingImage, mirrors, scan_images, slice_affine
from mrigen.preprocess.splits import slice_heights, split_of

__all__ = [
    "Foreground",
    "PreparedScan",
    "TrainingImage",
    "check_extras",
    "check_strip_command",
    "find_foreground",
    "lesions_on_grid",
    "mirrors",
    "normalise",
    "prepare_images",
    "scan_images",
    "slice_affine",
    "slice_heights",
    "smoothing_sigmas",
    "split_of",
]
