"""From scans to the Parquet files of `data/`: one for each group of scans, made and published whole."""

from __future__ import annotations

import base64
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from mrigen.config import DataConfig
from mrigen.errors import InputError
from mrigen.labels import Cell, Modality
from mrigen.prepare.histograms import Histograms
from mrigen.prepare.scan_groups import ScanGroup, group_key
from mrigen.preprocess import find_brain, needs_brain, prepare_images
from mrigen.preprocess.following import T1wHead
from mrigen.preprocess.foreground import Mask
from mrigen.preprocess.masks import lesions_on_grid
from mrigen.preprocess.order import PreparedScan
from mrigen.records import image_schema, pack_mask, to_table, write_table
from mrigen.sources.reading import read_lesions, read_mask, read_scan
from mrigen.sources.scans import Rejected, Scan
from mrigen.storage import Location
from mrigen.volume import Volume, VolumeError


def make_image_file(run: Location, data: DataConfig, places: Sequence[Location], group: ScanGroup) -> dict[str, Any]:
    """Make the images of a group's scans: `data/part-<key>.parquet`, then its report `data/_parts/<key>.json`.

    A file whose report stands, and which has the hash that the report tells, is not made again. Scans that cannot be
    used are in the report's `rejected`; a group of which none can be used has no file. `places` are the sources by the
    scans' `origin`.

    Returns the report, which is small and fit for JSON, and whether it was made now.
    """
    key = group_key(group, data)
    report_file, image_file = run / "data" / "_parts" / f"{key}.json", run / "data" / f"part-{key}.parquet"
    if report_file.is_file():
        report: dict[str, Any] = report_file.read_json()
        if report["file"] is None or (image_file.is_file() and image_file.sha256() == report["sha256"]):
            return {**report, "made": False}
    rows: list[dict[str, Any]] = []
    states: list[str | None] = []
    histograms = Histograms()
    rejected: list[Rejected] = []
    registered: list[dict[str, Any]] = []
    heads = functools.lru_cache(maxsize=2)(functools.partial(_t1w_head, places, data))
    for scan, content in group.items():
        try:
            prepared = _prepare_scan(scan, places[scan.origin], data, heads, rejected)
        except InputError as error:
            rejected.append(Rejected.by_error(scan.path, error))
            states.append(None)
            continue
        rows.extend(image_rows(scan, content, prepared, data))
        states.append("stripped" if prepared.stripped else "whole")
        if prepared.picture:
            picture = base64.b64encode(prepared.picture).decode("ascii")
            registered.append({"path": scan.path, "overlap": prepared.overlap, "picture": picture})
        histograms.add(Cell(scan.pathology, scan.modality), prepared.raw_intensities, prepared.scaled_intensities)
    if rows:
        write_table(to_table(rows, image_schema(data.image_shape)), image_file)
    report = {
        "key": key,
        "file": image_file.name if rows else None,
        "sha256": image_file.sha256() if rows else None,
        "cells": Counter(f"{row['pathology']}:{row['modality']}" for row in rows),
        "splits": Counter(row["split"] for row in rows),
        "num_marked": sum(row["lesions"] is not None for row in rows),
        "subjects": {f"{row['source']}/{row['subject']}": row["split"] for row in rows},
        "states": states,
        "histograms": histograms.as_json(),
        "registered": registered,
        "rejected": [asdict(item) for item in rejected],
    }
    report_file.write_json(report)
    return {**report, "made": True}


def _t1w_head(places: Sequence[Location], data: DataConfig, scan: Scan) -> T1wHead | VolumeError:
    """A T1w and its brain; what is wrong with it is given, so that it is found out once for all that follow it."""
    place, max_bytes = places[scan.origin], data.max_scan_mb << 20
    try:
        volume = read_scan(scan, place, max_bytes=max_bytes)
        mask = read_mask(scan, place, max_bytes=max_bytes) if scan.mask else None
        return T1wHead(scan.path, volume, find_brain(volume, data, mask=mask, modality=scan.modality))
    except VolumeError as error:
        return error


Heads = Callable[[Scan], T1wHead | VolumeError]


def _read(scan: Scan, place: Location, data: DataConfig, heads: Heads) -> tuple[Volume, Mask | None]:
    """A scan, and its brain where that is needed; `heads` gives those of T1w."""

    def head_of(t1w: Scan) -> T1wHead:
        head = heads(t1w)
        if isinstance(head, VolumeError):
            raise head
        return head

    if needs_brain(data) and scan.modality is Modality.T1W:
        head = head_of(scan)
        return head.volume, head.brain
    max_bytes = data.max_scan_mb << 20
    volume = read_scan(scan, place, max_bytes=max_bytes)
    if not needs_brain(data):
        return volume, None
    mask = read_mask(scan, place, max_bytes=max_bytes) if scan.mask else None
    t1w = functools.partial(head_of, scan.t1w) if scan.t1w else None
    return volume, find_brain(volume, data, mask=mask, modality=scan.modality, t1w=t1w)


def _prepare_scan(
    scan: Scan, place: Location, data: DataConfig, heads: Heads, rejected: list[Rejected]
) -> PreparedScan:
    """Read a scan, its brain where it is needed, and its lesions, and make its images.

    A mask of lesions that cannot be used is `rejected`, and costs no image. Raises VolumeError if the scan cannot be
    read or its brain be told, or no image of the scan shows enough.
    """
    volume, brain = _read(scan, place, data, heads)
    lesions = None
    if scan.lesions:
        try:
            lesions = lesions_on_grid(read_lesions(scan, place, max_bytes=data.max_scan_mb << 20), volume)
        except VolumeError as error:
            fault = Rejected.by_error(scan.lesions, error)
            told = f"{fault.reason}; the images of {scan.path} go without a lesion mask"
            rejected.append(replace(fault, reason=told))
    prepared = prepare_images(volume, data, subject=scan.subject, brain=brain, lesions=lesions)
    if not prepared.images:
        low, high = data.slice_range_mm
        raise VolumeError(f"no slice from {low:g} to {high:g} mm shows {data.min_foreground:.0%} of head", "voxels")
    return prepared


def image_rows(scan: Scan, content: str, prepared: PreparedScan, data: DataConfig) -> list[dict[str, Any]]:
    """Rows of `records.image_schema` from one scan; `content` is the hash that their ids are made of."""
    shared = {
        "subject": scan.subject,
        "session": scan.session,
        "source": scan.source,
        "pathology": scan.pathology.value,
        "modality": scan.modality.value,
        "split": scan.split,
        "spacing_mm": data.spacing_mm,
        "licence": scan.licence,
        "sha256": content,
    }
    return [
        {
            "id": f"{content[:24]}-{index:03d}",
            "slice_mm": image.slice_mm,
            "image": image.image.astype(np.float16),
            "lesions": None if image.lesions is None else pack_mask(image.lesions),
            "affine": image.affine.ravel().tolist(),
            **shared,
        }
        for index, image in enumerate(prepared.images)
    ]
