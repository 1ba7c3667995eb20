"""The guide "Generating a data set": its commands give what it prints, and what it reads by is true."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs.verbs.generate import command as generate
from jobs.verbs.verify import command as verify
from mrigen.cohort.order import CohortOrder
from mrigen.each import one_by_one
from mrigen.labels import Cell, all_cells
from mrigen.pipeline import Pipeline
from mrigen.samples import Sample, SampleRequest
from mrigen.stages.generate import generate_run
from mrigen.storage import Location
from mrigen.training.__main__ import command as train_here
from tests.command import mrigen
from tests.fake_run import made_up_image, tiny_config, write_data

GUIDE = Path(__file__).parents[2] / "docs/guides/generate.md"
BLOCKS = [block.replace("\n    ", "\n") for block in re.findall(r"(?<=\n\n    ).*(?:\n    .*)*", GUIDE.read_text())]
COMMANDS = re.findall(r"^((?:mrigen|rm) .*)\n((?:(?!mrigen |rm |\n).+\n)*)", "\n\n".join(BLOCKS) + "\n", re.MULTILINE)
"""With what each prints."""
READERS = [block for block in BLOCKS if block.startswith("import ") and "mrigen" not in block]
HOME = "/home/me"
"""Where the guide's user works."""
DRAWN = Pipeline.sample
OF_MINE = re.findall(
    r"^    (mrigen (?:generate|evaluate|audit) .*runs/mine.*)$",
    GUIDE.with_name("training.md").read_text() + GUIDE.read_text(),
    re.MULTILINE,
)
"""What the guides do with a trained run of the user's."""


@pytest.fixture(scope="module")
def read(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data set that the guide reads, drawn in one step."""
    [line] = [line for block in BLOCKS for line in block.splitlines() if "--out out/read" in line]
    words = dict(zip(*[iter(shlex.split(line)[2:])] * 2, strict=True))
    formats = words["--format"].split(",")
    order = CohortOrder(words["--cells"], formats=formats, redraws=0, sampler={"num_steps": 1}, shard_size=3)
    folder = tmp_path_factory.mktemp("guide")
    generate_run(Location.parse(folder / words["--out"]), None, one_by_one, order)
    return folder


def test_every_reader_of_the_guide_finds_the_same_images_without_mrigen(read: Path) -> None:
    readers = [code for code in READERS if all(map(find_spec, re.findall(r"webdataset|datasets", code.split("\n")[0])))]
    code = "import sys, numpy\n"
    for number, reader in enumerate(readers):
        code += f"{reader}\nprint(*labels)\nnumpy.save('{number}', numpy.stack(images))\n"
    code += "assert not {'mrigen', 'ray'} & sys.modules.keys()\n"
    environment = os.environ | {"HF_HOME": str(read / "cache")}
    done = subprocess.run([sys.executable, "-c", code], cwd=read, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    table = pq.read_table(read / "out/read/manifest")
    expected = table["image"].combine_chunks().to_numpy_ndarray()
    assert expected.shape == (8, 128, 128)
    for number in range(len(readers)):
        np.testing.assert_allclose(np.load(read / f"{number}.npy"), np.clip(expected, -1, 1), atol=2e-3)
    labels = " ".join(f"{row['pathology']}:{row['modality']}" for row in table.to_pylist())
    assert done.stdout.splitlines() == [labels] * len(readers)
    assert len(readers) >= 3


def told(text: str) -> str:
    """What is printed, without what differs from machine to machine."""
    lines = [line.strip() for line in text.strip().splitlines()]
    masked = [re.sub(r"\d[\d.:]*", "#", line) if line.startswith(("time:", "disk:")) else line for line in lines]
    return "\n".join(masked)


def pattern_of(printed: str) -> str:
    """What matches the text that the guide prints; `...` stands there for any lines."""
    return "(.|\n)*".join(map(re.escape, told(printed).split("...")))


def made_up(pipeline: Pipeline, requests: Sequence[SampleRequest]) -> list[Sample]:
    samples = DRAWN(pipeline, requests)
    for sample in samples:
        sample.image[:] = made_up_image("new", sample.request.seed)
    return samples


def test_the_commands_of_the_guide_have_every_option_that_this_machine_can_run() -> None:
    given = {option for command, _ in COMMANDS for option in re.findall(r"--[a-z-]+", command)}
    known = {option for verb in (generate, verify) for one in verb.params for option in one.opts if option[0] == "-"}
    assert known - given == {"--address", "--use-gpu", "--source"}  # of a model that tells sources apart
    assert [command for command, printed in COMMANDS if command.startswith("mrigen") and not printed] == []


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_every_command_of_the_guide_prints_what_it_says(
    no_ray: None,
    tiny_run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    [table] = [block for block in BLOCKS if block.startswith("pathology,modality,slice_mm,count")]
    Path("wanted.csv").write_text(table)
    write_data(Path("runs/mine"), all_cells(), {"train": 2, "test": 4, "val": 7})
    shutil.copytree(tiny_run / "model", "runs/mine/model")
    shutil.copy(tiny_run / "config.json", "runs/mine")
    for command, printed in COMMANDS:
        with monkeypatch.context() as patched:
            if command.startswith("rm "):
                subprocess.run(command, shell=True, check=True)
                continue
            if "--model" in command:  # one that was hardly trained
                patched.setattr(Pipeline, "sample", made_up)
            assert mrigen(*shlex.split(command)[1:]) == int(" 1 differences" in printed), command
        out = capsys.readouterr().out.replace(str(tmp_path), HOME)
        if printed:
            assert re.fullmatch(pattern_of(printed), told(out)), (command, out)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_guides_commands_do_with_one_pathology_and_two_modalities(
    no_ray: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run, cells = Path("runs/mine"), {("Sclerosis", "T1w"), ("Sclerosis", "FLAIR")}
    write_data(run, [Cell.parse(":".join(cell)) for cell in cells], {"train": 2, "test": 4, "val": 7})
    (run / "config.json").write_text(tiny_config().model_dump_json())
    train_here.main([str(run)], standalone_mode=False)
    assert cells_of(run / "samples") == cells
    shutil.rmtree(run / "samples")
    monkeypatch.setattr(Pipeline, "sample", made_up)  # those of eight steps are no scans
    assert len(OF_MINE) > 3
    for command in OF_MINE:
        assert mrigen(*shlex.split(command, comments=True)[1:]) == 0, command
    assert cells_of(run / "samples") == cells_of(Path("out/balanced")) == cells_of(Path("out/checked")) == cells


def cells_of(folder: Path) -> set[tuple[str, ...]]:
    return {
        tuple(row.values()) for row in pq.read_table(folder / "manifest", columns=["pathology", "modality"]).to_pylist()
    }
