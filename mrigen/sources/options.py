"""What a user can say of sources of scans: where they are, and how each is to be understood."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mrigen.config import Section, parse_section
from mrigen.config.files import parse_yaml
from mrigen.errors import InputError
from mrigen.labels import Modality, Pathology
from mrigen.storage import Location

ORIENTATIONS = r"^[RL][AP][SI]$|^[RL][SI][AP]$|^[AP][RL][SI]$|^[AP][SI][RL]$|^[SI][RL][AP]$|^[SI][AP][RL]$"

PathologyName = Annotated[str, AfterValidator(lambda text: Pathology.parse(text).value)]
ModalityName = Annotated[str, AfterValidator(lambda text: Modality.parse(text).value)]
SKIP = "skip"
DEFAULT_ORIENTATION = "LAS"
"""Of Analyze files, where nobody tells it."""


class SourceOptions(Section):
    """How one source is to be understood. What is not given is recognised."""

    kind: str | None = None
    """The name of a profile, `bids`, or `folder` for images whose labels are given: nothing else is then looked for."""
    pathology: PathologyName | None = None
    """The pathology of every scan, whatever tables say."""
    modality: ModalityName | None = None
    """The modality of every scan; DICOM series have no names to tell it by."""
    pattern: str | None = None
    """For `folder`, which it implies: the end of a path with {subject}, {session}, {modality}, {pathology}, and *."""
    table: str | None = None
    """A CSV, TSV or Parquet file that tells the subjects' pathology; a path, or a name within the source."""
    subject_column: str | None = None
    """The column of that table that names the subjects; `sub-` before a name does not count."""
    pathology_column: str | None = None
    """The column of that table, or of a BIDS tree's own ones, that tells the pathology."""
    values: Mapping[str, str] = Field(default_factory=dict)
    """What the table says, in any case -> a pathology, or `skip`; the empty text stands for a missing value."""
    split: str | None = None
    """A table of subjects and their split, train, val or test; the others are put where their pathology lacks some."""
    orientation: str | None = Field(None, pattern=ORIENTATIONS)
    """Axes of Analyze files, which do not tell, such as LAS: where each points, the first voxel axis first."""
    links: Literal["within", "follow"] = "within"
    """Symbolic links: only to places within the source, or wherever they lead."""

    @model_validator(mode="after")
    def _values_are_labels(self) -> Self:
        for told in self.values.values():
            if told != SKIP:
                Pathology.parse(told)
        return self


@dataclass(frozen=True)
class Source:
    """A folder or file of scans, and what the user said of it."""

    place: Location
    options: SourceOptions = field(default_factory=SourceOptions)


def make_options(tree: Mapping[str, Any], where: str) -> SourceOptions:
    """Options from a mapping; `where` names it in errors.

    Raises InputError if a key is unknown or a value is wrong, in one line.
    """
    for key in tree:
        if key not in SourceOptions.model_fields:
            nearest = difflib.get_close_matches(str(key), SourceOptions.model_fields, n=1)
            hint = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(SourceOptions.model_fields)}"
            raise InputError(f"{where}: unknown key {str(key)!r}; {hint}")
    return parse_section(SourceOptions, tree, where)


def parse_options(pairs: Sequence[str]) -> SourceOptions:
    """Options from `KEY=VALUE` pairs; `values.AD=Dementia` adds to the map.

    Raises InputError if a pair is not of that form, names a key twice, or does not fit, in one line.
    """
    tree: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        key, dot, told = name.partition(".")
        if not equals or (dot and key != "values") or (key == "values" and not dot):
            raise InputError(f"source option {pair!r} is not of the form KEY=VALUE, or values.WORD=PATHOLOGY")
        group, entry = (tree.setdefault("values", {}), told) if dot else (tree, key)
        if entry in group:
            raise InputError(f"source option {pair!r}: {name} is given twice")
        group[entry] = value
    return make_options(tree, "source option")


def read_sources(arguments: Sequence[str], options: SourceOptions) -> tuple[Source, ...]:
    """The sources that a user named; those of a YAML list have their own options laid over `options`.

    Raises InputError if a list cannot be read or does not fit, naming the file, the entry and the key.
    """
    sources: list[Source] = []
    for argument in arguments:
        place = Location.parse(argument)
        if place.path.casefold().endswith((".yaml", ".yml")):
            sources.extend(_listed(place, options))
        else:
            sources.append(Source(place, options))
    return tuple(sources)


def _listed(file: Location, options: SourceOptions) -> list[Source]:
    """The entries of a list such as `[{path: IXI}, {path: oasis, table: cdr.csv}]`; paths are relative to the file."""
    if not file.is_file():
        raise InputError(f"no file {file}")
    tree = parse_yaml(file.read_bytes(), str(file))
    if not isinstance(tree, list) or not tree:
        raise InputError(f"{file}: must hold a list of sources, such as - {{path: IXI, pathology: Healthy}}")
    return [_entry(file, f"{file}, entry {number}", entry, options) for number, entry in enumerate(tree, start=1)]


def _entry(file: Location, where: str, entry: Any, options: SourceOptions) -> Source:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str) or not entry["path"]:
        raise InputError(f"{where}: needs a path, such as {{path: IXI}}")
    folder = file.parent
    own: dict[str, Any] = {str(key): value for key, value in entry.items() if key != "path"}
    if isinstance(own.get("values"), Mapping):  # words such as 0.5 or yes are no text to YAML
        own["values"] = {"" if key is None else str(key): value for key, value in own["values"].items()}
    for key in ("table", "split"):
        if isinstance(own.get(key), str) and (folder / own[key]).is_file():
            own[key] = str(folder / own[key])
    place = Location.parse(entry["path"]) if "://" in entry["path"] else folder / entry["path"]
    return Source(place, make_options({**options.model_dump(exclude_unset=True), **own}, where))
