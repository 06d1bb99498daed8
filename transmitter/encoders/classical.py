"""jpeg, jpeg2000, webp and avif through Pillow: a file of a given quality, or of the best quality within a byte budget.

With few bytes a smaller image looks better than a lower quality; see the option `scale`.
"""

from __future__ import annotations

import io
from functools import partial

import numpy as np
from PIL import Image

from gocom.common.byte_account import message_bytes
from gocom.common.csi import Csi
from gocom.common.errors import BudgetTooSmall
from gocom.common.image_files import ImageArray, to_uint8
from gocom.common.systems import first_message
from gocom.common.systems.classical import CLASSICAL_CODECS, FILE, ClassicalHeader, ClassicalOptions, Scale, scaled_size
from gocom.common.types import Budget, ElementCoding, Feedback, Goal, GoMessage, Segment
from gocom.transmitter.encoders import ENCODERS
from gocom.transmitter.retransmission import resend

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


class ClassicalSession:
    """One image that is sent as one file."""

    def __init__(self, codec: str, image: ImageArray, goal: Goal) -> None:
        self.codec, self.goal = codec, goal
        assert isinstance(goal.options, ClassicalOptions)
        self.options = goal.options
        self.picture = Image.fromarray(to_uint8(image))
        self.width_px, self.height_px = self.picture.size
        if self.options.scale is not Scale.FULL:
            size = scaled_size(self.width_px, self.height_px, self.options.scale)
            self.picture = self.picture.resize(size, Image.Resampling.LANCZOS)
        self.sent: GoMessage | None = None

    def first(self, csi: Csi, budget: Budget) -> GoMessage:
        """Return the file at the chosen quality, or at the best one within target and budget. Raises BudgetTooSmall."""
        quality = self.options.quality
        if quality is None and (self.options.target_bytes or budget.max_bytes):
            message = self._best(budget)
        else:
            message = self._message(
                encode_file(self.codec, self.picture, DEFAULT_QUALITY if quality is None else quality)
            )
            if budget.max_bytes and (need := message_bytes(message, self.goal.link)) > budget.max_bytes:
                raise BudgetTooSmall(self.codec, budget.max_bytes, need)
        self.sent = message
        return message

    def refine(self, feedback: Feedback) -> GoMessage | None:
        """Resend the missing bytes (selective-repeat ARQ)."""
        return resend(self.sent, feedback, self.goal.link) if self.sent else None

    def _best(self, budget: Budget) -> GoMessage:
        """Find the highest quality that fits, by bisection; the file size is nearly monotone in the quality."""
        target = self.options.target_bytes
        limit = target or budget.max_bytes or 0
        low, high, best = 0, 100, None
        while low <= high:
            middle = (low + high) // 2
            data = encode_file(self.codec, self.picture, middle)
            message = self._message(data)
            if (len(data) if target else message_bytes(message, self.goal.link)) <= limit:
                low, best = middle + 1, message
            else:
                high = middle - 1
        if best is None or (target and budget.max_bytes and message_bytes(best, self.goal.link) > budget.max_bytes):
            floor = encode_file(self.codec, self.picture, 0)
            need = len(floor) if target else message_bytes(self._message(floor), self.goal.link)
            raise BudgetTooSmall(self.codec, limit, need)
        return best

    def _message(self, data: bytes) -> GoMessage:
        elements = np.frombuffer(data, np.uint8).astype(np.int64)
        overhead = self.options.repair_overhead
        segment = Segment(
            FILE, elements, np.ones(len(elements), np.float32), ElementCoding.FIXED, overhead,
            damage_tolerant=overhead == 0,
        )  # fmt: skip
        return first_message(self.goal, self.codec, ClassicalHeader(), (self.width_px, self.height_px), (segment,))


class ClassicalEncoder:
    """Encoder of one of Pillow's formats. `device` is not used."""

    def __init__(self, codec: str, device: str) -> None:
        self.codec = codec

    def open(self, image: ImageArray, goal: Goal) -> ClassicalSession:
        """Start the encoding of an image, float32 [3, H, W] in [0, 1]."""
        return ClassicalSession(self.codec, image, goal)


for _codec in CLASSICAL_CODECS:
    ENCODERS.add(_codec, partial(ClassicalEncoder, _codec))
