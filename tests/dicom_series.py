"""DICOM series made up here, written by SimpleITK: for tests."""

from __future__ import annotations

import locale
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

POSITION, ORIENTATION = "0020|0032", "0020|0037"


def write_series(
    folder: Path,
    array: np.ndarray[Any, Any],
    affine: np.ndarray[Any, Any],
    *,
    uid: str = "1.2.826.0.1.3680043.2.1125.1",
    slope: float | None = None,
) -> list[Path]:
    """A file for each plane of `array` (X, Y, Z), whose `affine` is to RAS+ mm; gives them in order of place.

    File names run against the order of place, as they may.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = locale.setlocale(locale.LC_ALL)
    to_lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    spacing = np.linalg.norm(to_lps[:3, :3], axis=0)
    direction = to_lps[:3, :3] / spacing
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    paths = []
    for place in range(array.shape[2]):
        image = sitk.GetImageFromArray(np.ascontiguousarray(array[:, :, place].T)[None])
        image.SetSpacing(spacing.tolist())
        image.SetMetaData("0008|0060", "MR")
        image.SetMetaData("0010|0010", "Somebody^Real")
        image.SetMetaData("0020|000e", uid)
        image.SetMetaData("0020|000d", "1.2.826.0.1.3680043.2.1125.0")
        image.SetMetaData("0008|0018", f"{uid}.{place + 1}")
        origin = to_lps[:3, :3] @ [0, 0, place] + to_lps[:3, 3]
        image.SetOrigin(origin.tolist())
        image.SetDirection(direction.ravel().tolist())
        image.SetMetaData(POSITION, "\\".join(f"{value:.8g}" for value in origin))
        image.SetMetaData(ORIENTATION, "\\".join(f"{value:.8g}" for value in direction[:, :2].T.ravel()))
        if slope is not None:
            image.SetMetaData("0028|1053", str(slope))
            image.SetMetaData("0028|1052", "0")
        path = folder / f"IM{array.shape[2] - place:04d}.dcm"
        writer.SetFileName(str(path))
        writer.Execute(image)
        paths.append(path)
    locale.setlocale(locale.LC_ALL, before)  # writing DICOM may set it to "C"
    return paths
