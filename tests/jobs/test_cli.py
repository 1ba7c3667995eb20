"""The command line as a user meets it: help that says what each option does, and errors of one line."""

from __future__ import annotations

import os
import re
import runpy
import shutil
from pathlib import Path

import click
import pytest

from jobs.cli import VERBS, cli
from mrigen import __version__
from mrigen.config import load_config
from mrigen.errors import InputError
from mrigen.storage import Location
from tests.command import mrigen


def test_help_lists_every_verb_with_its_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert mrigen("--help") == 0
    printed = capsys.readouterr().out
    for verb, line in VERBS.items():
        assert re.search(rf"^  {verb} +{re.escape(line.split()[0])}", printed, re.MULTILINE)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert mrigen("--version") == 0
    assert capsys.readouterr().out == f"mrigen, version {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_each_verb_explains_itself(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert mrigen(verb, "--help") == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    assert printed.out.startswith(f"Usage: mrigen {verb}")
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    assert command.help, f"{verb} has no help text"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{verb} {parameter.opts[0]} has no help text"
            assert parameter.opts[0] in printed.out
            assert parameter.help.endswith((".", "]")), f"{verb} {parameter.opts[0]}: help is no sentence"
        else:
            for name in parameter.human_readable_name.replace("...", "").split():
                assert name in command.help, f"{verb}: {name} is not explained"
    assert max(map(len, printed.out.splitlines())) <= 100


@pytest.fixture
def places(tmp_path: Path) -> dict[str, str]:
    """Paths for the table below: what is there, what is not, and what is of the wrong kind."""
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("not a scan\n")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").touch()
    (tmp_path / "bad.yaml").write_text("autoencoder: [1, 2\n")
    (tmp_path / "wrong.yaml").write_text("autoencoder:\n  training:\n    num_stepz: 5\n")
    (tmp_path / "short.csv").write_text("path,subject\na.nii.gz,1\n")
    return {
        name: str(tmp_path / name)
        for name in ("empty", "none", "out", "taken", "file.txt", "bad.yaml", "wrong.yaml", "short.csv")
    }


@pytest.mark.parametrize(
    ("line", "named"),
    [
        # verbs and options
        ("generat", "generat"),
        ("generate --outt {out}", "--outt"),
        ("prepare {empty}", "RUN"),
        ("phantom {out} --subjects", "--subjects"),
        # paths
        ("prepare {none} {out}", "{none}"),
        ("prepare {empty} {out}", "{empty}"),
        ("prepare {short.csv} {out}", "modality"),
        ("train-vae {none}", "{none}"),
        ("encode {none}", "{none}"),
        ("encode {empty}", "train-vae"),
        ("audit {none}", "{none}"),
        ("usefulness {none}", "{none}"),
        ("reader-study build {none} --out {out}", "{none}"),
        ("reader-study score {empty}", "no key.json in {empty}"),
        ("ablate {none}", "{none}"),
        ("phantom {taken} --subjects 4", "other files"),
        ("phantom nosuch://x --subjects 4", "nosuch"),
        ("generate --out {file.txt}", "is a file: name a folder to write to"),
        ("train-ldm {none}", "{none}"),
        ("evaluate {none}", "{none}"),
        ("generate --model {none} --out {out}", "{none}"),
        ("generate --model {empty} --out {out}", "{empty}"),
        ("serve --model {none}", "{none}"),
        ("generate --out gopher://host/out", "gopher"),
        # labels
        ("generate --out {out} --cells Glioblastoma:FLARE", "FLAIR"),
        ("generate --out {out} --cells Gliobastoma:FLAIR", "Glioblastoma"),
        ("generate --out {out} --cells FLAIR", "PATHOLOGY:MODALITY"),
        ("generate --out {out} --cells=", "PATHOLOGY:MODALITY"),
        # numbers
        ("generate --out {out} --per-cell 0", "--per-cell"),
        ("generate --out {out} --per-cell many", "many"),
        ("generate --out {out} --seed -1", "--seed"),
        ("phantom {out} --subjects 0", "--subjects"),
        ("phantom {out} --subjects two", "two"),
        ("phantom {out} --subjects 4 --spacing-mm nan", "--spacing-mm"),
        ("train-vae {empty} --num-workers 0", "--num-workers"),
        ("serve --port 99999", "99999"),
        # settings
        ("prepare {empty} {out} --preset quik", "quick"),
        ("train-vae {empty} --preset quik", "quick"),
        ("prepare {empty} {out} --config {none}", "{none}"),
        ("prepare {empty} {out} --config {bad.yaml}", "{bad.yaml}"),
        ("prepare {empty} {out} --config {wrong.yaml}", "num_steps"),
        ("train-vae {empty} --set autoencoder.training.num_stepz=5", "num_steps"),
        ("train-vae {empty} --set autoencoder.training.num_steps=-1", "autoencoder.training.num_steps"),
        ("train-vae {empty} --set seed", "key.path=value"),
        ("generate --out {out} --cells Healthy:T1w --num-steps 0", "num_steps"),
        ("generate --out {out} --cells Healthy:T1w --guidance-scale nan", "guidance_scale"),
        ("generate --out {out} --cells Healthy:T1w --precision bf8", "precision: Input should be 'fp32' or 'bf16'"),
        ("generate --out {out} --cells Healthy:T1w --compute-batch 0", "compute_batch"),
        ("generate --out {out} --cells Healthy:T1w --solver eulr", "eulr"),
        ("generate --out {out} --cells Healthy:T1w --slice-mm 400", "--slice-mm 400 lies outside"),
        ("generate --out {out} --cells Sclerosis:PD", "--allow-untrained"),
        (
            "generate --out {out} --format tiff",
            "--format 'tiff': known are bids, webdataset, huggingface, previews, parquet",
        ),
        (
            "generate --out {out} --cells Healthy:T1w --plan {short.csv}",
            "only one of --cells, --plan, --balance and --subjects",
        ),
        ("verify {none}", "OUT: no folder {none}"),
        ("verify {empty}", "holds no plan.json: name a folder that `mrigen generate` wrote"),
        ("generate --out {out} --plan {short.csv}", "{short.csv}, row 1: unknown column 'path'"),
    ],
)
def test_bad_input_ends_with_one_line_that_names_it(
    line: str, named: str, places: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    def fill(text: str) -> str:
        return re.sub(r"\{([^}]+)\}", lambda match: places[match[1]], text)

    assert mrigen(*map(fill, line.split())) == 2
    printed = capsys.readouterr()
    lines = [text for text in printed.err.splitlines() if text.strip()]
    assert lines[-1].startswith("mrigen: error: ")
    assert fill(named) in lines[-1]
    assert not [text for text in lines[:-1] if "error" in text.casefold()], printed.err
    assert "Traceback" not in printed.out + printed.err
    assert not Path(places["out"]).exists(), "a refused command left output behind"


@pytest.mark.parametrize("preset", ["tiny", "quick"])
def test_the_resolved_configuration_can_be_printed_and_read_again(
    preset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = tmp_path, tmp_path / "run"
    assert mrigen("prepare", *places, "--preset", preset, "--set", "seed=7", "--print-config") == 0
    assert load_config("quick", capsys.readouterr().out) == load_config(preset, None, ["seed=7"])


def test_what_only_reads_a_run_does_not_ask_to_write_there(
    tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(place: Location) -> None:
        if not place.path.startswith(str(tmp_path)):
            raise InputError(f"cannot write to {place}")

    monkeypatch.setattr(Location, "require_writable", refuse)
    for line in ("prepare {empty} {run}", "train-vae {run}", "evaluate {run}", "quickstart --out {run}"):
        assert mrigen(*line.format(run=tiny_run, empty=tmp_path).split(), "--print-config") == 0
    assert mrigen("audit", tiny_run, "--samples", tmp_path, "--out", tmp_path / "out") == 2
    assert f"no Parquet file in {tmp_path / 'manifest'}" in capsys.readouterr().err
    assert mrigen("evaluate", tiny_run, "--out", tmp_path / "out") == 2
    assert f"cannot write to {tiny_run}" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["evaluate", "audit", "ablate", "usefulness"])
def test_a_result_does_not_go_into_a_folder_of_something_else(
    verb: str, tiny_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "index.html").write_text("mine")
    assert mrigen(verb, tiny_run, "--out", tmp_path) == 2
    assert re.search(rf"{tmp_path} is not empty and holds no \w+\.json: use a new folder", capsys.readouterr().err)
    assert (tmp_path / "index.html").read_text() == "mine"


def test_training_without_ray_tells_faults_as_the_command_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr("sys.argv", ["mrigen.training", str(tmp_path / "file" / "run"), "--phantom", "4"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module("mrigen.training", run_name="__main__")
    assert ended.value.code == os.EX_IOERR
    assert re.fullmatch(r"python -m mrigen.training: error: \[Errno 20\] .*\n", capsys.readouterr().err)


def test_a_relative_output_is_refused_under_a_ray_job(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert mrigen("generate", "--per-cell", 1, "--out", "samples") == 2
    assert "absolute path" in capsys.readouterr().err
    assert not Path("samples").exists()


@pytest.mark.parametrize("stage", ["vae", "ldm"])
def test_a_finished_training_starts_no_worker(tiny_run, tmp_path, monkeypatch, stage, capsys):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    monkeypatch.setattr("jobs.train_workers.connect", lambda placement: pytest.fail("a cluster was joined"))
    assert mrigen(f"train-{stage}", run) == 0
    assert str(run / ("vae" if stage == "vae" else "model")) in capsys.readouterr().out


def test_other_settings_are_refused_before_any_worker_and_leave_those_of_the_run(
    tiny_run, tmp_path, monkeypatch, capsys
):
    run = shutil.copytree(tiny_run, tmp_path / "run")
    stored = (run / "config.json").read_bytes()
    monkeypatch.setattr("jobs.train_workers.connect", lambda placement: pytest.fail("a cluster was joined"))
    assert mrigen("train-vae", run, "--set", "seed=1") == 2
    assert "(seed was 0, is 1)" in capsys.readouterr().err
    assert (run / "config.json").read_bytes() == stored
