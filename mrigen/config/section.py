"""What every group of settings is, and how a fault in one is told."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mrigen.errors import InputError

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Section(BaseModel):
    """A frozen group of settings that rejects unknown keys and non-finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


SectionT = TypeVar("SectionT", bound=Section)


def parse_section(section: type[SectionT], tree: Mapping[str, Any], source: str = "") -> SectionT:
    """Validate the settings of one section; InputError tells the first fault in one line, after the file `source`."""
    try:
        return section.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = [source, ".".join(str(part) for part in first["loc"])]
        message = first["msg"].removeprefix("Value error, ")
        given = "" if isinstance(first["input"], dict | BaseModel) else f", got {str(first['input'])[:80]!r}"
        raise InputError(": ".join([*filter(None, where), message + given])) from None
