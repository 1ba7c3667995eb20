"""The external test: a run's samples, and its own held-out images, against a data set that the model never met."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from mrigen.config import Config
from mrigen.each import Each
from mrigen.errors import InputError
from mrigen.evaluation.external import compute_distances, external_test, shared_cells
from mrigen.evaluation.planning import plan_evaluation
from mrigen.evaluation.rounds import describe_images
from mrigen.evaluation.shard_files import ShardFiles
from mrigen.features.networks import find_networks
from mrigen.images.index import Group, ImageIndex, index_generated, index_real, joined
from mrigen.report.external.page import external_lines, external_page, external_verdict, external_warnings
from mrigen.report.notices import model_notices, notices
from mrigen.report.provenance import comparison_facts
from mrigen.report.publish import Published, publish, result_folder
from mrigen.run import SUCCESS, deciding_settings
from mrigen.storage import Location

_MUST_AGREE = ("spatial_dims", "plane", "image_size", "spacing_mm", "head", "clip_percentiles")
"""Settings of `data` without which images cannot be held against each other."""
_TOLD = ("slice_range_mm", "slice_step_mm", "min_foreground", "bias_correction", "registration")


def external_run(
    run: Location,
    config: Config,
    each: Each,
    *,
    real: Location,
    samples: Location | None = None,
    out: Location | None = None,
    split: str = "test",
    command: str | None = None,
) -> Published:
    """Hold the images in `samples` (`run/samples`) and those of `run/data` held out in `split` against `real`, the
    folder that `mrigen prepare` left of another data set, or its run. `split` may be `all`: test here, all there.

    Leaves `metrics.json` and `index.html` in `out` (`run/external`). What a killed one left is taken up again.

    Raises InputError where the two data sets were prepared in ways that cannot be compared, or share no cell.
    """
    other = real / "data" if (real / "data").is_folder() else real
    made, out = samples or run / "samples", result_folder(out or run / "external", "metrics.json")
    told = _differences(other, config)
    own, generated = index_real(run / "data", "test" if split == "all" else split), index_generated(made)
    external = _as_external(index_real(other, split))
    networks = find_networks(run, config)
    plan = plan_evaluation(joined(own, external), generated, config, networks.hashes)
    cells = shared_cells(plan)
    shared = set.intersection(*cells.values())
    if not shared:
        raise InputError(f"no cell has own held-out images, samples, and images of the {split} split in {other}")
    if alone := sorted(set.union(*cells.values()) - shared):
        told.append(f"Left out, for not all sides have them: {', '.join(map(str, alone))}.")
    files = ShardFiles(run / ".cache" / "evaluation", out / ".parts")
    shape = own.shape or ()
    _, images = describe_images(plan, networks, config, each, files, shape=shape, split=split)
    found = external_test(images(), compute_distances(images, plan, each.on_cpu()))
    names = {row.owner for row in external.rows}
    said = [
        *notices(own.provenance, complete=(made / SUCCESS).is_file()),
        *(f"External data: {text}" for text in notices(external.provenance)),
        *model_notices(run / "model", generated.provenance, names),
        *told,
        *external_warnings(found),
    ]
    facts = comparison_facts(config, own.provenance, generated.provenance)
    facts["External images from"] = ", ".join(map(str, external.provenance["source"]))
    facts["Their licence"] = ", ".join(filter(None, external.provenance["licence"])) or "not told"
    page = external_page(
        f"External test of {run.name}", found, config, said, facts | ({"Command": command} if command else {})
    )
    figures = {"notices": said, "verdict": external_verdict(found), **found.as_json(), "facts": facts}
    published = publish(out, page, "metrics.json", figures, notices=said, words=[external_lines(found)])
    files.generated.delete()
    return published


def _as_external(index: ImageIndex) -> ImageIndex:
    """The held-out images of another data set, as external ones."""
    rows = (replace(row, group=Group.EXTERNAL) for row in index.rows if row.group == Group.HELD_OUT)
    return replace(index, rows=tuple(rows))


def _differences(other: Location, config: Config) -> list[str]:
    """Of how the other data set was prepared: what must be told. Raises InputError for what makes it incomparable."""
    mark = other / SUCCESS
    tree: Any = mark.read_json() if mark.is_file() else {}
    then = tree.get("settings", {}) if isinstance(tree, dict) else {}
    now = deciding_settings(config, "data")
    found = {}
    for name in (*_MUST_AGREE, *_TOLD):
        if then and then.get(f"data.{name}") != now[f"data.{name}"]:
            found[name] = f"data.{name} is {then.get(f'data.{name}')} there and {now[f'data.{name}']} here"
    if refused := [text for name, text in found.items() if name in _MUST_AGREE]:
        raise InputError(f"{other} cannot be compared: {'; '.join(refused)}: prepare it with the settings of this run")
    return [f"Prepared otherwise: {'; '.join(found.values())}."] if found else []
