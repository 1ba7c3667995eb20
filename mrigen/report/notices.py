"""What a reader must know before the figures: of the data, of the samples, and of the model that made them."""

from __future__ import annotations

from mrigen.checkpoint import CONFIG, SUMS
from mrigen.config import DataConfig
from mrigen.report.provenance import Provenance
from mrigen.storage import Location

PHANTOM_NOTICE = (
    "The real images here are of a phantom cohort: brains computed from an atlas, not scanned. "
    "The figures say how well the model learned the phantom."
)
INCOMPLETE_NOTICE = "The samples are not complete: run `mrigen generate` to its end, then evaluate again."


def notices(real: Provenance, *, complete: bool = True) -> list[str]:
    """Of the data, and of the samples; `complete` tells whether all of them were there."""
    found = []
    if any("phantom" in str(source).casefold() for source in real.get("source", ())):
        found.append(PHANTOM_NOTICE)
    if not complete:
        found.append(INCOMPLETE_NOTICE)
    return found


def model_notices(model: Location, samples: Provenance, data: DataConfig) -> list[str]:
    """Of what is not known of the model: whether the held-out subjects of this data were held out from it too.

    `model` is the run's own, whose training split is known by the settings stored in it; `samples` are those evaluated.
    """
    sums = model / SUMS
    own = sums.sha256() if sums.is_file() else None
    if any(name != own for name in samples.get("model_sha256", ())):
        return [
            "The samples are of another model than this run's own: that it was not trained on the held-out subjects is "
            "taken for granted here, not known."
        ]
    if own is None:
        return []
    trained = (model / CONFIG).read_json()["data"]
    fractions = ("val_fraction", "test_fraction")
    then, now = ([float(one[name]) for name in fractions] for one in (trained, data.model_dump()))
    if then == now:
        return []
    return [
        f"The model was trained on data split otherwise ({', '.join(fractions)}: {then[0]:g}, {then[1]:g}; "
        f"here {now[0]:g}, {now[1]:g}): it may have been trained on subjects that are held out here."
    ]


def broken_notice(num_broken: int, num_samples: int) -> list[str]:
    """Of samples that hold values that are not finite, if there are any."""
    if not num_broken:
        return []
    return [
        f"{num_broken} of {num_samples} samples hold values that are not finite: their cells are not judged. "
        "Mend the model, and generate again."
    ]
