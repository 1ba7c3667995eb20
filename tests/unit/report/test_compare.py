from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from mrigen.config import Config
from mrigen.errors import InputError
from mrigen.metrics.figure import Figure
from mrigen.report.compare import comparison_text, read_metrics
from mrigen.report.text import metrics_json
from mrigen.storage import Location
from tests.unit.report.report_fakes import LEAD, some_evaluation


def written(folder: Path, changes: dict[str, Figure] | None = None, **top: Any) -> Location:
    tree = metrics_json(some_evaluation(changes), Config(), [], {}, {})
    Location.parse(folder / "report" / "metrics.json").write_json({**tree, **top})
    return Location.parse(folder)


def compared(tmp_path: Path, changes: dict[str, Figure] | None = None, *, cells: bool = False, **top: Any) -> list[str]:
    first, second = written(tmp_path / "a"), written(tmp_path / "b", changes, **top)
    return comparison_text(read_metrics(first), read_metrics(second), cells=cells).splitlines()


def test_figures_stand_side_by_side_and_intervals_apart_are_marked(tmp_path: Path) -> None:
    lines = compared(tmp_path, {f"{LEAD}/kid": Figure.of(0.2, 17, (0.1, 0.3)), f"{LEAD}/fid": Figure.missing("few")})
    start = next(i for i, line in enumerate(lines) if line.split()[:1] == [f"{LEAD}/kid"])
    assert lines[start].split() == [f"{LEAD}/kid", "A", "B"]
    shown = ["All trained cells", "0.500 (0.400 to 0.600)", "0.200 (0.100 to 0.300)", "*"]
    assert re.split(r" {2,}", lines[start + 1]) == shown
    precision = next(i for i, line in enumerate(lines) if line.split()[:1] == [f"{LEAD}/precision"])
    assert not lines[precision + 1].endswith("*")
    fid = next(i for i, line in enumerate(lines) if line.split()[:1] == [f"{LEAD}/fid"])
    assert lines[fid + 1].split()[-2:] == ["none", "(1)"]
    assert "(1) few" in lines
    assert lines[-1].startswith("* the 95 % intervals")
    assert "Healthy:T1w" not in "\n".join(lines)
    assert "nan" not in "\n".join(lines).lower()


def test_cells_are_shown_when_asked_for(tmp_path: Path) -> None:
    assert any(line.startswith("Healthy:T1w") for line in compared(tmp_path, cells=True))


def test_a_report_folder_or_the_file_itself_will_do(tmp_path: Path) -> None:
    run = written(tmp_path)
    assert read_metrics(run) == read_metrics(run / "report") == read_metrics(run / "report" / "metrics.json")


def test_other_held_out_images_and_other_autoencoders_are_told(tmp_path: Path) -> None:
    settings = metrics_json(some_evaluation(), Config(), [], {}, {})["settings"]
    own = {**settings["extractors"], "autoencoder": {"identity": "other", "used": True}}
    lines = compared(tmp_path, held_out_sha256="cd" * 32, settings={**settings, "extractors": own})
    assert "held against different images" in lines[2]
    assert "different autoencoders" in lines[3]
    assert not any(line.startswith("autoencoder/kid") for line in lines)


@pytest.mark.parametrize(
    ("top", "message"),
    [
        ({"split": "val"}, 'split is "test" and "val"'),
        ({"feature_size": 64}, "feature_size is 128 and 64"),
        ({"extractors": {"autoencoder": {"identity": "x", "used": True}}}, "extractors is .* and .*autoencoder"),
        ({"ms_ssim_betas": [1.0]}, "ms_ssim_betas"),
    ],
)
def test_what_does_not_compare_is_refused(tmp_path: Path, top: dict[str, Any], message: str) -> None:
    if "split" not in top:
        settings = metrics_json(some_evaluation(), Config(), [], {}, {})["settings"]
        top = {"settings": {**settings, **top}}
    with pytest.raises(InputError, match=message):
        compared(tmp_path, **top)


def test_files_that_are_not_metrics_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no metrics.json in .*: run `mrigen evaluate` first"):
        read_metrics(Location.parse(tmp_path))
    with pytest.raises(InputError, match="schema_version is 99, not 1: run `mrigen evaluate` anew"):
        read_metrics(written(tmp_path, schema_version=99))
    with pytest.raises(InputError, match="is not as `mrigen evaluate` writes it: KeyError"):
        read_metrics(written(tmp_path, rows=[{"name": "x"}]))
