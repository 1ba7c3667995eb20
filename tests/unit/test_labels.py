"""Spellings that users type."""

from __future__ import annotations

import pickle
import re

import pytest

from mrigen.errors import InputError
from mrigen.labels import Cell, Modality, Pathology, all_cells

SPELLINGS: dict[Pathology | Modality, list[str]] = {
    Pathology.HEALTHY: ["Healthy", "healthy", "HC", "control", "CN", " normal "],
    Pathology.GLIOBLASTOMA: ["Glioblastoma", "GBM", "gbm", "HGG"],
    Pathology.SCLEROSIS: ["Sclerosis", "MS", "multiple sclerosis", "Multiple-Sclerosis", "RRMS"],
    Pathology.DEMENTIA: ["Dementia", "AD", "Alzheimer's disease", "alzheimer"],
    Modality.T1W: ["T1w", "T1", "t1n", "MPRAGE"],
    Modality.T1CE: ["T1ce", "t1c", "T1gd", "T1-Gd", "T1POST", "T1wks"],
    Modality.T2W: ["T2w", "T2", "t2"],
    Modality.FLAIR: ["FLAIR", "Flair", "flair", "T2f", "T2-FLAIR"],
    Modality.PD: ["PD", "PDw", "DP", "proton density"],
}
MISSPELT: dict[Pathology | Modality, list[str]] = {
    Pathology.GLIOBLASTOMA: ["Glioblastom"],
    Pathology.DEMENTIA: ["demenita"],
    Modality.T1CE: ["t1gdd"],
    Modality.T2W: ["T2ww"],
    Modality.FLAIR: ["Flare"],
    Modality.PD: ["protondensitiy"],
}


@pytest.mark.parametrize(("known", "text"), [(label, text) for label, texts in SPELLINGS.items() for text in texts])
def test_labels_are_read_as_people_write_them(known: Pathology | Modality, text: str) -> None:
    assert type(known).parse(text) is known


@pytest.mark.parametrize(("meant", "text"), [(label, text) for label, texts in MISSPELT.items() for text in texts])
def test_an_unknown_label_lists_the_known_and_the_nearest(meant: Pathology | Modality, text: str) -> None:
    kind = type(meant)
    told = f"unknown {kind.__name__.lower()} '{text}': known are {', '.join(kind)}; did you mean {meant}?"
    with pytest.raises(InputError, match=re.escape(told)):
        kind.parse(text)


@pytest.mark.parametrize("text", ["", "?!", "x" * 10_000, "T1w\nT2w" * 40, "\0"])
def test_nonsense_is_one_short_line(text: str) -> None:
    for parse in (Pathology.parse, Modality.parse):
        with pytest.raises(InputError) as caught:
            parse(text)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize("text", ["GBM:T1ce", "glioblastoma/t1gd", "HGG, T1c"])
def test_a_cell_is_a_pair(text: str) -> None:
    assert Cell.parse(text) == Cell(Pathology.GLIOBLASTOMA, Modality.T1CE)


@pytest.mark.parametrize("text", ["GBM", "GBM:T1:FLAIR", "", ":"])
def test_half_a_cell_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        Cell.parse(text)


def test_there_are_twenty_cells_and_each_is_spelt_as_it_is_read() -> None:
    cells = all_cells()
    assert len(set(cells)) == len(cells) == 20
    assert [Cell.parse(str(cell)) for cell in cells] == cells
    assert [(cell.pathology.row, cell.modality.row) for cell in cells] == [(p, m) for p in range(4) for m in range(5)]


def test_labels_are_their_own_text_and_travel() -> None:
    for cell in all_cells():
        assert pickle.loads(pickle.dumps(cell)) == cell  # noqa: S301
        assert Modality(cell.modality.value) is cell.modality
    assert f"{Modality.T1CE}" == "T1ce"
