"""What figures rest on, in words: the data, the model and the settings, for the foot of a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mrigen.config import Config
from mrigen.config.model import setting_text

Provenance = Mapping[str, Sequence[Any]]
"""Every value that occurs of each column of a `mrigen.images.index.ImageIndex`."""

_FACTS = {
    "source": "Real images from",
    "licence": "Licence of the real images",
    "model_sha256": "Model",
}


def comparison_facts(config: Config, real: Provenance, generated: Provenance) -> dict[str, str]:
    """What was compared, in words, for the foot of the page."""
    facts = {
        _FACTS.get(name, name.replace("_", " ").capitalize()): ", ".join(filter(None, map(setting_text, values)))
        for name, values in {**real, **generated}.items()
    }
    facts = {name: text for name, text in facts.items() if text}
    facts["Configuration"] = f"{config.digest()}, {config.data.image_size} pixels at {config.data.spacing_mm} mm"
    return facts
