"""Pictures of scans in MNI space with the outline of the template's brain: whether they lie there is seen at once."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from mrigen.preprocess.foreground import Mask
from mrigen.preprocess.masks import on_grid
from mrigen.preprocess.template import BRAIN_CENTRE_MM, load_template
from mrigen.volume import Volume

VIEW_MM = 2
_RED = (255, 70, 60)


def outlined_png(volume: Volume, foreground: Mask) -> bytes:
    """A PNG of two slices through the template's middle: sagittal (front to the right) and axial (left is left)."""
    template = load_template(VIEW_MM)
    shown = on_grid(volume.array, volume.affine, template.t1, order=1)
    high = max(1e-12, float(np.percentile(volume.array[foreground], 99.0)))
    grey = np.clip(255 * shown / high, 0, 255).astype(np.uint8)
    middle = np.rint(np.linalg.inv(template.t1.affine) @ [*BRAIN_CENTRE_MM, 1.0]).astype(int)
    sheet = Image.new("RGB", (grey.shape[1] + grey.shape[0], max(grey.shape[1:])))
    for left, axis in ((0, 0), (grey.shape[1], 2)):
        plane, brain = (values.take(middle[axis], axis).T[::-1] for values in (grey, template.brain))
        colours = np.repeat(plane[..., None], 3, axis=-1)
        colours[ndimage.binary_dilation(brain) & ~brain] = _RED
        sheet.paste(Image.fromarray(colours), (left, 0))
    stream = io.BytesIO()
    sheet.quantize(64).save(stream, "PNG", optimize=True)
    return stream.getvalue()
