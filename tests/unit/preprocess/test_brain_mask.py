"""The brain alone: masks given, a skull-stripper of the user's, and the template."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from mrigen.config import DataConfig
from mrigen.errors import InputError
from mrigen.labels import Modality
from mrigen.preprocess import brain_mask, check_strip_command, prepare_images, stripper
from mrigen.preprocess.brain_mask import find_brain, in_mni_space
from mrigen.preprocess.foreground import find_foreground
from mrigen.preprocess.masks import brain_on_grid
from mrigen.preprocess.template import load_template
from mrigen.volume import Volume, VolumeError
from tests.fake_scans import made_up_scan

STRIP = DataConfig(head="strip")
HEAD = made_up_scan(1, stripped=False)
BRAIN = made_up_scan(1).array > 0


def stripped(scan: Volume, mask: Volume | None = None, data: DataConfig = STRIP) -> np.ndarray:
    return find_brain(scan, data, mask=mask)


def refused(scan: Volume, mask: Volume | None = None, data: DataConfig = STRIP) -> str:
    with pytest.raises(VolumeError) as error:
        stripped(scan, mask, data)
    assert error.value.fault == "mask"
    return str(error.value)


def mask_of(brain: np.ndarray, affine: np.ndarray = HEAD.affine, value: float = 1.0) -> Volume:
    return Volume(brain.astype(np.float32) * np.float32(value), affine)


def test_a_stripped_scan_stays_as_it_is() -> None:
    scan = made_up_scan(1)
    np.testing.assert_array_equal(stripped(scan, mask_of(np.roll(BRAIN, 5, 0))), find_foreground(scan).mask)


@pytest.mark.parametrize("value", [1, 255])
def test_a_mask_on_the_same_grid_is_taken_as_it_is(value: int) -> None:
    np.testing.assert_array_equal(stripped(HEAD, mask_of(BRAIN, value=value)), BRAIN)


def test_a_mask_on_another_grid_is_brought_onto_the_scans() -> None:
    fine = ndimage.zoom(BRAIN.astype(np.uint8), 2, order=0, grid_mode=True, mode="grid-constant")
    affine = HEAD.affine.copy()
    affine[:3, :3] /= 2
    affine[:3, 3] -= 1.0
    mask = mask_of(fine[::-1], affine @ np.array([[-1, 0, 0, len(fine) - 1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]))
    assert (stripped(HEAD, mask) != BRAIN).mean() < 0.002


def test_images_of_a_stripped_head_show_no_skull() -> None:
    data = DataConfig(head="strip", slice_range_mm=(0, 6), image_size=64)
    whole = prepare_images(HEAD, DataConfig(slice_range_mm=(0, 6)), subject="a")
    brain = prepare_images(HEAD, data, subject="a", brain=BRAIN)
    same = prepare_images(made_up_scan(1), data, subject="a")
    assert (whole.stripped, brain.stripped) == (False, True)
    assert brain.images[0].image[2, 32] == -1
    np.testing.assert_allclose(brain.images[0].image, same.images[0].image, atol=0.02)


@pytest.mark.parametrize(
    ("mask", "words"),
    [
        (mask_of(BRAIN & (np.arange(48) < 12)[:, None, None]), "litres: a brain has 0.3 to 2.2"),
        (mask_of(np.ones_like(BRAIN)), "litres: a brain has 0.3 to 2.2"),
        (mask_of(BRAIN, HEAD.affine + 100 * np.eye(4)[:, [3, 0, 1, 2]].T), "of the brain mask lies within the scan"),
    ],
)
def test_a_mask_that_fits_no_brain_is_refused(mask: Volume, words: str) -> None:
    assert words in refused(HEAD, mask)


INSTALL, ADD = "pip install 'mrigen[strip]', ", "add a T1w of the same subject and session, "


@pytest.mark.parametrize(("modality", "extra"), [(Modality.T1W, INSTALL), (Modality.PD, ADD)])
def test_without_any_way_the_remedy_is_told(modality: Modality, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(brain_mask, "stripper_version", lambda: "")
    with pytest.raises(VolumeError) as error:
        find_brain(HEAD, STRIP, modality=modality)
    ways = "name one in a manifest, set data.strip_command, or register the scan to MNI space"
    assert (str(error.value), error.value.fault) == (f"no brain mask: {extra}{ways}", "mask")


class FakeNetwork:
    """Finds what it is told to find, as deepbet gives it."""

    def __init__(self, found: np.ndarray) -> None:
        self.found = found

    def run(self, image: nibabel.Nifti1Image) -> tuple[object, nibabel.Nifti1Image, float]:
        if not self.found.any():
            raise AssertionError("Not enough foreground to calculate bounding box")
        return None, nibabel.Nifti1Image(self.found.astype(np.uint8), image.affine), 0.0


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Callable[[np.ndarray], None]:
    """Installs a stripper that finds the array given."""

    def install(found: np.ndarray) -> None:
        for module in (brain_mask, stripper):
            monkeypatch.setattr(module, "stripper_version", lambda: "deepbet 1")
        monkeypatch.setattr(stripper, "_network", lambda: FakeNetwork(found))

    return install


def test_a_t1w_head_is_stripped_and_no_other(network: Callable[[np.ndarray], None]) -> None:
    network(BRAIN)
    np.testing.assert_array_equal(find_brain(HEAD, STRIP, modality=Modality.T1W), BRAIN)
    assert find_brain(HEAD, STRIP, mask=mask_of(BRAIN[::-1]), modality=Modality.T1W)[0].sum() == BRAIN[-1].sum()
    assert refused(HEAD).startswith(
        "no brain mask: add a T1w of the same subject and session, name one in a manifest, "
    )


X = np.arange(48)[:, None, None]


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (np.zeros_like(BRAIN), "deepbet 1 finds no brain"),
        (BRAIN & (X < 22), "litres: a brain has 0.7 to 2.1"),
        (np.broadcast_to(np.abs(X - 24) < 5, BRAIN.shape), "axes of "),
        (BRAIN & ~ndimage.binary_erosion(BRAIN, iterations=6), "times as full as an ellipsoid"),
    ],
)
def test_what_a_stripper_finds_is_checked(found: np.ndarray, words: str, network: Callable[[np.ndarray], None]) -> None:
    network(found)
    with pytest.raises(VolumeError, match=words) as error:
        find_brain(HEAD, STRIP, modality=Modality.T1W)
    assert error.value.fault == "mask"


STRIPPER = """
import sys, nibabel, numpy
image = nibabel.load(sys.argv[1])
array = numpy.asarray(image.dataobj)
mask = (array > 150) & (array < 550)
nibabel.save(nibabel.Nifti1Image(mask.astype("uint8"), image.affine), sys.argv[2])
"""


def command(folder: Path, script: str) -> DataConfig:
    file = folder / "my stripper.py"
    file.write_text(script)
    return DataConfig(head="strip", strip_command=f"'{sys.executable}' '{file}' {{input}} {{mask}}")


def test_the_users_own_stripper_is_called(tmp_path: Path) -> None:
    data = command(tmp_path, STRIPPER)
    check_strip_command(data)
    assert (stripped(HEAD, data=data) != BRAIN).mean() < 0.01


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("import sys; print('first', file=sys.stderr); sys.exit('no GPU here')", "ended with status 1: no GPU here"),
        ("import sys; sys.exit(3)", "ended with status 3: it said nothing"),
        ("pass", "its mask: No such file"),
        ("import sys; open(sys.argv[2], 'w').write('x')", "its mask: "),
    ],
)
def test_a_stripper_that_fails_is_told(tmp_path: Path, script: str, words: str) -> None:
    told = refused(HEAD, data=command(tmp_path, script))
    assert words in told
    assert "mrigen-" not in told.replace(sys.executable, "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nosuchtool {input} {mask}", "no program 'nosuchtool'"),
        ("ls {input}", "must name {input} and {mask}"),
        ("ls {input} {mask} {gpu}", "nothing else in braces"),
        ("ls '{input} {mask}", "No closing quotation"),
        ("", "must name {input} and {mask}"),
    ],
)
def test_a_command_that_cannot_work_is_refused_early(text: str, words: str) -> None:
    with pytest.raises(InputError, match="strip_command") as error:
        check_strip_command(DataConfig(head="strip", strip_command=text))
    assert words in str(error.value)
    with pytest.raises(InputError, match="head=keep"):
        check_strip_command(DataConfig(strip_command="ls {input} {mask}"))


def mni_head() -> Volume:
    """The template's brain within fluid, skull and scalp."""
    template = load_template(2)
    pad = np.pad(template.t1.array, 16)
    brain = np.pad(template.brain, 16)
    fluid, skull, scalp = (ndimage.binary_dilation(brain, iterations=steps) for steps in (1, 4, 7))
    noise = np.abs(np.random.default_rng(0).normal(0, 0.02, pad.shape))
    array = np.where(brain, pad, np.where(fluid, 0.3, np.where(skull, 0.05, np.where(scalp, 0.9, 0)))) + noise
    affine = template.t1.affine.copy()
    affine[:3, 3] -= 16 * 2
    return Volume(array.astype(np.float32), affine)


def test_a_head_in_mni_space_gets_the_templates_brain() -> None:
    head = mni_head()
    template = load_template(2)
    got = stripped(head)[16:-16, 16:-16, 16:-16]
    assert (got != template.brain).mean() < 0.01
    foreground = find_foreground(head)
    shift = np.eye(4)
    shift[0, 3] = 12.0
    assert not in_mni_space(Volume(head.array, shift @ head.affine), foreground)
    mirrored = replace(foreground, mask=foreground.mask[::-1])  # the template is symmetric
    assert in_mni_space(Volume(head.array[::-1].copy(), head.affine), mirrored)
    assert not in_mni_space(HEAD, find_foreground(HEAD))


def test_a_mask_is_cut_where_the_scan_ends() -> None:
    short = Volume(HEAD.array[:, :, :40].copy(), HEAD.affine)
    np.testing.assert_array_equal(brain_on_grid(mask_of(BRAIN), short), BRAIN[:, :, :40])
