"""From scans to the Parquet files of `data/`: one part for each group of scans, each made and published whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from mrigen.config import DataConfig
from mrigen.errors import InputError
from mrigen.preprocess import find_foreground, scan_images, split_of
from mrigen.records import image_schema, to_table, write_table
from mrigen.sources.reading import read_scan
from mrigen.sources.scans import Rejected, Scan, scans_key
from mrigen.storage import Location
from mrigen.volume import VolumeError

FORMAT = 1
"""Raised whenever the same scans and settings come to give other images, so that old parts are made anew."""


def hash_scans(scans: list[Scan], source: Location) -> list[str]:
    """SHA-256 of each scan's file; empty where there is no file, or it cannot be read."""
    digests = []
    for scan in scans:
        file = Location(source.filesystem, scan.path)
        try:
            digests.append(file.sha256() if file.is_file() else "")
        except OSError:
            digests.append("")
    return digests


def part_key(scans: Mapping[Scan, str], data: DataConfig) -> str:
    """The name of the part that some scans (with the hashes of their files) and settings give."""
    return scans_key(scans, [FORMAT, data.model_dump(mode="json")])


def prepare_part(run: Location, scans: Mapping[Scan, str], data: DataConfig, source: Location) -> dict[str, Any]:
    """Make the images of some scans: `data/part-<key>.parquet`, then its report `data/parts/<key>.json`.

    A part whose report stands, and whose Parquet file has the hash that the report tells, is not made again. Scans
    that cannot be used are in the report's `rejected`; a part of which none can be used has no file.

    Returns the report, which is small and fit for JSON, and whether it was made now.
    """
    key = part_key(scans, data)
    report_file, part_file = run / "data" / "parts" / f"{key}.json", run / "data" / f"part-{key}.parquet"
    if report_file.is_file():
        report: dict[str, Any] = report_file.read_json()
        if report["file"] is None or (part_file.is_file() and part_file.sha256() == report["sha256"]):
            return {**report, "made": False}
    rows: list[dict[str, Any]] = []
    heads: Counter[str] = Counter()
    rejected = []
    for scan, digest in scans.items():
        try:
            made, stripped = scan_rows(scan, digest, data, source)
        except InputError as error:
            rejected.append(Rejected(scan.path, str(error), getattr(error, "fault", "format")))
            continue
        rows.extend(made)
        heads[f"{scan.pathology}:{'stripped' if stripped else 'whole'}"] += 1
    if rows:
        write_table(to_table(rows, image_schema([data.image_size] * data.spatial_dims)), part_file)
    report = {
        "key": key,
        "file": part_file.name if rows else None,
        "sha256": part_file.sha256() if rows else None,
        "cells": Counter(f"{row['pathology']}:{row['modality']}" for row in rows),
        "splits": Counter(row["split"] for row in rows),
        "subjects": {row["subject"]: row["split"] for row in rows},
        "heads": heads,
        "rejected": [asdict(item) for item in rejected],
    }
    report_file.write_json(report)
    return {**report, "made": True}


def scan_rows(scan: Scan, digest: str, data: DataConfig, source: Location) -> tuple[list[dict[str, Any]], bool]:
    """Rows of `records.image_schema` from one scan, and whether its skull was stripped.

    Raises:
        VolumeError: if the scan cannot be read, or no slice of it shows enough.
    """
    volume = read_scan(scan, source)
    try:
        foreground = find_foreground(volume)
        images = scan_images(volume, data, subject=scan.subject, foreground=foreground)
    except VolumeError as error:
        raise VolumeError(f"{scan.path}: {error}", error.fault) from None
    if not images:
        low, high = data.slice_range_mm
        raise VolumeError(
            f"{scan.path}: no slice from {low:g} to {high:g} mm shows {data.min_foreground:.0%} of head", "voxels"
        )
    shared = {
        "subject": scan.subject,
        "session": scan.session,
        "source": scan.source,
        "pathology": scan.pathology.value,
        "modality": scan.modality.value,
        "split": split_of(scan.subject, data),
        "spacing_mm": data.spacing_mm,
        "licence": scan.licence,
        "sha256": digest,
    }
    rows = [
        {
            "id": f"{digest[:24]}-{index:03d}",
            "slice_mm": image.slice_mm,
            "image": image.image.astype(np.float16),
            "affine": image.affine.ravel().tolist(),
            **shared,
        }
        for index, image in enumerate(images)
    ]
    return rows, foreground.stripped
