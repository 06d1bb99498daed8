"""jpeg, jpeg2000, webp, avif: a file's bytes, with RaptorQ repair packets if asked. The cliff everybody knows."""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from pydantic import Field, model_validator

from gocom.common.systems import SYSTEMS, SegmentSpec, System
from gocom.common.types import Parameters

FILE = 0
MAX_FILE_BYTES = 4 << 20
"""More than any file takes: of noise, 1024 px a side, a JPEG2000 of quality 100 has 3.3 MiB."""
CLASSICAL_CODECS = ("jpeg", "jpeg2000", "webp", "avif")


class Scale(IntEnum):
    """By how much each side of the picture is divided before it is encoded."""

    FULL = 1
    HALF = 2
    QUARTER = 4
    EIGHTH = 8


def shrunk(width_px: int, height_px: int, scale: int) -> tuple[int, int]:
    """Width and height of the picture in the file, rounded up."""
    return -(-width_px // scale), -(-height_px // scale)


class ClassicalHeader(Parameters):
    """Nothing: the file says it all."""


class ClassicalOptions(Parameters):
    """What a user may set."""

    quality: Annotated[int, Field(ge=0, le=100)] | None = None
    target_bytes: Annotated[int, Field(ge=1)] | None = None
    repair_overhead: Annotated[float, Field(ge=0, le=8)] = 0.0
    scale: Scale = Scale.FULL

    @model_validator(mode="after")
    def _one_of_two(self) -> ClassicalOptions:
        if self.quality is not None and self.target_bytes is not None:
            raise ValueError("quality and target_bytes exclude each other")
        return self


for _name in CLASSICAL_CODECS:
    SYSTEMS.add(
        _name,
        System(
            name=_name,
            header=ClassicalHeader,
            options=ClassicalOptions,
            segments=(SegmentSpec("file", 256, limit=MAX_FILE_BYTES, whole=True),),
            summary=f"the bytes of a {_name} file; decodes or fails",
        ),
    )
