"""The commands of all pages are such as the command line takes; those of the guide "Your own data" are run as they are
printed, on trees that imitate what it names."""

from __future__ import annotations

import os
import re
import shlex
from dataclasses import fields
from pathlib import Path

import click
import pyarrow.parquet as pq
import pytest

from jobs.cli import cli
from mrigen.cohort.order import CohortOrder
from mrigen.cohort.shard import FORMATS
from mrigen.config import SamplerConfig
from mrigen.labels import all_cells
from mrigen.records import read_table
from mrigen.run import resolve_config
from mrigen.sources.options import parse_options
from mrigen.stages.gates import GATES
from mrigen.storage import Location
from mrigen.training.__main__ import command as train_here
from tests.command import mrigen
from tests.fake_scans import write_bids, write_scan
from tests.trees import write_tree

ROOT = Path(__file__).parents[2]
GUIDE = ROOT / "docs/guides/your-own-data.md"
PAGES = [ROOT / "README.md", ROOT / "cluster/README.md", *(ROOT / "docs").glob("*.md"), *GUIDE.parent.glob("*.md")]
COMMANDS = [line.strip() for line in GUIDE.read_text(encoding="utf-8").splitlines() if line.startswith("    mrigen ")]
NEEDS_A_TOOL = "mri_synthstrip"
"""FreeSurfer's skull-stripper, which stands in the guide as an example."""


def write_what_the_guide_names(folder: Path) -> None:
    """BIDS, BraTS, IXI, OASIS-1 with its table, a folder of no known layout, a manifest, a list of sources and one of
    splits."""
    write_bids(folder / "my-study", {"001": "MS", "002": "healthy"})
    write_tree("BraTS 2021", folder / "BraTS2021")
    write_tree("IXI", folder / "IXI")
    write_tree("OASIS-1", folder / "OASIS1")
    for number, name in enumerate(["a17_t1", "a17_t1gd", "b02_pd"]):
        write_scan(folder / f"scans/{name}.nii.gz", 900 + number)
    for number, name in enumerate(["p01_T1w", "p02_T1w"]):
        write_scan(folder / f"exported/{name}.nii.gz", 910 + number)
    text = GUIDE.read_text(encoding="utf-8")
    for name, first in (
        ("scans.csv", "path,subject"),
        ("my-study/split.csv", "subject,split"),
        ("sources.yaml", "- path: BraTS2021"),
    ):
        start = text.index(f"    {first}")
        block = text[start : text.index("\n\n", start)]
        (folder / name).write_text("\n".join(line[4:] for line in block.splitlines()))


def test_every_command_does_what_the_guide_says(
    tmp_path: Path,
    no_ray: None,
    no_data_page: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_what_the_guide_names(tmp_path)
    monkeypatch.chdir(tmp_path)
    for command in COMMANDS:
        if NEEDS_A_TOOL in command:
            assert mrigen(*shlex.split(command)[1:]) == 2
            assert NEEDS_A_TOOL in capsys.readouterr().err
        else:
            assert mrigen(*shlex.split(command)[1:]) == 0, command
    columns = ["subject", "pathology", "modality", "split", "slice_mm"]
    assert pq.read_table("runs/mine/data", columns=columns).num_rows == pq.read_table("runs/mine/data").num_rows > 10
    assert pq.read_table("runs/mine/quarantine").num_rows == 0
    labels = {
        run: {(row["subject"], row["pathology"]) for row in read_table(Location.parse(run) / "data").to_pylist()}
        for run in sorted(f"runs/{name}" for name in os.listdir("runs"))
    }
    assert labels["runs/mine"] == {("001", "Sclerosis"), ("002", "Healthy")}
    assert labels["runs/mapped"] == {("001", "Sclerosis")}
    assert {pathology for _, pathology in labels["runs/brats"]} == {"Glioblastoma"}
    assert {pathology for _, pathology in labels["runs/ixi"]} == {"Healthy"}
    assert {pathology for _, pathology in labels["runs/oasis"]} == {"Healthy", "Dementia"}
    assert labels["runs/table"] == {("a17", "Glioblastoma"), ("b02", "Sclerosis")}
    assert {pathology for _, pathology in labels["runs/given"]} == {"Healthy"}
    told = read_table(Location.parse("runs/told") / "data", ["subject", "split"]).to_pylist()
    assert {tuple(row.values()) for row in told} == {("001", "test"), ("002", "train")}
    assert {pathology for _, pathology in labels["runs/all"]} == {"Glioblastoma", "Healthy", "Dementia", "Sclerosis"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_command_line_takes_every_command_that_a_page_prints(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    text = page.read_text(encoding="utf-8").replace("\\\n", "")
    for line in re.findall(r"^    (?:.* -- )?(mrigen [a-z].*|python -m mrigen\.training .*)$", text, re.MULTILINE):
        if "[--" in line:  # all that a verb takes, not a command
            options = {name for option in verb_of(line.split()[1:])[0].params for name in option.opts}
            assert options.issuperset(re.findall(r"--[a-z-]+", line)), line
        elif " / " not in line:
            try:
                check_values(*shlex.split(line, comments=True))
            except Exception as error:
                raise AssertionError(f"{line}: {error}") from error


def verb_of(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command of a verb, and what is left of the words."""
    found: click.Command | None = cli
    while isinstance(found, click.Group):
        found, words = found.get_command(click.Context(found), words[0]), words[1:]
    assert found is not None
    return found, words


def check_values(program: str, *words: str) -> None:
    """Parse a command line, and read the values that its verb would read later."""
    verb, rest = (train_here, list(words[2:])) if program == "python" else verb_of(list(words))
    given = verb.make_context(verb.name, rest).params
    file = given.get("config_file")
    file = None if file is None or file.startswith("RUN/") else file
    resolve_config(None, given.get("preset"), file, given.get("overrides", ()))
    parse_options(given.get("source_options", ()))
    if verb.name == "generate":
        names = {field.name for field in fields(CohortOrder)} - {"table", "balance"} | {*SamplerConfig.model_fields}
        order = CohortOrder.of_words(**{name: value for name, value in given.items() if name in names})
        assert order.quotas(all_cells())
        assert {*(order.formats or ())} <= {*FORMATS}
        assert {*order.gates} <= {*GATES}
