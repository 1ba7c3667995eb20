"""`mrigen generate` on Ray: the same bytes whatever the workers and shards; bad input is told in one line."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import yaml

from jobs.placement import Placement
from jobs.serve.bulk.download import parquet_of
from jobs.showing import print_time
from mrigen.cohort.estimate import Estimate
from mrigen.cohort.order import CohortOrder
from mrigen.each import one_by_one
from mrigen.images.index import index_generated
from mrigen.process.lease import leased
from mrigen.stages.generate import generate_run
from mrigen.storage import Location
from tests.command import hashes, mrigen


@pytest.mark.ray
def test_workers_and_a_second_call_change_no_byte(ray_cluster, tiny_run, tmp_path, request, capsys):
    one, two = tmp_path / "one", tmp_path / "two"
    command = ["--model", tiny_run / "model", "--redraws", 0, "--per-cell", 1, "--seed", 3, "--allow-untrained"]
    command += ["--shard-size", 9]
    assert mrigen("generate", *command, "--out", two, "--num-workers", 2) == 0
    out = capsys.readouterr().out
    assert "1 *" in out
    assert f"page:     {two / 'index.html'}" in out
    order = CohortOrder(per_cell=1, seed=3, allow_untrained=True, shard_size=9, redraws=0)
    generate_run(Location.parse(one), Location.parse(tiny_run / "model"), one_by_one, order)
    written = hashes(one, "index.html")
    assert written == hashes(two, "index.html")
    request.getfixturevalue("no_ray")  # the rest is made here
    (two / "_SUCCESS.json").unlink()
    shutil.rmtree(two / "sub-DementiaPD0000000")
    (two / f"sub-DementiaT2w0000000/anat/.sub-DementiaT2w0000000_desc-synth_T2w.json.{'0a' * 16}.tmp").touch()
    assert mrigen("generate", *command, "--out", two) == 0
    assert written == hashes(two, "index.html")
    assert json.loads((two / "_SUCCESS.json").read_text())["num_samples"] == 20
    assert pq.read_table(two / "manifest").num_rows == 20


@pytest.mark.parametrize("asked", [["--per-cell", 1], ["--subjects", 2, "--modalities", "T1w,T1ce,FLAIR"]])
def test_the_data_set_is_valid_bids(no_ray, tmp_path, asked):
    command = ["--num-steps", 1, "--redraws", 0, *asked, "--allow-untrained"]
    assert mrigen("generate", *command, "--out", tmp_path / "o") == 0
    validator = Path(sys.executable).with_name("bids-validator-deno")
    result = subprocess.run([validator, "--format", "json", tmp_path / "o"], capture_output=True, text=True)
    issues = json.loads(result.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []
    assert result.returncode == 0
    assert ("Subjects of the phantom" in (tmp_path / "o/README.md").read_text()) == ("--subjects" in asked)


def test_arithmetic_and_batch_are_kept_with_each_sample(no_ray, tiny_run, tmp_path):
    command = ["generate", "--model", tiny_run / "model", "--redraws", 0, "--cells", "Healthy:T1w=3"]
    assert mrigen(*command, "--precision", "bf16", "--compute-batch", 2, "--out", tmp_path / "fast") == 0
    rows = pq.read_table(tmp_path / "fast" / "manifest", columns=["precision", "compute_batch"])
    assert rows.to_pylist() == [{"precision": "bf16", "compute_batch": 2}] * 3


def test_without_cells_those_that_the_model_was_trained_on_are_made(no_ray, tiny_run, tmp_path, capsys):
    command = ["generate", "--model", tiny_run / "model", "--redraws", 0, "--per-cell", 1]
    assert mrigen(*command, "--out", tmp_path / "known") == 0
    told = "these are the cells that the model was trained on: --allow-untrained makes the others too, marked"
    assert told in capsys.readouterr().out
    known = pq.read_table(tmp_path / "known" / "manifest")
    assert known.num_rows == 19
    assert set(known["trained_cell"].to_pylist()) == {True}
    assert mrigen(*command, "--out", tmp_path / "all", "--allow-untrained") == 0
    assert told not in capsys.readouterr().out
    assert pq.read_table(tmp_path / "all" / "manifest").num_rows == 20
    assert mrigen(*command, "--out", tmp_path / "no", "--cells", "MS:PD") == 2
    assert "(--cells Healthy:T1w,Healthy:T1ce," in capsys.readouterr().err


def test_the_command_of_the_model_card_works(no_ray, tiny_run, tmp_path):
    card = (tiny_run / "model" / "README.md").read_text()
    (line,) = [line for line in card.splitlines() if line.startswith("    mrigen generate")]
    places = {"FOLDER": tiny_run / "model", "OUT": tmp_path / "out", "10": "1"}  # samples of each cell
    assert mrigen(*[places.get(word, word) for word in line.split()[1:]], "--redraws", 0) == 0
    assert "`--cells Healthy:T1w`" in card
    for text, words in ((card, "brain"), ((tmp_path / "out/README.md").read_text(), "n<1K")):
        front = yaml.safe_load(text.split("---")[1])
        assert words in front["tags"] + front.get("size_categories", [])
    for page in ("index.html", "README.md"):
        assert "trained on images from made up." in (tmp_path / "out" / page).read_text()


def test_a_data_set_that_grows_keeps_its_bytes(no_ray, tiny_run, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["generate", "--model", tiny_run / "model", "--redraws", 0, "--out", out, "--shard-size", 3]
    assert mrigen(*command, "--cells", "MS:*=2,GBM:T1=1") == 0
    small = hashes(out, "index.html", "contact_sheet")
    assert mrigen(*command, "--cells", "MS:*=2,GBM:T1=1") == 0
    assert "it was finished already: nothing was done" in capsys.readouterr().out
    assert mrigen(*command, "--cells", "MS:*=3,GBM:T1=1,HC:T2=2") == 0
    large = hashes(out)
    written = {path for path in small if path.startswith(("sub-", "manifest/"))}
    assert len(written) == 9 * 2 + 3
    assert {path: large[path] for path in written} == {path: small[path] for path in written}
    rows = pq.read_table(out / "manifest", columns=["id"])["id"].to_pylist()
    assert len(set(rows)) == len(rows) == 15
    assert "Healthy | 0 | 0 | 2 |" in (out / "README.md").read_text()
    assert mrigen(*command, "--cells", "MS:*=3,HC:T2=2") == 2
    assert "it has 1 samples of Glioblastoma:T1w, and 0 are asked for: a data set only grows" in capsys.readouterr().err
    assert mrigen(*command, "--cells", "MS:*=9,GBM:T1=1,HC:T2=2", "--seed", 5) == 2
    assert "another plan (seed was 0, is 5): use another folder for --out" in capsys.readouterr().err


def as_an_earlier_version_left_it(out: Path) -> None:
    """Before there was the setting `guide`: no word of it in plan and manifest, nor in the hash that closes them."""
    plan = json.loads((out / "plan.json").read_text())
    del plan["sampler"]["guide"]
    (out / "plan.json").write_text(json.dumps(plan, indent=2) + "\n")
    for part in (out / "manifest").iterdir():
        pq.write_table(pq.read_table(part).drop_columns("guide"), part)
    closed = json.loads((out / "_SUCCESS.json").read_text())
    closed["digest"] = hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()
    (out / "_SUCCESS.json").write_text(json.dumps(closed))


def test_a_data_set_of_an_earlier_version_is_verified_and_grows(no_ray, tiny_run, tmp_path, capsys):
    out, model = tmp_path / "out", ["--model", tiny_run / "model"]
    command = ["generate", *model, "--redraws", 0, "--out", out, "--shard-size", 2]
    assert mrigen(*command, "--cells", "HC:T1=3") == 0
    as_an_earlier_version_left_it(out)
    before = hashes(out)
    assert mrigen("verify", out) == 0
    assert mrigen(*command, "--cells", "HC:T1=3") == 0
    assert "it was finished already: nothing was done" in capsys.readouterr().out
    assert hashes(out) == before
    next(out.glob("sub-*/anat/*.json")).unlink()
    assert mrigen("verify", out, "--repair", *model) == 0
    assert mrigen("verify", out) == 0
    kept = {path: digest for path, digest in hashes(out).items() if path.startswith(("sub-", "manifest/"))}
    assert mrigen(*command, "--cells", "HC:T1=5") == 0
    assert kept.items() <= hashes(out).items()
    assert mrigen("verify", out) == 0
    assert {row.id for row in index_generated(Location.parse(out)).rows} == {f"HealthyT1w000000{k}" for k in range(5)}
    whole = pq.read_table(io.BytesIO(b"".join(parquet_of(Location.parse(out)))))
    assert sorted(whole["guide"].to_pylist(), key=str) == [None, "cfg", "cfg", "cfg", "cfg"]
    plan = json.loads((out / "plan.json").read_text())
    (out / "plan.json").write_text(json.dumps(plan | {"seed": 1}))
    assert mrigen("verify", out) == 2
    assert "is not the plan that this data set was finished by" in capsys.readouterr().err


def test_persons_are_seen_in_several_modalities_and_the_card_tells_how_far_they_agree(
    no_ray, tiny_run, tmp_path, capsys
):
    out, model = tmp_path / "out", ["--model", tiny_run / "model"]
    command = ["generate", *model, "--out", out, "--redraws", 0, "--shard-size", 7, "--modalities", "FLAIR,T1,PD"]
    assert mrigen(*command, "--subjects", "GBM=2,HC=1") == 0
    before = hashes(out)
    assert mrigen(*command, "--subjects", 2) == 0  # of Glioblastoma, Healthy and Dementia: Sclerosis:PD is not known
    after = hashes(out)
    kept = {path for path in before if path.startswith(("sub-", "manifest/"))}
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}
    assert mrigen("verify", out) == 0
    assert "18 samples planned, 0 differences" in capsys.readouterr().out
    assert sorted(path.name for path in (out / "sub-Healthy0000001/anat").glob("*.gz")) == [
        f"sub-Healthy0000001_desc-synth_{suffix}.nii.gz" for suffix in ("FLAIR", "PDw", "T1w")
    ]
    told = (out / "README.md").read_text()
    assert "Every person is seen in T1w, FLAIR, PD:" in told
    assert "in the first 6 persons:" in told
    same, others = (float(cell) for cell in re.search(r"\| shared information \| (.+) \| (.+) \|", told).groups())
    assert same > others  # an untrained denoiser answers the noise alone
    assert "of the phantom" not in told
    (out / "sub-Healthy0000002").mkdir()
    assert mrigen("verify", out) == 1
    assert mrigen("generate", *model, "--out", out, "--redraws", 0, "--cells", "HC:T1") == 2
    assert "another plan (modalities was ['T1w', 'FLAIR', 'PD'], is none)" in capsys.readouterr().err
    assert mrigen(*command[:-1], "T1,PD", "--subjects", "MS=1") == 2
    assert "never seen in training: Sclerosis:PD" in capsys.readouterr().err


def test_verify_finds_what_differs_and_repairs_it(no_ray, tiny_run, tmp_path, capsys):
    out, model = tmp_path / "out", ["--model", tiny_run / "model"]
    formats = ["--format", "bids, webdataset,previews", "--shard-size", 2, "--redraws", 0]
    assert mrigen("generate", *model, "--out", out, "--cells", "HC:*=1", *formats) == 0
    whole = hashes(out)
    assert mrigen("verify", out) == 0
    assert "5 samples planned, 0 differences" in capsys.readouterr().out
    image = next(out.glob("sub-HealthyT1w0000000/anat/*.nii.gz"))
    image.write_bytes(image.read_bytes()[:-1])
    sidecar = next(out.glob("sub-HealthyPD0000000/anat/*.json"))
    sidecar.write_text("{}")
    archive = out / "webdataset/shard-000001.tar"
    archive.unlink()
    (out / "participants.tsv").write_text("")
    stray = out / "sub-HealthyT1w0000001"
    stray.mkdir()
    preview = out / "previews" / "HealthyT1w0000001.png"
    preview.touch()
    derived = out / "sub-HealthyT2w0000000/anat/mask.nii.gz"
    derived.touch()
    (out / "index.html").unlink()
    assert mrigen("verify", out) == 1
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"{image} differs from its hash in shard-000000.parquet",
        f"{archive} is missing",
        f"{derived} is not of the plan: take it away",
        f"{sidecar} differs from its hash in shard-000002.parquet",
        f"{preview} is not of the plan: take it away",
        f"{stray} is not of the plan: take it away",
        f"{out / 'index.html'} is missing",
        f"{out / 'participants.tsv'} differs from its hash in _SUCCESS.json",
        "5 samples planned, 8 differences",
    ]
    assert mrigen("verify", out, "--repair") == 2
    assert "the embedded model has hash" in capsys.readouterr().err
    stray.rmdir()
    preview.unlink()
    derived.unlink()
    assert mrigen("verify", out, "--repair", *model) == 0
    assert whole == hashes(out) | {"index.html": whole["index.html"]}  # the page no longer tells the command
    whole = hashes(out)
    (out / "_SUCCESS.json").write_text("[]")
    part = out / "manifest/shard-000001.parquet"
    pq.write_table(pq.read_table(part).replace_schema_metadata({"shard": '{"files": {}}'}), part)
    stray = out / "manifest/copy.parquet"
    stray.write_bytes(part.read_bytes())
    capsys.readouterr()
    assert mrigen("verify", out, "--repair", *model) == 2
    told = capsys.readouterr()
    assert f"{part} is not from this version of `mrigen generate`" in told.out
    assert "_SUCCESS.json is missing or damaged: the data set is not finished" in told.out
    assert f"{stray} is not of the plan: take it away, and give the same command again" in told.err
    stray.unlink()
    assert mrigen("verify", out, "--repair", *model) == 0
    assert whole == hashes(out)
    plan = (out / "plan.json").read_text()
    for then, now, told in (
        ('"steps": [', '"steps": [5, ', "plan.json is damaged"),
        (
            '"shard_size": 2',
            '"shard_size": 0',
            "(ValueError('shard_size 0 is no number of samples'))",
        ),
        (
            '"seed": 0',
            '"seed": 1',
            "is not the plan that this data set was finished by: put back what",
        ),
    ):
        (out / "plan.json").write_text(plan.replace(then, now))
        for command in (["verify", out], ["generate", *model, "--out", out, "--cells", "HC:*=1", *formats]):
            assert mrigen(*command) == 2
            assert told in capsys.readouterr().err
    assert mrigen("verify", tmp_path) == 2
    assert "holds no plan.json: name a folder that `mrigen generate` wrote" in capsys.readouterr().err


def test_a_dry_run_says_what_it_would_take(no_ray, tiny_run, tmp_path, capsys, monkeypatch):
    model, out = ["--model", tiny_run / "model", "--redraws", 0], tmp_path / "out"
    assert mrigen("generate", *model, "--out", out, "--per-cell", 1, "--cells", "HC:*", "--shard-size", 5) == 0
    command = ["generate", *model, "--out", out, "--cells", "HC:*=1,GBM:T1=1000", "--dry-run"]
    before = hashes(out)
    capsys.readouterr()
    assert mrigen(*command) == 0
    told = capsys.readouterr().out
    assert "to make: 1000 samples (dry run: nothing was written)" in told
    needed = re.search(r"disk: +(\d+) MB in (\d+) files and folders; free are \d+ MB in \d+: fits", told)
    assert told.index("disk:") < told.index("time:")
    assert 18 <= int(needed[1]) <= 30  # in blocks of 4 KiB: image, sidecar, two folders, and some of a row
    assert int(needed[2]) == 4016  # and of 64 samples a part of the manifest
    assert hashes(out) == before
    disk = os.statvfs(tmp_path)
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_bavail=10**6, f_frsize=1, f_favail=disk.f_favail))
    assert "so many" not in told
    assert mrigen(*command[:-1], "--cells", "HC:*=1,GBM:T1=300000", "--dry-run") == 1
    told = capsys.readouterr().out
    assert re.search(r"free are 1000 kB in \d+: DOES NOT FIT", told)
    assert "so many are slow to list and to copy: --format webdataset or parquet packs a shard in one\n" in told


def test_a_million_samples_are_no_bids_unless_that_is_asked_for_and_what_stands_keeps_its_format(
    no_ray, tiny_run, tmp_path, capsys
):
    command = ["generate", "--model", tiny_run / "model", "--redraws", 0, "--cells"]
    million = [*command, "HC:T1=1e6", "--out", tmp_path / "million", "--dry-run"]
    mrigen(*million)
    told = capsys.readouterr().out
    assert "format:  webdataset: BIDS, of four files and folders a sample, is not the default here\n" in told
    assert int(re.search(r"MB in (\d+) files", told)[1]) == 2 * 10**6 / 64
    mrigen(*million, "--format", "bids")
    told = capsys.readouterr().out
    assert "format:" not in told
    assert int(re.search(r"MB in (\d+) files", told)[1]) > 4_000_000
    out = ["--out", tmp_path / "few"]
    for asked in (["HC:T1=1", "--format", "parquet"], ["HC:T1=2"]):
        assert mrigen(*command, *asked, *out) == 0
    assert not list((tmp_path / "few").glob("sub-*"))
    assert mrigen(*command, "HC:T1=2", *out, "--format", "bids") == 2
    assert "another plan (formats was ['parquet'], is ['bids'])" in capsys.readouterr().err


def test_a_large_start_tells_what_it_takes_and_what_does_not_fit_is_refused(
    no_ray, tiny_run, tmp_path, capsys, monkeypatch
):
    out = tmp_path / "out"
    command = ["generate", "--model", tiny_run / "model", "--redraws", 0, "--out", out, "--shard-size", 5]
    assert mrigen(*command, "--cells", "HC:*=3") == 0
    assert "to make" not in capsys.readouterr().out  # few are made without a word about it
    monkeypatch.setattr("mrigen.stages.generate.LARGE", 10)
    before, more = hashes(out), [*command, "--cells", "HC:*=3,GBM:T1=9,MS:T1=4"]
    disk = os.statvfs(tmp_path)
    with monkeypatch.context() as patched:
        full = SimpleNamespace(f_bavail=10**5, f_frsize=1, f_favail=disk.f_favail)
        patched.setattr(os, "statvfs", lambda path: full)
        assert mrigen(*more) == 2
    told = capsys.readouterr()
    refused = re.fullmatch(
        rf"mrigen: error: 13 samples do not fit the disk of {out}: they take about (\d+) kB "
        rf"in (\d+) files and folders; free are 100 kB in {disk.f_favail}; make room, "
        "ask for fewer or for a --format that takes less, or use another --out\n",
        told.err.splitlines(keepends=True)[-1],
    )
    assert hashes(out) == before
    assert mrigen(*more) == 0
    to_make, room, time, *_ = capsys.readouterr().out.splitlines()
    assert to_make == "to make: 13 samples"
    assert re.fullmatch(r"disk: +\d+ kB in \d+ files and folders; free are \d+ MB in \d+: fits", room)
    assert re.fullmatch(r"time: +\d:\d\d:\d\d with 2 workers, by [\d.e-]+ s a sample in the first shard", time)
    made = hashes(out).keys() - before.keys()
    folders = {parent for path in made for parent in Path(path).parents}
    blocks = len(folders) + sum(-(-(out / path).stat().st_size // 4096) for path in made)
    assert int(refused[1]) == pytest.approx(blocks * 4.096, rel=0.1)
    assert int(refused[2]) == pytest.approx(len(made) + len(folders), rel=0.1)


def test_an_estimate_tells_gpu_hours_where_workers_have_gpus(capsys):
    estimate = Estimate(7200, ("bids",), 1.0, 1.0, None, None, 0.5)
    print_time(estimate, Placement(num_workers=4, use_gpu=True), "the warm-up")
    print_time(estimate, Placement(num_workers=4), "the warm-up")
    on_gpus, on_cpus = capsys.readouterr().out.splitlines()
    assert on_gpus == "time:    0:15:00 with 4 workers (1 GPU hours), by 0.5 s a sample in the warm-up"
    assert on_cpus == "time:    0:15:00 with 4 workers, by 0.5 s a sample in the warm-up"


def test_a_full_disk_is_told_and_once_there_is_space_the_job_goes_on(no_ray, tiny_run, tmp_path, capsys, monkeypatch):
    command = ["generate", "--model", tiny_run / "model", "--redraws", 0, "--cells", "HC:*=2", "--shard-size", 3]
    out, synced = tmp_path / "out", []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert mrigen(*command, "--out", out) == os.EX_IOERR
    told = capsys.readouterr().err.strip().splitlines()[-1]
    where = rf"{out}/sub-Healthy\w+/anat/\S+ needs more than [0-9]+ kB, [0-9]+ kB are left"
    assert re.fullmatch(rf"mrigen: error: \[Errno 28\] No space left on device: {where}", told)
    before = hashes(out)
    assert not any("/." in path for path in before)  # nor is anything half written left over
    assert mrigen(*command, "--out", out) == 0
    assert before.items() <= hashes(out).items()
    assert mrigen("verify", out) == 0


def test_an_object_store_has_the_same_bytes(no_ray, tiny_run, tmp_path, bucket):
    command = ["generate", "--model", tiny_run / "model", "--redraws", 0, "--cells", "HC:*=2", "--shard-size", 3]
    for out in (tmp_path / "out", bucket.format("out")):
        assert mrigen(*command, "--format", "bids,webdataset", "--out", out) == 0
    assert mrigen("verify", bucket.format("out")) == 0
    stored = Location.parse(bucket.format("out"))
    found = {file.path.removeprefix(f"{stored.path}/"): file.sha256() for file in stored.files()}
    assert found.pop("index.html")  # tells the command
    assert found == hashes(tmp_path / "out", "index.html")


def test_a_model_that_was_hardly_trained_is_told_and_its_drawings_are_taken_only_as_they_are(
    no_ray, tiny_run, tmp_path, capsys
):
    assert mrigen("generate", "--model", tiny_run / "model", "--out", tmp_path, "--per-cell", 1) == 2
    told = "take them as they are (--redraws 0)"
    assert told in capsys.readouterr().err


def test_a_second_driver_of_a_folder_is_refused(no_ray, tiny_run, tmp_path, capsys):
    with leased(Location.parse(tmp_path)):
        assert mrigen("generate", "--model", tiny_run / "model", "--out", tmp_path) == 2
    assert f"{tmp_path} is in use by" in capsys.readouterr().err
