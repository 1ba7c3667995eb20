"""What is asked for, in every way that it can be said."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mrigen.cohort.order import CohortOrder, Kind
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality, all_cells
from mrigen.storage import Location
from tests.fake_run import write_data

KNOWN = [cell for cell in all_cells() if cell != Cell.parse("MS:PD")]


def asked(**fields) -> dict[str, int]:
    return {str(kind): count for kind, count in CohortOrder(**fields).quotas(KNOWN).items()}


def test_cells_are_named_one_by_one_or_by_stars_and_the_last_word_counts():
    said = asked(cells="ms:*=200,GBM:T1ce=5000,HC:t1,MS:T2=7", per_cell=3)
    assert said == {
        "Healthy:T1w": 3,
        "Glioblastoma:T1ce": 5000,
        "Sclerosis:T1w": 200,
        "Sclerosis:T1ce": 200,
        "Sclerosis:T2w": 7,
        "Sclerosis:FLAIR": 200,
    }
    assert asked(cells="*:PD=1").keys() == {"Healthy:PD", "Glioblastoma:PD", "Dementia:PD"}
    assert asked(cells="MS:PD=2") == {"Sclerosis:PD": 2}  # whether it may be made is not asked here
    assert asked() == {str(cell): 4 for cell in KNOWN}


def test_subjects_are_asked_for_in_all_their_modalities():
    shown = (Modality.T1W, Modality.PD)
    assert asked(subjects="3,MS=2,GBM=0", modalities=shown) == {
        "Healthy:T1w": 3,
        "Healthy:PD": 3,
        "Sclerosis:T1w": 2,  # whether it may be made is not asked here
        "Sclerosis:PD": 2,
        "Dementia:T1w": 3,
        "Dementia:PD": 3,
    }


@pytest.mark.parametrize("name", ["plan.yaml", "rows.yaml", "plan.csv", "plan.parquet"])
def test_a_table_names_conditions_and_counts(tmp_path, name):
    rows = [
        {"pathology": "MS", "modality": "T2", "slice_mm": None, "count": 5},
        {"pathology": "HC", "modality": "T1", "slice_mm": 12.5, "count": 2},
        {"pathology": "HC", "modality": "T1", "slice_mm": 12.5, "count": 1},
    ]
    texts = {
        "plan.yaml": "MS:T2: 5\n",
        "rows.yaml": "".join(f"- {{{', '.join(f'{k}: {v}' for k, v in row.items() if v)}}}\n" for row in rows),
        "plan.csv": "modality,pathology,count,slice_mm\nT2,MS,5,\nT1,HC,2,12.5\nT1,HC,,12.50\n",
    }
    if name in texts:
        (tmp_path / name).write_text(texts[name])
    else:
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    at_a_height = {"Healthy:T1w@12.5": 3} if name != "plan.yaml" else {}
    assert asked(table=Location.parse(tmp_path / name)) == at_a_height | {"Sclerosis:T2w": 5}


def test_the_table_of_the_guide_is_read(tmp_path):
    guide = (Path(__file__).parents[3] / "docs/guides/generate.md").read_text(encoding="utf-8")
    start = guide.index("    pathology,modality")
    block = guide[start : guide.index("\n\n", start)]
    (tmp_path / "plan.csv").write_text("\n".join(line[4:] for line in block.splitlines()))
    said = asked(table=Location.parse(tmp_path / "plan.csv"))
    assert said["Glioblastoma:T1ce@20"] == 2
    assert said["Sclerosis:FLAIR"] == 1
    assert len(said) == 2 + 4  # Sclerosis:PD is not known


def test_what_real_data_lacks_is_filled_up(tmp_path):
    write_data(tmp_path, [Cell.parse("HC:T1"), Cell.parse("MS:T2")], {"train": 2, "val": 3}, slices=5)
    write_data(tmp_path / "more", [Cell.parse("HC:T1")], {"train": 1}, slices=4)
    (tmp_path / "more/data/part-00000.parquet").rename(tmp_path / "data/part-00009.parquet")
    lacking = asked(balance=Location.parse(tmp_path))
    assert "Healthy:T1w" not in lacking
    assert (lacking["Sclerosis:T2w"], lacking["Dementia:PD"], len(lacking)) == (2, 12, 18)
    assert asked(balance=Location.parse(tmp_path / "data"), per_cell=11)["Sclerosis:T2w"] == 1


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"cells": "HC:T1=some"}, "--cells HC:T1=some: 'some' is no number of samples"),
        ({"cells": "HC:T1=1.5"}, "'1.5' is no number of samples"),
        ({"cells": "HC:T1=-1"}, "'-1' is no number of samples, 0 to 1,000,000,000"),
        ({"cells": "HC:T1=inf"}, "--cells HC:T1=inf: 'inf' is no number of samples"),
        ({"cells": "HC:T1=1e10"}, "'1e10' is no number of samples"),
        ({"cells": "HC:T1="}, "--cells HC:T1=: '' is no number of samples"),
        ({"per_cell": 10**10}, "--per-cell: '10000000000' is no number of samples"),
        ({"cells": "HC"}, "cell 'HC' is not of the form"),
        ({"cells": "HC:T1", "balance": Location.parse("x")}, "only one of --cells, --plan, --balance and"),
        ({"subjects": "3"}, "--subjects and --modalities go together: --subjects 100 --modalities T1w,T2w,FLAIR"),
        ({"subjects": "MS=x", "modalities": (Modality.T1W,)}, "--subjects MS=x: 'x' is no number of samples"),
        ({"table": ("t.yaml", "HC:T1: 1\nHC:T1: 2\n")}, "t.yaml is not YAML: 'HC:T1' is given twice in"),
        ({"table": ("t.json", '{"HC:T1": 1}')}, "t.json is no .yaml, .csv, .tsv, .parquet file"),
        ({"table": ("t.yaml", "HC:T1: 1\n"), "per_cell": 5}, "--per-cell has no say beside --plan"),
        ({"table": ("t.csv", "modality,pathology,count\nT1,HC,inf\n")}, "row 1: 'inf' is no number of samples"),
        (
            {"table": ("t.csv", "modality,pathology,age\nT1,HC,3\n")},
            "row 1: unknown column 'age': known are pathology, modality",
        ),
        ({"table": ("t.csv", "modality,pathology,slice_mm\nT1,HC,top\n")}, "row 1: slice_mm 'top' is no number"),
        ({"table": ("t.csv", "pathology\nHC\n")}, "row 1: no modality"),
    ],
)
def test_what_cannot_be_understood_is_told_by_where_it_stands(tmp_path, fields, told):
    if "table" in fields:
        name, text = fields["table"]
        (tmp_path / name).write_text(text)
        fields = fields | {"table": Location.parse(tmp_path / name)}
    with pytest.raises(InputError) as error:
        asked(**fields)
    assert told in str(error.value)


def test_a_kind_is_read_as_it_is_written():
    for kind in (Kind(Cell.parse("HC:T1")), Kind(Cell.parse("HC:T1"), -0.25)):
        assert Kind.parse(str(kind)) == kind
