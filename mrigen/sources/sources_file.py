"""Several sources in one call: folders, manifests, and YAML files that list them with options of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import yaml

from mrigen.errors import InputError
from mrigen.sources.options import Source, SourceOptions, make_options
from mrigen.storage import Location


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
    try:
        tree = yaml.safe_load(file.read_bytes())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, list) or not tree:
        raise InputError(f"{file}: must hold a list of sources, such as - {{path: IXI, pathology: Healthy}}")
    return [_entry(file, f"{file}, entry {number}", entry, options) for number, entry in enumerate(tree, start=1)]


def _entry(file: Location, where: str, entry: Any, options: SourceOptions) -> Source:
    if not isinstance(entry, Mapping) or not isinstance(entry.get("path"), str) or not entry["path"]:
        raise InputError(f"{where}: needs a path, such as {{path: IXI}}")
    folder = Location(file.filesystem, str(PurePosixPath(file.path).parent))
    own: dict[str, Any] = {str(key): value for key, value in entry.items() if key != "path"}
    if isinstance(own.get("values"), Mapping):  # words such as 0.5 or yes are no text to YAML
        own["values"] = {"" if key is None else str(key): value for key, value in own["values"].items()}
    if isinstance(own.get("table"), str) and (folder / own["table"]).is_file():
        own["table"] = str(folder / own["table"])
    place = Location.parse(entry["path"]) if "://" in entry["path"] else folder / entry["path"]
    return Source(place, make_options({**options.model_dump(exclude_unset=True), **own}, where))
