"""What a user says of sources: pairs on the command line, and YAML lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from mrigen.errors import InputError
from mrigen.sources.options import Source, SourceOptions, parse_options, read_sources
from mrigen.storage import Location


def test_pairs_become_options() -> None:
    assert parse_options([]) == SourceOptions()
    told = ["pathology=ad", "table=a=b.csv", "values.0.5=Dementia", "values.=skip", "links=follow"]
    options = parse_options(told)
    assert (options.pathology, options.table, options.links) == ("Dementia", "a=b.csv", "follow")
    assert options.values == {"0.5": "Dementia", "": "skip"}


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ("kind=IXI kind=bids", "kind is given twice"),
        ("pathology", "source option 'pathology' is not of the form KEY=VALUE"),
        ("values=AD", "values.WORD=PATHOLOGY"),
        ("kind.x=AD", "not of the form"),
        ("tabel=x.csv", "source option: unknown key 'tabel'; did you mean 'table'?"),
        ("xyzzy=1", "known are kind, pathology"),
        ("pathology=flu", "pathology: unknown pathology 'flu'"),
        ("values.x=flu", "unknown pathology 'flu'"),
        ("orientation=XYZ", "orientation: .* got 'XYZ'"),
        ("links=all", "links: .* got 'all'"),
    ],
)
def test_wrong_pairs_are_told_in_a_line(pairs: str, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        parse_options(pairs.split())
    assert "\n" not in str(caught.value)


def test_sources_are_named_or_listed(tmp_path: Path) -> None:
    (tmp_path / "cdr.csv").touch()
    (tmp_path / "list.yaml").write_text(
        "- {path: oasis, table: cdr.csv, values: {0: Healthy, 0.5: Dementia, ~: skip}}\n"
        "- {path: /abs/ixi, links: within}\n"
        "- path: mock://bucket/x\n"
        "  table: elsewhere.csv\n"
    )
    named = SourceOptions(links="follow", values={"x": "MS"})
    plain, oasis, ixi, remote = read_sources([str(tmp_path / "ixi"), str(tmp_path / "list.yaml")], named)
    assert plain == Source(Location.parse(tmp_path / "ixi"), named)
    assert oasis.place == Location.parse(tmp_path / "oasis")
    assert oasis.options.table == str(tmp_path / "cdr.csv")
    assert oasis.options.values == {"0": "Healthy", "0.5": "Dementia", "": "skip"}
    assert oasis.options.links == "follow"
    assert (ixi.place.path, ixi.options.links, ixi.options.values) == ("/abs/ixi", "within", {"x": "MS"})
    assert (remote.place.filesystem.type_name, remote.options.table) == ("mock", "elsewhere.csv")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "must hold a list"),
        ("path: x", "must hold a list"),
        ("- [", "is not YAML"),
        ("- {path: a, kind: IXI, kind: BIDS}", "is not YAML: 'kind' is given twice"),
        ("- {path: a}\n- {kind: IXI}", r"list\.yaml, entry 2: needs a path"),
        ("- {path: a, tabel: x}", r"list\.yaml, entry 1: unknown key 'tabel'; did you mean 'table'"),
        ("- {path: a, pathology: flu}", r"list\.yaml, entry 1: pathology: unknown pathology 'flu'"),
        ("- {path: a, values: [1]}", r"list\.yaml, entry 1: values: "),
        (None, r"no file .*list\.yaml"),
    ],
)
def test_a_faulty_list_is_told_by_file_entry_and_key(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "list.yaml").write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        read_sources([str(tmp_path / "list.yaml")], SourceOptions())
    assert "\n" not in str(caught.value)
