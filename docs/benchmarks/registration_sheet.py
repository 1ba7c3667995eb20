"""The picture of docs/guides/your-own-data.md: a phantom's head as it came, registered, and one that is refused.

python docs/benchmarks/registration_sheet.py docs/registration.png
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial.transform import Rotation

from mrigen.labels import Modality
from mrigen.phantom import make_subject
from mrigen.preprocess.foreground import Mask
from mrigen.preprocess.outline import outlined_png
from mrigen.preprocess.registration import register
from mrigen.volume import Volume, VolumeError

SEED, INDEX, SPACING_MM, MARGIN = 3, 2, 2.0, 12
LINE = 20
"""Height of a caption, pixels."""


def tilted_head() -> tuple[Volume, Mask]:
    """A phantom's brain within fluid, skull and scalp, in T2w, which lies askew, and where the brain is."""
    made = make_subject(SEED, INDEX, SPACING_MM)
    brain = np.pad(made.brain > 0, MARGIN)
    fluid, skull, scalp = (ndimage.binary_dilation(brain, iterations=steps) for steps in (2, 6, 10))
    around = np.where(fluid, 900, np.where(skull, 40, np.where(scalp, 700, 0)))
    array = np.where(brain, np.pad(made.images[Modality.T2W], MARGIN), around)
    affine, motion = made.affine.copy(), np.eye(4)
    affine[:3, 3] -= affine[:3, :3] @ np.full(3, MARGIN)
    motion[:3, :3] = 1.1 * Rotation.from_euler("xyz", (-14, 8, -11), degrees=True).as_matrix()
    motion[:3, 3] = -12, 10, -14
    return Volume(array.astype(np.float32), motion @ affine), brain


def main(path: Path) -> None:
    head, brain = tilted_head()
    registered, overlap = register(head, brain, "affine")
    lower = brain.copy()
    lower[:, :, round(float(np.argwhere(brain)[:, 2].mean())) :] = False
    try:
        register(head, lower, "affine")
    except VolumeError as error:
        _, refusal = str(error).split(": ", 1)
    else:
        raise SystemExit("half a brain was registered")
    half = Volume(np.where(lower, head.array, 0), head.affine)
    panels = [
        (head, brain, "as it came"),
        (registered, brain, f"registered: its brain overlaps the template's by {overlap:.0%}"),
        (half, lower, f"refused: {refusal}"),
    ]
    pictures = [
        (Image.open(io.BytesIO(outlined_png(volume, mask))).convert("RGB"), words) for volume, mask, words in panels
    ]
    width, height = 2 * pictures[0][0].width, 2 * pictures[0][0].height + LINE
    sheet = Image.new("RGB", (width, height * len(pictures)))
    draw = ImageDraw.Draw(sheet)
    for number, (picture, words) in enumerate(pictures):
        sheet.paste(picture.resize((width, height - LINE)), (0, number * height + LINE))
        draw.text((4, number * height + 3), words, fill=(255, 255, 255), font_size=12)
    sheet.quantize(64).save(path, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
