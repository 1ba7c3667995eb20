"""The whole story on real scans: from files to samples that are judged and audited, and what the pages say of them."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from mrigen.records import read_table
from mrigen.storage import Location
from tests.command import mrigen

CELLS = {("Healthy", "T1w"), *(("Sclerosis", modality) for modality in ("T1w", "T1ce", "T2w", "FLAIR"))}
SETS = ("IXI", "open_ms_data cross-sectional, MNI", "open_ms_data longitudinal")


def text_of(page: Path) -> str:
    """What a reader of a page sees, in a line."""
    body = re.sub(r"<(style|head)>.*?</\1>|<[^>]*>", " ", page.read_text(), flags=re.DOTALL)
    return " ".join(html.unescape(body).split())


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.realdata
@pytest.mark.timeout(1800)
def test_from_real_scans_to_a_judged_data_set(real_data: Path, tmp_path: Path, ray_cluster: None) -> None:
    run = tmp_path / "run"
    pattern = ("--source-option", "pattern={subject}-*-*-{modality}.nii.gz", "--source-option", "pathology=Healthy")
    assert mrigen("prepare", real_data / "ixi_2mm", "--dry-run", *pattern) == 0
    assert mrigen("prepare", real_data, run, "--preset", "tiny", "--allow-mixed-heads") == 0
    rows = read_table(Location.parse(run) / "data", ["pathology", "modality", "subject", "split"]).to_pylist()
    assert {(row["pathology"], row["modality"]) for row in rows} == CELLS
    for pathology in ("Healthy", "Sclerosis"):
        assert {row["split"] for row in rows if row["pathology"] == pathology} == {"train", "val", "test"}
    for verb in ("train-vae", "encode", "train-ldm"):
        assert mrigen(verb, run) == 0
    drawn = ["--model", run / "model", "--out", run / "samples", "--per-cell", 12, "--redraws", 0]  # of eight steps
    assert mrigen("generate", *drawn) == 0
    assert mrigen("evaluate", run) == 0
    assert mrigen("audit", run) == 1  # with one held-out person a cell it cannot judge, and says so

    trained = {(row["pathology"], row["modality"]) for row in rows if row["split"] == "train"}
    samples = pq.read_table(run / "samples/manifest", columns=["pathology", "modality", "trained_cell"]).to_pylist()
    assert {(row["pathology"], row["modality"]) for row in samples} == trained
    assert len(samples) == 12 * len(trained)
    assert all(row["trained_cell"] for row in samples)

    named = [name for name in SETS if name in (run / "model/README.md").read_text()]
    assert len(named) > 1
    pages = {name: text_of(run / name) for name in ("data.html", "samples/index.html", "report/index.html")}
    pages["audit"] = text_of(run / "audit/index.html")
    for name, text in pages.items():
        assert "phantom cohort" not in text, name
        assert "nan" not in re.findall(r"[a-z]+", text), name
    assert f"trained on images from {', '.join(named)}" in pages["samples/index.html"]
    assert "a model would learn which pathology has no skull" in pages["data.html"]
    metrics = json.loads((run / "report/metrics.json").read_text())
    assert set(metrics["real"]["source"]) <= set(SETS)
    assert "Nothing could be judged." in pages["audit"]
    verdict = pages["report/index.html"].partition(" Verdict ")[2].partition(" Plots ")[0]
    assert "cannot be told" not in verdict  # so few people are no ground to say it
    assert "no single one has the 7 held-out subjects" in verdict or "there is no KID" in verdict
