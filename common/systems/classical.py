"""jpeg, jpeg2000, webp, avif: the bytes of an image file, which decode completely or not at all.

RaptorQ repair packets protect them if the options ask for it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Annotated

from pydantic import Field, model_validator

from gocom.common.systems import SYSTEMS, SegmentSpec, System
from gocom.common.types import Parameters

FILE = 0
MAX_FILE_BYTES = 4 << 20
"""Limit on the size of a file. No file reaches it: noise of 1024 x 1024 px as JPEG2000 of quality 100 has 3.3 MiB."""
CLASSICAL_CODECS = ("jpeg", "jpeg2000", "webp", "avif")


class Scale(IntEnum):
    """Divisor of both sides of the picture before it is encoded."""

    FULL = 1
    HALF = 2
    QUARTER = 4
    EIGHTH = 8


def scaled_size(width_px: int, height_px: int, scale: int) -> tuple[int, int]:
    """Return (width, height) in pixels of the picture in the file, rounded up, for a `Scale`."""
    return -(-width_px // scale), -(-height_px // scale)


class ClassicalHeader(Parameters):
    """Empty codec header: the file itself holds everything that the receiver needs."""


class ClassicalOptions(Parameters):
    """Options that a user may set.

    Attributes:
        quality: quality setting of the image encoder, 0 to 100; None: the codec's default. It excludes `target_bytes`.
        target_bytes: limit on the file size in bytes; the encoder takes the best quality within it. None: no limit.
        repair_overhead: RaptorQ repair packets as a share of the source packets.
        scale: divisor of both sides of the picture.
    """

    quality: Annotated[int, Field(ge=0, le=100)] | None = None
    target_bytes: Annotated[int, Field(ge=1)] | None = None
    repair_overhead: Annotated[float, Field(ge=0, le=8)] = 0.0
    scale: Scale = Scale.FULL

    @model_validator(mode="after")
    def _quality_or_target(self) -> ClassicalOptions:
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
            segments=(SegmentSpec("file", 256, max_elements=MAX_FILE_BYTES, all_or_nothing=True),),
            summary=f"the bytes of a {_name} file; decodes or fails",
        ),
    )
