"""The files that a codec can make of one picture: of every scale and quality, as far as they are of use.

At few bytes a smaller picture is better than a worse one. Of each scale some qualities are looked at first; where
another scale makes a clearly better picture of the same bytes, the others near them are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from operator import ge
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gocom.common.csi import Csi
from gocom.common.image_files import ImageArray
from gocom.common.image_quality import psnr_db
from gocom.common.pipeline import sampler_generator
from gocom.common.systems import SYSTEMS
from gocom.common.systems.classical import FILE, Scale
from gocom.common.types import Budget, FrameHeader, Goal, GoMessage, LinkSettings, ReceivedMessage, ReceivedSegment
from gocom.common.wire.frame_messages import make_parameters
from gocom.evaluation.compare.sizes import Sizes
from gocom.evaluation.run.codec_setup import Codec
from gocom.transmitter.encoders.classical import DEFAULT_QUALITY

_BEST = 100.0
"""dB of a decoded picture at most: the PSNR of an equal one is infinite."""
_LOOKED_AT = (0, 5, *range(10, 101, 10))
"""Qualities of each scale."""
_CLOSE = 1.0
"""dB by which a scale may be worse than another, as far as those tell, and be tried nevertheless."""


class Point(NamedTuple):
    """What a file is made with."""

    scale: Scale
    quality: int

    @property
    def settings(self) -> dict[str, Any]:
        """Options of the codec, JSON-able."""
        return {"quality": self.quality} | ({} if self.scale is Scale.FULL else {"scale": self.scale.value})


class Files:
    """One codec whose file must arrive whole, for one picture. Files are made as they are asked for, and kept.

    Args:
        codec: both ends.
        image: float32 [3, H, W] in [0, 1].
        options: of the codec, as they were given; a quality or a scale among them leaves no other.
        frame_index, link: as the file is sent.

    Attributes:
        default: where bytes do not count: the options as they were given, and the codec's own.
    """

    def __init__(
        self, codec: Codec, image: ImageArray, options: Mapping[str, str], frame_index: int, link: LinkSettings
    ) -> None:
        self._codec, self._image, self._options = codec, image, SYSTEMS.get(codec.name).options
        self._analysis = codec.encoder.analyse(image)
        self._goal = Goal(self._options(), frame_index, link=link)
        given = make_parameters(self._options, dict(options)).model_dump(include=set(options))
        quality: int | None = given.get("quality")
        scale: Scale | None = given.get("scale")
        self._scales = list(Scale) if scale is None else [scale]
        self._lowest, self._highest = (0, 100) if quality is None else (quality, quality)
        self.default = Point(scale or Scale.FULL, DEFAULT_QUALITY if quality is None else quality)
        self._messages: dict[Point, GoMessage] = {}
        self._scores: dict[Point, float] = {}
        self._sizes: dict[int, Sizes] = {}

    @cached_property
    def floor(self) -> Point:
        """With the smallest file of all; of equals the better picture."""
        points = [Point(scale, self._lowest) for scale in self._scales]
        return min(points, key=lambda point: (self.file_bytes(point), -self.score(point)))

    def file_bytes(self, point: Point) -> int:
        """Of the file."""
        return len(self._message(point).segments[0].elements)

    def score(self, point: Point) -> float:
        """PSNR of the picture in dB, all of its file arrived."""
        if point not in self._scores:
            message = self._message(point)
            file = message.segments[0].elements
            frame = FrameHeader(message.codec, message.header, message.width_px, message.height_px, ())
            segment = ReceivedSegment(FILE, file, np.ones(len(file), bool))
            *_, final = self._codec.decoder.reconstruct(
                [ReceivedMessage(frame, (segment,), 1, 1)], generator=sampler_generator(0, 0, 0)
            )
            self._scores[point] = min(_BEST, psnr_db(self._image, final.image))
        return self._scores[point]

    def sizes(self, max_rounds: int = 1) -> Sizes:
        """What rounds cost, where there may be so many, whatever the scale."""
        if max_rounds not in self._sizes:
            goal = replace(self._goal, max_rounds=max_rounds)
            any_file = self._message(Point(self.default.scale, self._lowest))
            # Without a position, the opening of the session says what every round of this frame is like.
            self._sizes[max_rounds] = Sizes(replace(any_file, rounds=goal.rounds, position=None), goal.link)
        return self._sizes[max_rounds]

    def tops(self, fits: Callable[[int], bool]) -> list[Point]:
        """Of each scale that is of use the highest quality whose file fits, by its bytes.

        The floor where there is none; where not even that fits, nothing.
        """
        if not fits(self.file_bytes(self.floor)):
            return []
        found = [self._top(scale, fits) for scale in self._useful]
        return [point for point in found if point is not None] or [self.floor]

    def best(self, fits: Callable[[int], bool]) -> Point | None:
        """With the best picture of those that fit; None: none does."""
        return max(self.tops(fits), key=self.score, default=None)

    def plain(self, budget_bytes: int | None) -> Point | None:
        """The best one that fits in one round without repair packets; without a budget the default."""
        return self.default if budget_bytes is None else self.best(self.sizes().fits(budget_bytes))

    def lowest(self, scale: Scale) -> Point:
        """With the smallest file of a scale that is of use."""
        return Point(scale, self._useful[scale][0])

    def within(self, scale: Scale, file_bytes: int) -> Point | None:
        """With the best file of a scale that is of use that has at most so many bytes."""
        return self._top(scale, partial(ge, file_bytes))

    def _top(self, scale: Scale, fits: Callable[[int], bool]) -> Point | None:
        """By bisection: file size is monotone closely enough."""
        (low, high), best = self._useful[scale], None
        while low <= high:
            point = Point(scale, (low + high) // 2)
            if fits(self.file_bytes(point)):
                low, best = point.quality + 1, point
            else:
                high = point.quality - 1
        return best

    @cached_property
    def _useful(self) -> dict[Scale, tuple[int, int]]:
        """By scale the lowest and the highest quality that may be the best of files that are no larger."""
        if len(self._scales) == 1:
            return {self._scales[0]: (self._lowest, self._highest)}
        qualities = sorted({min(max(quality, self._lowest), self._highest) for quality in _LOOKED_AT})
        looked_at = {scale: self._log_bytes_and_scores(scale, qualities) for scale in self._scales}
        # Between two files on a line; both rise with quality, but for noise.
        curves = {scale: np.maximum.accumulate(values, axis=1) for scale, values in looked_at.items()}
        found = {}
        for scale, (log_bytes, scores) in looked_at.items():
            others = [
                np.interp(log_bytes, x, y, left=-np.inf) for other, (x, y) in curves.items() if other is not scale
            ]
            kept = np.flatnonzero(scores >= np.max(others, axis=0) - _CLOSE)
            if kept.size:
                first, last = max(0, kept[0] - 1), min(len(qualities) - 1, kept[-1] + 1)
                found[scale] = qualities[first], qualities[last]
        return found

    def _log_bytes_and_scores(self, scale: Scale, qualities: Sequence[int]) -> npt.NDArray[np.float64]:
        """float64 [2, n], of files of n qualities."""
        points = [Point(scale, quality) for quality in qualities]
        return np.array([np.log([self.file_bytes(point) for point in points]), [self.score(point) for point in points]])

    def _message(self, point: Point) -> GoMessage:
        if point not in self._messages:
            options = make_parameters(self._options, {"quality": point.quality, "scale": point.scale})
            session = self._codec.encoder.open(self._analysis, replace(self._goal, options=options))
            self._messages[point] = session.first(Csi(), Budget())
        return self._messages[point]
