"""The contact sheets of docs/phantom.md: four phantom subjects of each pathology, the same slice in all modalities; and
one subject in the scanners of some sites.

python docs/benchmarks/phantom_sheet.py docs/phantom.png
python docs/benchmarks/phantom_sheet.py docs/phantom-sites.png 1 2 3 9
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from mrigen.labels import Cell, Modality, Pathology
from mrigen.phantom import PhantomSubject, make_subject
from mrigen.phantom.sites import REFERENCE, draw_site
from mrigen.report.sheets import Slice, contact_sheet_png

SEED, SPACING_MM, SUBJECTS_OF_EACH, HEIGHT_MM = 1, 2.5, 4, 18.0
AT_SITES, AT_SITES_MM = 2, 2.0
"""Index and voxels of the subject that is shown at several sites."""


def slice_index(subject: PhantomSubject) -> int:
    """The axial slice with the most lesion, or 18 mm above the commissures where there is hardly any."""
    areas = subject.lesions.sum(axis=(0, 1))
    return int(areas.argmax() if areas.max() > 15 else round((HEIGHT_MM - subject.affine[2, 3]) / subject.affine[2, 2]))


def scaled(image: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Brain voxels between the 0.5 and 99.5 percentile to [-1, 1], the rest to -1."""
    low, high = np.percentile(image[brain > 0], (0.5, 99.5))
    return np.where(brain > 0, np.clip((image - low) / (high - low), 0, 1) * 2 - 1, -1).astype(np.float32)


def main(path: Path, sites: list[int]) -> None:
    cells: dict[Cell, list[Slice]] = {}
    if sites:
        scanners = (replace(REFERENCE, scanner=draw_site(number).scanner) for number in sites)
        subjects = [make_subject(SEED, AT_SITES, AT_SITES_MM, site) for site in scanners]
    else:
        subjects = [make_subject(SEED, index, SPACING_MM) for index in range(SUBJECTS_OF_EACH * len(Pathology))]
    for subject in subjects:
        place = slice_index(subject)
        for modality in Modality:
            image = scaled(subject.images[modality], subject.brain)[:, :, place]
            cells.setdefault(Cell(subject.pathology, modality), []).append(image)
    path.write_bytes(contact_sheet_png(cells, scale=1, plane="axial"))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(number) for number in sys.argv[2:]])
