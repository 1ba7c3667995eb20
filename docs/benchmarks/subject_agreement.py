"""How far the modalities of one healthy synthetic person agree, beside those of subjects of the phantom.

python docs/benchmarks/subject_agreement.py 6
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from mrigen.agreement import FIGURES, Image, agreement_of
from mrigen.labels import Cell, Modality, Pathology
from mrigen.phantom import make_subject
from mrigen.pipeline import Pipeline
from mrigen.preprocess import prepare_images
from mrigen.samples import SampleRequest, sample_seed
from mrigen.volume import Volume

SHOWN = (Modality.T1W, Modality.T2W, Modality.FLAIR)
SAMPLE_SEED, PHANTOM_SEED = 3, 7


def synthetic(pipeline: Pipeline, count: int) -> list[Sequence[Image]]:
    """Persons as `mrigen generate --subjects` draws them, in the order of their slices."""
    seeds = [sample_seed(SAMPLE_SEED, Pathology.HEALTHY, index) for index in range(count)]
    cells = [Cell(Pathology.HEALTHY, modality) for modality in SHOWN]
    samples = pipeline.sample([SampleRequest(cell, seed, pipeline.config.sampler) for seed in seeds for cell in cells])
    persons = [samples[k : k + len(SHOWN)] for k in range(0, len(samples), len(SHOWN))]
    persons.sort(key=lambda person: person[0].slice_mm)
    return [[sample.image for sample in person] for person in persons]


def real(pipeline: Pipeline, count: int) -> list[Sequence[Image]]:
    """Two slices of each of half as many subjects, the same heights side by side."""
    lower: list[Sequence[Image]] = []
    upper: list[Sequence[Image]] = []
    for number in range(count // 2):
        subject = make_subject(PHANTOM_SEED, number * len(Pathology), pipeline.config.data.spacing_mm)
        scans = (Volume(subject.images[modality], subject.affine) for modality in SHOWN)
        images = [prepare_images(scan, pipeline.config.data, subject="a").images for scan in scans]
        for found, third in ((lower, 1), (upper, 2)):
            found.append([own[third * len(own) // 3].image for own in images])
    return [*lower, *upper]


def main(count: int) -> None:
    pipeline = Pipeline.load()
    for name, draw in (("phantom", real), ("synthetic", synthetic)):
        found = agreement_of([draw(pipeline, count)])
        assert found is not None
        for figure in FIGURES:
            told = f"one person {found.same[figure]:.2f}, two {found.others[figure]:.2f}"
            print(f"{name}, {figure}: {told}", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
