"""What goes with pathology: heads, sources, slice thickness."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.prepare.confounds import Traits, find_confounds, refuse_mixed_heads

HEALTHY = Traits("A", Pathology.HEALTHY, Modality.T1W, 1.0, True)
MS = replace(HEALTHY, pathology=Pathology.SCLEROSIS)


def test_a_clean_set_has_none() -> None:
    scans = {HEALTHY: 5, MS: 4, replace(MS, source="B"): 2, replace(HEALTHY, source="B"): 2}
    assert find_confounds(scans) == []
    refuse_mixed_heads(scans)


@pytest.mark.parametrize("share", ["across", "within"])
def test_mixed_heads_are_refused_with_the_remedies(share: str) -> None:
    whole = replace(HEALTHY if share == "within" else MS, stripped=False)
    scans = {HEALTHY: 2, whole: 3}
    [line] = find_confounds(scans)
    assert line.startswith(f"2 scans (2 Healthy) skull-stripped, 3 scans (3 {whole.pathology}) with whole heads")
    assert ("which pathology" in line) == (share == "across")  # of one pathology alone there is nothing to learn
    with pytest.raises(InputError, match=r"data\.head=strip, with pip install 'mrigen\[strip\]'.*--allow-mixed-heads"):
        refuse_mixed_heads(scans)


def test_heads_that_nobody_looked_at_do_not_count() -> None:
    refuse_mixed_heads({HEALTHY: 1, replace(MS, stripped=None): 4})


def test_a_pathology_from_a_source_of_its_own_is_told() -> None:
    lines = find_confounds({HEALTHY: 3, replace(MS, source="B"): 3})
    assert ["every Healthy scan is from A" in line for line in lines] == [True, False]
    assert "every Sclerosis scan is from B" in lines[1]
    shared = {HEALTHY: 3, MS: 1, replace(MS, source="B"): 3}
    [line] = find_confounds({**shared, replace(HEALTHY, source="D", pathology=Pathology.DEMENTIA): 1})
    assert "every Dementia scan is from D" in line
    *_, line = find_confounds({HEALTHY: 3, replace(MS, source="B"): 3, replace(MS, source="C"): 1})
    assert "every Sclerosis scan is from B or C" in line


def test_one_pathology_alone_cannot_be_confounded() -> None:
    assert find_confounds({HEALTHY: 3}) == []


def test_thickness_that_goes_with_pathology_is_told() -> None:
    thick = replace(MS, thickness_mm=3.0)
    [line] = find_confounds({HEALTHY: 3, thick: 3, MS: 1})
    assert line == "T1w: typical slice thickness goes with pathology (1 mm in Healthy, 3 mm in Sclerosis)"
    assert find_confounds({HEALTHY: 3, thick: 1, MS: 3}) == []
    assert find_confounds({HEALTHY: 3, replace(thick, modality=Modality.T2W): 3}) == []
