"""jpeg, jpeg2000, webp and avif through Pillow: a file of a given quality, or of the best quality within a byte budget.

With few bytes a smaller image looks better than a lower quality; see the option `scale`.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
from PIL import Image

from gocom.common.codec_interfaces import Analysis
from gocom.common.csi import Csi
from gocom.common.image_files import ImageArray, to_uint8
from gocom.common.systems.classical import CLASSICAL_CODECS, FILE, ClassicalOptions, Scale, scaled_size
from gocom.common.types import Budget, ElementCoding, Goal, GoMessage, Segment
from gocom.common.zoo import Zoo
from gocom.transmitter.encoders import ENCODERS
from gocom.transmitter.resending_session import ResendingSession

DEFAULT_QUALITY = 50
_MAX_J2K_RATIO = 400.0


def encode_file(codec: str, picture: Image.Image, quality: int) -> bytes:
    """Encode an image at a quality of 0 to 100, where 100 is best. For JPEG2000 it sets the compression ratio."""
    out = io.BytesIO()
    if codec == "jpeg":
        picture.save(out, "JPEG", quality=max(1, quality), optimize=True)
    elif codec == "jpeg2000":
        ratio = _MAX_J2K_RATIO ** (1 - quality / 100)  # 400:1 at 0, lossless size at 100, even steps in log rate
        picture.save(out, "JPEG2000", quality_mode="rates", quality_layers=[ratio], irreversible=True, no_jp2=True)
    elif codec == "webp":
        picture.save(out, "WEBP", quality=quality, method=4)
    else:
        picture.save(out, "AVIF", quality=quality, speed=8)
    return out.getvalue()


@dataclass(frozen=True, slots=True, eq=False)
class ClassicalAnalysis(Analysis):
    """An image, and `scaled`, which returns it in 8 bits and reduced by a Scale; each is made once."""

    scaled: Callable[[Scale], Image.Image]


class ClassicalSession(ResendingSession):
    """One image that is sent as one file. Its operating points are qualities."""

    def __init__(self, codec: str, analysis: ClassicalAnalysis, goal: Goal) -> None:
        super().__init__(codec, analysis, goal)
        assert isinstance(goal.options, ClassicalOptions)
        self.options = goal.options
        self.picture = analysis.scaled(self.options.scale)
        fixed = self.options.quality
        self.operating_points = (0, 100) if fixed is None else (fixed, fixed)

    def first(self, csi: Csi, budget: Budget) -> GoMessage:
        """Return the file at the chosen quality, or at the best one within target and budget. Raises BudgetTooSmall."""
        target, message = self.options.target_bytes, None
        if target:
            message = self.largest_within(target, _file_bytes)
            if budget.max_bytes and self.round_bytes(message) > budget.max_bytes:
                message = None
        if message is None and self.options.quality is None and budget.max_bytes:
            message = self.largest_within(budget.max_bytes, self.round_bytes)
        if message is None:
            return super().first(csi, budget)
        self.sent = message
        return message

    def message(self, operating_point: int | None = None) -> GoMessage:
        """Return the round with the file of a quality of 0 to 100; None: that of the options, or DEFAULT_QUALITY."""
        fixed = DEFAULT_QUALITY if self.options.quality is None else self.options.quality
        data = encode_file(self.codec, self.picture, fixed if operating_point is None else operating_point)
        elements = np.frombuffer(data, np.uint8).astype(np.int64)
        importance, overhead = np.ones(len(elements), np.float32), self.options.repair_overhead
        tolerant = overhead == 0
        return self.compose([Segment(FILE, elements, importance, ElementCoding.FIXED, overhead, tolerant)])


def _file_bytes(message: GoMessage) -> int:
    return len(message.segments[0].elements)


def _scaled(picture: Image.Image, scale: Scale) -> Image.Image:
    if scale is Scale.FULL:
        return picture
    return picture.resize(scaled_size(*picture.size, scale), Image.Resampling.LANCZOS)


class ClassicalEncoder:
    """Encoder of one of Pillow's formats. It needs no net of the zoo."""

    def __init__(self, codec: str, zoo: Zoo) -> None:
        self.codec = codec

    def analyse(self, image: ImageArray) -> ClassicalAnalysis:
        """Return an image, float32 [3, H, W] in [0, 1], as the files hold it."""
        return ClassicalAnalysis(image, cache(partial(_scaled, Image.fromarray(to_uint8(image)))))

    def open(self, analysis: ClassicalAnalysis, goal: Goal) -> ClassicalSession:
        """Start the encoding of an image."""
        return ClassicalSession(self.codec, analysis, goal)


for _codec in CLASSICAL_CODECS:
    ENCODERS.add(_codec, partial(ClassicalEncoder, _codec))
