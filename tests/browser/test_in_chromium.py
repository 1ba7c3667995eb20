"""Pages as a browser shows them: nothing fails, nothing is fetched from elsewhere, and all fits on a telephone."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
import uvicorn
from PIL import Image

from jobs.cli import cli
from jobs.serve.api import ModelInfo, SampleBody, describe
from jobs.serve.app import make_app
from mrigen.config import load_config
from mrigen.each import one_by_one
from mrigen.labels import all_cells
from mrigen.pictures import upright
from mrigen.report.samples.page import samples_page
from mrigen.sources.options import Source
from mrigen.sources.recognise import find_all_scans
from mrigen.stages.prepare import prepare_run
from mrigen.stages.reader_study import BuiltStudy, build_study
from mrigen.storage import Location
from mrigen.studies.reader_study.answers import read_answers
from mrigen.studies.reader_study.design import StudyOrder
from tests.fake_run import sample_row, tiny_config, write_data, write_samples
from tests.fake_scans import write_bids
from tests.unit.serving.serving_fakes import FakeBackend, FakePipeline, FakeSample

sync_api = pytest.importorskip("playwright.sync_api")

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
WIDTHS = (400, 1280)

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not CHROMIUM, reason="Chromium is not installed")]


@dataclass
class Visit:
    """An open page, what its console told of failures, and the addresses that it asked for."""

    page: Any
    failures: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def check(self, origin: str) -> None:
        """Nothing failed or came from elsewhere than `origin`, all images are there, nothing is wider than the page."""
        assert self.failures == []
        assert [url for url in self.requests if not url.startswith((origin, "data:", "blob:"))] == []
        sizes = self.page.evaluate("[...document.images].map(image => image.naturalWidth)")
        assert all(sizes)
        assert self.page.evaluate("document.documentElement.scrollWidth") <= self.page.viewport_size["width"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def is_failure(said: Any) -> bool:
    """Whether a console's line tells of a fault; that WebGL without a graphics card is slow is none."""
    return said.type in ("error", "warning") and "GPU stall due to ReadPixels" not in said.text


@pytest.fixture(params=WIDTHS)
def visit(browser: Any, request: pytest.FixtureRequest) -> Iterator[Visit]:
    page = browser.new_page(viewport={"width": request.param, "height": 800})
    visit = Visit(page)
    page.on("console", lambda said: visit.failures.append(said.text) if is_failure(said) else None)
    page.on("pageerror", lambda error: visit.failures.append(str(error)))
    page.on("request", lambda asked: visit.requests.append(asked.url))
    yield visit
    page.close()


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def models() -> list[ModelInfo]:
    """The models of the endpoint, of which a test may add others."""
    return [describe(FakePipeline(), "fake", max_num_steps=100, note="made up")]


@pytest.fixture
def endpoint(backend: FakeBackend, models: list[ModelInfo]) -> Iterator[str]:
    """The address of a server whose models make noise."""
    app = make_app(backend, models)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        assert thread.is_alive()
        time.sleep(0.05)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}/"
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def data_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser")
    tree = write_bids(folder / "tree", {"a": "MS", "b": "control"})
    (tree / "sub-a/anat/sub-a_a-name-that-is-longer-than-a-telephone-is-wide_T2w.nii.gz").write_bytes(b"no scan")
    config = load_config("tiny", overrides=["data.image_size=32", "data.spacing_mm=6"])
    prepare_run(Location.parse(folder / "run"), config, find_all_scans([Source(Location.parse(tree))]), one_by_one)
    return folder / "run" / "data.html"


@pytest.fixture(scope="module")
def page_of_samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    images = {cell: list(rng.uniform(-1, 1, (4, 64, 64)).astype(np.float32)) for cell in all_cells()}
    facts = {"Model (SHA-256)": "0123456789abcdef" * 4, "Command": f"mrigen generate --out {'deep/' * 30}samples"}
    counts = dict.fromkeys(all_cells(), 12345)
    file = tmp_path_factory.mktemp("browser") / "index.html"
    html = samples_page(
        title="Samples",
        images=images,
        untrained=all_cells()[:3],
        counts=counts,
        facts=facts,
        plane="axial",
        sources=["IXI"],
    )
    file.write_text(html, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> BuiltStudy:
    folder, cells = tmp_path_factory.mktemp("study"), all_cells()[:2]
    write_data(folder, cells, {"train": 1, "test": 2})
    write_samples(folder / "samples", [sample_row(cell, number) for cell in cells for number in range(4)])
    order = StudyOrder(num_images=8, num_repeats=2, num_readers=1, asked=("pathology",))
    return build_study(Location.parse(folder), tiny_config(), order, Location.parse(folder / "out"))


@pytest.mark.parametrize("name", ["data_page", "page_of_samples"])
def test_a_page_of_a_file_stands_alone(visit: Visit, name: str, request: pytest.FixtureRequest) -> None:
    file: Path = request.getfixturevalue(name)
    visit.page.goto(file.as_uri())
    assert visit.page.locator("img").count() > 4
    visit.check(file.as_uri())


def test_the_page_of_the_endpoint_draws_compares_and_remembers(visit: Visit, endpoint: str) -> None:
    page = visit.page
    page.goto(endpoint, wait_until="networkidle")
    visit.check(endpoint)
    assert page.locator("#board button").count() == 20
    assert page.locator("#board button.untrained").count() == 1
    assert page.get_by_text("Every image here is synthetic").is_visible()

    page.locator("[data-cell='Healthy:FLAIR']").click()
    page.get_by_text("1 drawn.").wait_for()
    page.keyboard.press("Tab")  # the board is in reach of the keyboard
    page.locator("[data-cell='Sclerosis:PD']").focus()
    page.keyboard.press("Shift+Enter")
    page.get_by_text("B: synthetic Sclerosis").wait_for()
    assert "Healthy in FLAIR, seed 7" in page.inner_text("#caption_A")
    assert "a pair never seen in training" in page.inner_text("#caption_B")
    page.locator("#history button").last.click()  # the first that was drawn
    assert "Healthy in FLAIR" in page.inner_text("#caption_A")
    visit.check(endpoint)
    assert f"{endpoint}v1/samples" in visit.requests


def test_the_page_gives_files_and_the_commands_that_make_them(visit: Visit, endpoint: str, tmp_path: Path) -> None:
    page = visit.page
    page.goto(endpoint, wait_until="networkidle")
    page.fill("#num_steps", "2")
    page.locator("[data-cell='Sclerosis:PD']").click()
    page.get_by_text("1 drawn.").wait_for()
    page.evaluate("scrollTo(0, document.body.scrollHeight)")
    assert page.get_by_text("Every image here is synthetic").is_visible()
    files = {}
    for name in ("png", "nifti", "zip"):
        with page.expect_download() as download:
            page.locator(f"#{name}").click()
        files[name] = Path(download.value.path()).read_bytes()
        assert download.value.suggested_filename.startswith("synthetic_Sclerosis_PD_seed7")
    assert len(zipfile.ZipFile(io.BytesIO(files["zip"])).namelist()) == 9  # eight and their index

    for language, program in [("curl", ["bash", "-c"]), ("python", [sys.executable, "-c"])]:
        page.select_option("#language", language)
        subprocess.run([*program, page.inner_text("#same")], cwd=tmp_path, check=True)
        assert (tmp_path / "sample.nii.gz").read_bytes() == files["nifti"]
    page.select_option("#language", "generate")
    words = shlex.split(page.inner_text("#same"))
    assert words[:2] == ["mrigen", "generate"]
    generate = cli.get_command(click.Context(cli), "generate")
    assert generate is not None
    options = generate.make_context("generate", words[2:]).params
    asked = ("cells", "per_cell", "seed", "num_steps", "allow_untrained")
    assert [options[name] for name in asked] == ["Sclerosis:PD", 1, 7, 2, True]


def seen(page: Any, pane: str) -> np.ndarray[Any, Any]:
    """Grey values of a pane as they are on the screen, as coarse as the images of the fake model."""
    page.evaluate("showing")
    shot = Image.open(io.BytesIO(page.locator(f"#view_{pane}").screenshot())).convert("L")
    return np.asarray(shot.resize((16, 16), Image.Resampling.BOX), np.float64)


WITHOUT_WEBGL = """const get = HTMLCanvasElement.prototype.getContext; HTMLCanvasElement.prototype.getContext =
    function (kind, ...rest) { return kind.startsWith('webgl') ? null : get.call(this, kind, ...rest); }"""


@pytest.mark.parametrize("webgl", [True, False])
def test_images_are_upright_and_both_have_one_window(
    visit: Visit, endpoint: str, backend: FakeBackend, webgl: bool
) -> None:
    page = visit.page
    if not webgl:
        page.add_init_script(WITHOUT_WEBGL)
    page.goto(endpoint, wait_until="networkidle")
    assert page.evaluate("drawsWithNiivue") is webgl
    for cell, pane in [("Healthy:FLAIR", "A"), ("Dementia:T1w", "B")]:
        page.locator("#into_B").set_checked(pane == "B")
        page.locator(f"[data-cell='{cell}']").click()
        page.get_by_text(f"{pane}: synthetic {cell.split(':')[0]}").wait_for()
    assert page.get_by_role("img", name="synthetic Dementia:T1w, seed 7").count() == 3  # pane, board and history
    [image, *_] = [upright(FakeSample(order, 7000).image) for order in backend.orders]
    before = {pane: seen(page, pane) for pane in "AB"}
    assert np.corrcoef(before["A"].ravel(), image.ravel())[0, 1] > 0.9
    assert np.corrcoef(before["A"].ravel(), image[:, ::-1].ravel())[0, 1] < 0.5
    page.locator("#level").focus()
    page.keyboard.press("End")  # what is half as bright as the brightest is black
    after = {pane: seen(page, pane) for pane in "AB"}
    for pane in "AB":
        assert after[pane].mean() < before[pane].mean() / 2
    if webgl:
        box = page.locator("#view_B").bounding_box()
        page.mouse.move(box["x"] + 60, box["y"] + 60)
        page.mouse.down()
        page.mouse.move(box["x"] + 60, box["y"] + 90, steps=5)
        page.mouse.up()
        assert page.evaluate("range[0]") != 500  # by a drag on B, and A follows
        page.evaluate("showing")
        assert (
            page.evaluate("['A', 'B'].map(pane => viewers[pane].volumes[0].cal_min)") == [page.evaluate("range[0]")] * 2
        )
        page.locator("#view_A canvas").dblclick()
        assert seen(page, "B").mean() > after["B"].mean()
    visit.check(endpoint)


def test_the_page_draws_with_the_model_that_is_chosen(
    visit: Visit, models: list[ModelInfo], endpoint: str, backend: FakeBackend
) -> None:
    page = visit.page
    page.goto(endpoint, wait_until="networkidle")
    assert page.locator("#choice").is_hidden()  # there is one only
    models.append(models[0].model_copy(update={"name": "other", "sha256": "ab" * 32}))
    page.reload(wait_until="networkidle")
    page.select_option("#choice", "other")
    assert "Model other, abababababab" in page.inner_text("#model")
    assert page.locator("#board button").count() == 20
    page.locator("[data-cell='Healthy:FLAIR']").click()
    page.get_by_text("1 drawn.").wait_for()
    assert "model other" in page.inner_text("#caption_A")
    assert backend.orders[-1].model_sha256 == "ab" * 32
    assert '"model":"other"' in page.inner_text("#same")
    visit.check(endpoint)


def test_the_page_cancels_and_tells_what_the_server_refuses(visit: Visit, endpoint: str, backend: FakeBackend) -> None:
    page = visit.page
    page.goto(endpoint, wait_until="networkidle")
    backend.delay_s = 0.5
    page.locator("#all").click()
    page.locator("#board img").nth(1).wait_for()
    page.keyboard.press("Escape")
    page.get_by_text("Cancelled after").wait_for()
    assert page.locator("#board img").count() < 19
    assert page.locator("#cancel").is_hidden()
    page.fill("#slice_mm", "46.04")  # as high as the page's own check lets by, and higher than the model
    page.evaluate("document.querySelector('#slice_mm').max = ''")
    page.locator("[data-cell='Healthy:T1w']").click()
    page.wait_for_selector("#message.fault")
    assert "slice_mm: 46.04 lies outside" in page.inner_text("#message")


def test_a_reader_works_by_keys_and_mouse_is_interrupted_and_sends_answers_that_count(
    visit: Visit, study: BuiltStudy, tmp_path: Path
) -> None:
    page, here = visit.page, study.pages[0]
    page.goto(Path(here.path).as_uri())
    visit.check(Path(here.path).as_uri())
    page.locator("#begin").click()
    picture = "document.querySelector('#view').toDataURL()"
    first = page.evaluate(picture)
    page.keyboard.press("r")
    page.keyboard.press("Enter")  # not all is answered yet
    assert page.inner_text("#place") == "Image 1 of 10"
    page.keyboard.press("ArrowUp")
    brighter = page.evaluate(picture)
    assert "Level 122, window 255, zoom 1.0." in page.inner_text("#work")
    page.keyboard.press("+")
    assert first != brighter != page.evaluate(picture)
    box = page.locator("#view").bounding_box()
    page.mouse.move(box["x"] + 50, box["y"] + 50)
    page.mouse.down()
    page.mouse.move(box["x"] + 90, box["y"] + 70)
    page.mouse.up()
    page.mouse.wheel(0, -100)
    assert "Level 132, window 215, zoom 1.4." in page.inner_text("#work")
    page.locator("#view").dblclick()
    assert page.evaluate(picture) == first
    page.keyboard.press("p")
    assert page.locator("#view").is_hidden()
    paused = page.evaluate("state.seconds")
    page.keyboard.press("4")
    page.keyboard.press("q")
    page.keyboard.press("c")
    page.keyboard.type("a rim, 5 mm")
    page.wait_for_timeout(300)
    assert page.evaluate("state.seconds") == paused
    page.reload()  # as a browser that was closed: what was chosen stands, and the clock goes on
    page.locator("#begin").click()
    assert page.inner_text("#place") == "Image 1 of 10"
    assert page.input_value("#comment") == "a rim, 5 mm"
    page.keyboard.press("Enter")
    assert page.inner_text("#place") == "Image 2 of 10"
    page.reload()
    assert page.inner_text("#begin") == "Go on at image 2"
    page.locator("#begin").click()
    visit.check(Path(here.path).as_uri())
    for number in range(2, 11):
        assert page.inner_text("#place") == f"Image {number} of 10"
        page.get_by_text("synthetic S").click()
        page.keyboard.press("1")
        page.get_by_text("cannot tell").click()
        page.keyboard.press("Enter")
    page.reload()  # even now nothing is lost
    with page.expect_download() as download:
        page.locator("#save").click()
    assert download.value.suggested_filename == "reader-1.json"
    sent = tmp_path / "reader-1.json"
    sent.write_bytes(Path(download.value.path()).read_bytes())
    reading = read_answers(Location.parse(sent), study.key)
    answers = [*reading.first, *reading.again.values()]
    assert [one.answer for one in answers].count("real") == 1
    [early] = [one for one in answers if one.position == 0]
    assert (early.confidence, early.pathology, early.comment) == (4, "Healthy", "a rim, 5 mm")
    assert all(0 < one.seconds < 60 for one in answers)
    assert visit.failures == []


def test_the_page_of_fields(visit: Visit, endpoint: str) -> None:
    visit.page.goto(f"{endpoint}docs", wait_until="networkidle")
    assert visit.page.locator("#fields tr").count() == len(SampleBody.model_fields)
    visit.check(endpoint)
