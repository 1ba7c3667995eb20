"""The brain alone: by a mask that is given, by a skull-stripper of the user's, or by the template for MNI space."""

from __future__ import annotations

import shlex
import shutil
import string
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from scipy import ndimage

from mrigen.config import DataConfig
from mrigen.errors import InputError
from mrigen.preprocess.foreground import Foreground, Mask, box_centre, voxel_litres
from mrigen.preprocess.template import load_template, template_likeness, template_overlap
from mrigen.volume import Volume, VolumeError, nifti_bytes, read_volume

MIN_LITRES, MAX_LITRES = 0.3, 2.2
"""A mask outside of this is not that of a brain; those of children's brains are within."""
MIN_INSIDE = 0.8
"""Share of a mask that must lie within the scan."""
STRIP_TIMEOUT_S = 1800
MIN_MNI_OVERLAP = 0.85
_MNI_SHIFT_MM = 10.0
_DESCRIPTION = "a scan on its way to a skull-stripper"


def check_strip_command(data: DataConfig) -> None:
    """Raise InputError if `strip_command` does not name a program that is there, and {input} and {mask}."""
    if data.strip_command is None:
        return
    told = f"data.strip_command {data.strip_command!r}"
    if data.head != "strip":
        raise InputError(f"{told} is of no use with data.head={data.head}: add --set data.head=strip")
    try:
        words = shlex.split(data.strip_command)
        named = {name for word in words for _, name, _, _ in string.Formatter().parse(word) if name is not None}
    except ValueError as error:
        raise InputError(f"{told}: {error}") from None
    if named != {"input", "mask"}:
        raise InputError(f"{told} must name {{input}} and {{mask}}, and nothing else in braces")
    if not words or shutil.which(words[0]) is None:
        raise InputError(f"{told}: no program {words[0] if words else ''!r} on this machine")


def strip_head(volume: Volume, foreground: Foreground, mask: Volume | None, data: DataConfig) -> Foreground:
    """The brain of a scan: what is there already, else by `mask`, `data.strip_command`, or the template in MNI space.

    Raises VolumeError: of class `mask` if there is no way to tell the brain, or the mask does not fit.
    """
    if foreground.stripped:
        return foreground
    if mask is not None:
        brain = mask_on_grid(mask, volume)
    elif data.strip_command:
        brain = mask_on_grid(run_skull_stripper(volume, data.strip_command), volume)
    elif in_mni_space(volume, foreground):
        brain = mask_on_grid(_template_mask(), volume)
    else:
        raise VolumeError(
            "no brain mask: name one in a manifest, set data.strip_command, or register the scan to MNI space", "mask"
        )
    return Foreground(brain, True, box_centre(brain, volume.affine))


def mask_on_grid(mask: Volume, volume: Volume) -> Mask:
    """A mask on a grid of its own, in the same space -> on that of the volume, by the nearest voxel.

    Raises VolumeError: of class `mask` if it does not lie on the volume or is no brain by its size.
    """
    inside = mask.array > 0.5 * float(mask.array.max())
    litres = inside.sum() * voxel_litres(mask.affine)
    if not MIN_LITRES <= litres <= MAX_LITRES:
        raise VolumeError(f"a brain mask of {litres:.2f} litres: a brain has {MIN_LITRES} to {MAX_LITRES}", "mask")
    to_mask = np.linalg.inv(mask.affine) @ volume.affine
    brain: Mask = ndimage.affine_transform(
        inside.astype(np.uint8), to_mask[:3, :3], to_mask[:3, 3], volume.array.shape, order=0, mode="constant", cval=0
    ).astype(bool)
    share = brain.sum() * voxel_litres(volume.affine) / litres
    if share < MIN_INSIDE:
        raise VolumeError(f"{share:.0%} of the brain mask lies within the scan, {MIN_INSIDE:.0%} are needed", "mask")
    return brain


def run_skull_stripper(volume: Volume, command: str) -> Volume:
    """Call the user's skull-stripper on a copy of the scan, without a shell; gives the mask that it writes.

    Raises VolumeError: of class `mask` if it fails, takes over half an hour, or leaves no mask.
    """
    with tempfile.TemporaryDirectory(prefix="mrigen-") as folder:
        scan, mask = Path(folder) / "scan.nii.gz", Path(folder) / "mask.nii.gz"
        scan.write_bytes(nifti_bytes(volume, description=_DESCRIPTION))
        words = [word.format(input=scan, mask=mask) for word in shlex.split(command)]
        try:
            done = subprocess.run(
                words, cwd=folder, capture_output=True, encoding="utf-8", errors="replace", timeout=STRIP_TIMEOUT_S
            )
        except subprocess.TimeoutExpired:
            raise VolumeError(f"{words[0]} took more than {STRIP_TIMEOUT_S} s", "mask") from None
        except OSError as error:
            raise VolumeError(f"{words[0]} cannot be run: {error.strerror}", "mask") from None
        if done.returncode:
            said = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
            reason = said[-1].strip()[:200] if said else "it said nothing"
            raise VolumeError(f"{words[0]} ended with status {done.returncode}: {reason}", "mask")
        try:
            return read_volume(mask)
        except VolumeError as error:
            raise VolumeError(f"{words[0]}: its mask: {str(error).removeprefix(f'{mask}: ')}", "mask") from None


def in_mni_space(volume: Volume, foreground: Foreground) -> bool:
    """Whether a whole head lies in MNI space: by its grid, and by the template's likeness to it.

    The grid is straight, of 1 or 2 mm, and holds the template's brain; the head covers that brain; and moved 10 mm to
    any side, the scan is less like the template than where it is.
    """
    spacing = np.array(volume.spacing_mm)
    straight = np.abs(volume.affine[:3, :3] - np.diag(spacing)).max() < 1e-3
    if not straight or not any(np.allclose(spacing, target, rtol=0.01) for target in (1.0, 2.0)):
        return False
    if not _holds_template(volume) or template_overlap(volume, foreground) < MIN_MNI_OVERLAP:
        return False
    here = template_likeness(volume)
    return all(template_likeness(_moved(volume, axis, way)) < here for axis in range(3) for way in (-1, 1))


def _holds_template(volume: Volume) -> bool:
    template = _template_mask()
    brain = np.argwhere(template.array > 0)
    places = np.stack([brain.min(axis=0), brain.max(axis=0)]) @ template.affine[:3, :3].T + template.affine[:3, 3]
    voxels = (places - volume.affine[:3, 3]) @ np.linalg.inv(volume.affine[:3, :3]).T
    return bool((voxels >= -0.5).all() and (voxels <= np.array(volume.array.shape) - 0.5).all())


def _moved(volume: Volume, axis: int, way: int) -> Volume:
    affine = volume.affine.copy()
    affine[axis, 3] += way * _MNI_SHIFT_MM
    return Volume(volume.array, affine)


def _template_mask() -> Volume:
    template = load_template(1)
    return Volume(template.brain.astype(np.float32), template.t1.affine)
