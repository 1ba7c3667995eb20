"""A scan's brain: by a mask that is given, by a skull-stripper, or by the template in MNI space."""

from __future__ import annotations

import shlex
import shutil
import string
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mrigen.config import DataConfig
from mrigen.errors import InputError
from mrigen.labels import Modality
from mrigen.preprocess.following import T1wHead, follow
from mrigen.preprocess.foreground import Foreground, Mask, Point, find_foreground
from mrigen.preprocess.itk import has_simpleitk
from mrigen.preprocess.masks import brain_on_grid
from mrigen.preprocess.stripper import strip_t1w, stripper_version
from mrigen.preprocess.template import load_template, template_likeness, template_overlap
from mrigen.volume import Volume, VolumeError, nifti_bytes, read_volume

STRIP_TIMEOUT_S = 1800
MIN_MNI_OVERLAP = 0.85
_MNI_SHIFT_MM = 10.0
_DESCRIPTION = "a scan on its way to a skull-stripper"


def check_strip_command(data: DataConfig) -> None:
    """Raise InputError if `strip_command` does not name a program that is there, and {input} and {mask}."""
    if data.strip_command is None:
        return
    told = f"data.strip_command {data.strip_command!r}"
    if not needs_brain(data):
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


def needs_brain(data: DataConfig) -> bool:
    """Whether the settings need a scan's brain mask: to strip it, or to register by it."""
    return data.head == "strip" or data.registration != "none"


def find_brain(
    volume: Volume,
    data: DataConfig,
    *,
    mask: Volume | None = None,
    modality: Modality | None = None,
    t1w: Callable[[], T1wHead] | None = None,
) -> Mask:
    """The brain of a scan: what is there already, else by `mask`, by `data.strip_command`, of a T1w scan by the extra
    `mrigen[strip]`, of others by that of the same person's `t1w`, and in MNI space by the template.

    Raises VolumeError: of class `mask` if there is no way to tell the brain, or what is found is none.
    """
    foreground = find_foreground(volume)
    if foreground.stripped:
        return foreground.mask
    if mask is not None:
        return brain_on_grid(mask, volume)
    if data.strip_command:
        return brain_on_grid(run_skull_stripper(volume, data.strip_command), volume)
    if modality is Modality.T1W and stripper_version():
        return strip_t1w(volume)
    why, extra = "", "pip install 'mrigen[strip]', "
    if t1w is not None and has_simpleitk():
        try:
            head = t1w()
        except VolumeError as error:
            why, extra = f" and none of its T1w ({error})", ""
        else:
            return follow(volume, head)
    elif t1w is None and modality is not Modality.T1W:
        extra = "add a T1w of the same subject and session, "
    if in_mni_space(volume, foreground):
        return brain_on_grid(_template_mask(), volume)
    ways = "name one in a manifest, set data.strip_command, or register the scan to MNI space"
    raise VolumeError(f"no brain mask{why}: {extra}{ways}", "mask")


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

    def likeness(shift_mm: Point) -> float:
        affine = volume.affine.copy()
        affine[:3, 3] += shift_mm
        return template_likeness(Volume(volume.array, affine))

    here = likeness(np.zeros(3))
    return all(likeness(way * _MNI_SHIFT_MM * axis) < here for axis in np.eye(3) for way in (-1, 1))


def _holds_template(volume: Volume) -> bool:
    template = _template_mask()
    brain = np.argwhere(template.array > 0)
    places = np.stack([brain.min(axis=0), brain.max(axis=0)]) @ template.affine[:3, :3].T + template.affine[:3, 3]
    voxels = (places - volume.affine[:3, 3]) @ np.linalg.inv(volume.affine[:3, :3]).T
    return bool((voxels >= -0.5).all() and (voxels <= np.array(volume.array.shape) - 0.5).all())


def _template_mask() -> Volume:
    template = load_template(1)
    return Volume(template.brain.astype(np.float32), template.t1.affine)
