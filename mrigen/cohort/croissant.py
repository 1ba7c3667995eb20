"""A data set as machines read of it, in the Croissant format 1.0 of ML Commons: its manifest, field by field."""

from __future__ import annotations

from typing import Any

from mrigen.cohort.plan import CohortPlan

_CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "md5": "cr:md5",
    "recordSet": "cr:recordSet",
    "sc": "https://schema.org/",
    "source": "cr:source",
}
_FIELDS = {
    "id": ("sc:Text", "Name of the sample."),
    "pathology": ("sc:Text", "Pathology that the image was conditioned on."),
    "modality": ("sc:Text", "Acquisition that the image was conditioned on."),
    "trained_cell": ("sc:Boolean", "Whether the model saw this pathology in this modality in training."),
    "slice_mm": ("sc:Float", "Height of the slice in mm, from the centre of the brain."),
    "seed": ("sc:Integer", "Seed that the image is made again from."),
    "image": ("sc:Float", "The image, values from -1 to 1: a tensor of Arrow."),
}


def croissant(plan: CohortPlan, trained: str, num_samples: int) -> dict[str, Any]:
    """What `croissant.json` holds."""
    fields = [
        {
            "@type": "cr:Field",
            "@id": f"samples/{name}",
            "description": told,
            "dataType": kind,
            "source": {"fileSet": {"@id": "manifest"}, "extract": {"column": name}},
        }
        for name, (kind, told) in _FIELDS.items()
    ]
    return {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "name": "synthetic-brain-mri",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "description": f"{num_samples} synthetic brain MRI, no scans. The model that drew them was {trained}.",
        "version": f"1.0.0+{plan.digest()[:12]}",
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "folder",
                "name": "folder",
                "description": "This folder.",
                "contentUrl": "./",
                "encodingFormat": "git+https",
                "sha256": "https://github.com/mlcommons/croissant/issues/80",
            },
            {
                "@type": "cr:FileSet",
                "@id": "manifest",
                "containedIn": {"@id": "folder"},
                "encodingFormat": "application/x-parquet",
                "includes": "manifest/*.parquet",
            },
        ],
        "recordSet": [{"@type": "cr:RecordSet", "@id": "samples", "field": fields}],
    }
