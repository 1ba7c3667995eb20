"""What the command prints once requests are taken."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from jobs.serve.api import ModelInfo
from jobs.serve.keys import KEY_VARIABLE
from mrigen.labels import Cell, Modality, Pathology

_EXAMPLE = Cell(Pathology.GLIOBLASTOMA, Modality.FLAIR)


def greeting(models: Sequence[ModelInfo], url: str, *, keyed: bool) -> str:
    """Facts of the models, the address, and a request to paste that the first will answer."""
    model = models[0]
    cell = _EXAMPLE if model.trained(_EXAMPLE) else (model.trained_cells or [_EXAMPLE])[0]
    body: dict[str, Any] = {"pathology": cell.pathology, "modality": cell.modality, "seed": 7, "format": "png"}
    if not model.trained(cell):
        body["allow_untrained"] = True
    key = f' -H "Authorization: Bearer ${KEY_VARIABLE}"' if keyed else ""
    facts = "\n".join(map(_facts, models))
    return (
        f"{facts}\n"
        f"Ready: {url}/    (Ctrl-C stops)\n\n"
        f"  curl -sS {url}/v1/samples -H 'Content-Type: application/json'{key} \\\n"
        f"    -d '{json.dumps(body)}' -o sample.png"
    )


def _facts(model: ModelInfo) -> str:
    trained = f"{len(model.trained_cells)} of {len(model.cells)} cells trained"
    note = f"; {model.note}" if model.note else ""
    return f"Model {model.name} ({model.sha256[:12]}), {trained}{note}"
