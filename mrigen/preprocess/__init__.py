"""From a scan to training images, by functions without state: foreground, brain masks, bias and registration,
intensities, and slices or volumes on a fixed grid."""

from mrigen.preprocess.brain_mask import check_strip_command, find_brain, needs_brain
from mrigen.preprocess.itk import check_extras
from mrigen.preprocess.order import prepare_images
from mrigen.preprocess.sampling import mirrors, slice_affine

__all__ = [
    "check_extras",
    "check_strip_command",
    "find_brain",
    "mirrors",
    "needs_brain",
    "prepare_images",
    "slice_affine",
]
