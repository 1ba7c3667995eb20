"""Whether the voxels of a file are a scan at all: neither a mask or a map of labels, nor noise."""

from __future__ import annotations

import numpy as np

from mrigen.preprocess.foreground import Mask
from mrigen.volume import Volume, VolumeError

FEWEST_VALUES, MOST_LABELS = 8, 256
"""A scan has more values than the first; maps of labels have no more than the second."""
ALIKE = 0.6
"""Labels have at least this share of equal neighbours: 0.8 and more. Scans of open_ms_data, IXI and the phantom have
0.06 and less."""
RELATED = 0.3
"""Neighbours in a scan correlate more than this along some axis: those scans 0.73 and more, noise 0.04 and less."""
_STEP = 3
_LOOKED_AT = 1 << 18


def check_contents(volume: Volume, foreground: Mask) -> None:
    """Raises VolumeError where the voxels within `foreground` are labels or noise, told from every third line."""
    alike, related = [], []
    for axis in range(3):
        near, far = (
            tuple(place if other == axis else slice(None, None, _STEP) for other in range(3))
            for place in (slice(None, -1), slice(1, None))
        )
        both = foreground[near] & foreground[far]
        one, other = volume.array[near][both], volume.array[far][both]
        if one.size and one.std() and other.std():
            alike.append(float((one == other).mean()))
            related.append(float(np.corrcoef(one, other)[0, 1]))
    inside = volume.array[foreground]
    count = len(np.unique(inside[:: 1 + inside.size // _LOOKED_AT]))
    if count < FEWEST_VALUES or (count <= MOST_LABELS and min(alike, default=1.0) >= ALIKE):
        values = f"{count} value{'' if count == 1 else 's'} beside the background"
        raise VolumeError(f"a mask or a map of labels, not a scan: {values}", "voxels")
    if max(related, default=1.0) < RELATED:
        told = f"neighbouring voxels correlate by {max(related):.2f}"
        raise VolumeError(f"noise, not a scan: {told}, those of scans by 0.6 and more", "voxels")
