"""One scan as an array and its place in space: reading files with suspicion, and writing them.

`scan`: what a scan and its header are; `checks`: what makes a scan usable; `header`: NIfTI and Analyze headers;
`packing`: the bytes of a file that may be compressed; `reading` and `writing`: whole files.
"""

from mrigen.volume.reading import read_header, read_volume
from mrigen.volume.scan import MAX_SCAN_BYTES, MIN_VOXELS, ScanHeader, Volume, VolumeError
from mrigen.volume.writing import SYNTHETIC_DESCRIPTION, nifti_bytes

__all__ = [
    "MAX_SCAN_BYTES",
    "MIN_VOXELS",
    "SYNTHETIC_DESCRIPTION",
    "ScanHeader",
    "Volume",
    "VolumeError",
    "nifti_bytes",
    "read_header",
    "read_volume",
]
