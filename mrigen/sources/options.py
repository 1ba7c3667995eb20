"""What a user can say of one source of scans, beyond where it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from mrigen.config import Section
from mrigen.labels import Modality, Pathology
from mrigen.storage import Location

ORIENTATIONS = r"^[RL][AP][SI]$|^[RL][SI][AP]$|^[AP][RL][SI]$|^[AP][SI][RL]$|^[SI][RL][AP]$|^[SI][AP][RL]$"

PathologyName = Annotated[str, AfterValidator(lambda text: Pathology.parse(text).value)]
ModalityName = Annotated[str, AfterValidator(lambda text: Modality.parse(text).value)]
SKIP = "skip"


class SourceOptions(Section):
    """How one source is to be understood. What is not given is recognised."""

    kind: str | None = None
    """The name of a profile, or `bids`: nothing else is then looked for."""
    pathology: PathologyName | None = None
    """The pathology of every scan, whatever tables say."""
    modality: ModalityName | None = None
    """The modality of every scan; DICOM series have no names to tell it by."""
    table: str | None = None
    """A CSV or TSV file that tells the subjects' pathology; a path, or a name within the source."""
    subject_column: str | None = None
    pathology_column: str | None = None
    values: Mapping[str, str] = Field(default_factory=dict)
    """What the table says -> a pathology, or `skip`."""
    orientation: str = Field("LAS", pattern=ORIENTATIONS)
    """Axes of Analyze files, which do not tell: where each axis points, the first voxel axis first."""
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
