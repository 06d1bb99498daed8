"""The files that a codec can make of one picture: of every scale and quality, as far as they are of use.

At few bytes a smaller picture is better than a worse one. Of each scale some qualities are looked at first; where
another scale makes a clearly better picture of the same bytes, the others near them are not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from operator import ge
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from gocom.common.errors import InvalidInput
from gocom.common.image_files import ImageArray
from gocom.common.systems import SYSTEMS
from gocom.common.systems.classical import Scale
from gocom.common.types import LinkSettings
from gocom.common.wire.frame_messages import make_parameters
from gocom.evaluation.compare.ladder import Ladder, Sizes
from gocom.evaluation.run.codec_setup import Codec
from gocom.transmitter.encoders.classical import DEFAULT_QUALITY

SEARCHED = ("quality", "scale")
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


class Scales:
    """One codec whose file must arrive whole, for one picture: a ladder of qualities for each scale.

    Args:
        codec: both ends.
        image: float32 [3, H, W] in [0, 1].
        options: of the codec, as they were given; a quality or a scale among them leaves no other.
        frame_index, link: as the file is sent.

    Attributes:
        default: where bytes do not count: the options as they were given, and the codec's own.

    Raises:
        InvalidInput: an option that is chosen here.
    """

    def __init__(
        self, codec: Codec, image: ImageArray, options: Mapping[str, str], frame_index: int, link: LinkSettings
    ) -> None:
        if chosen := sorted(set(options) - set(SEARCHED)):
            raise InvalidInput(
                f"codecs: {codec.name}: {chosen[0]}: is chosen for each rate and channel; name {' or '.join(SEARCHED)}"
            )
        given = make_parameters(SYSTEMS.get(codec.name).options, dict(options)).model_dump(include=set(options))
        quality, scale = given.get("quality"), given.get("scale")
        self.default = Point(scale or Scale.FULL, DEFAULT_QUALITY if quality is None else quality)
        self._ladders = {
            each: Ladder(codec, image, quality, frame_index, link, each)
            for each in (Scale if scale is None else [scale])
        }
        self._floor: Point | None = None
        self._useful_ladders: dict[Scale, Ladder] | None = None

    @property
    def floor(self) -> Point:
        """With the smallest file of all; of equals the better picture."""
        if self._floor is None:
            # Before ladders are narrowed: a file that another is better than may still be the smallest.
            points = [Point(scale, ladder.lowest) for scale, ladder in self._ladders.items()]
            self._floor = min(points, key=lambda point: (self.file_bytes(point), -self.score(point)))
        return self._floor

    def file_bytes(self, point: Point) -> int:
        """Of the file."""
        return self._ladders[point.scale].file_bytes(point.quality)

    def score(self, point: Point) -> float:
        """Of the picture, all of its file arrived."""
        return self._ladders[point.scale].score(point.quality)

    def sizes(self, max_rounds: int = 1) -> Sizes:
        """What rounds cost, whatever the scale."""
        return self._ladders[self.default.scale].sizes(max_rounds)

    def tops(self, fits: Callable[[int], bool]) -> list[Point]:
        """Of each scale that is of use the highest quality whose file fits, by its bytes.

        The floor where there is none; where not even that fits, nothing.
        """
        if not fits(self.file_bytes(self.floor)):
            return []
        ladders = self._useful()
        found = {scale: ladder.best(fits) for scale, ladder in ladders.items()}
        return [Point(scale, quality) for scale, quality in found.items() if quality is not None] or [self.floor]

    def best(self, fits: Callable[[int], bool]) -> Point | None:
        """With the best picture of those that fit; None: none does."""
        return max(self.tops(fits), key=self.score, default=None)

    def plain(self, budget_bytes: int | None) -> Point | None:
        """The best one that fits in one round without repair packets; without a budget the default."""
        return self.default if budget_bytes is None else self.best(self.sizes().fits(budget_bytes))

    def lowest(self, scale: Scale) -> Point:
        """With the smallest file of a scale that is of use."""
        return Point(scale, self._useful()[scale].lowest)

    def within(self, scale: Scale, file_bytes: int) -> Point | None:
        """With the best file of a scale that has at most so many bytes."""
        quality = self._useful()[scale].best(partial(ge, file_bytes))
        return None if quality is None else Point(scale, quality)

    def _useful(self) -> dict[Scale, Ladder]:
        """The ladders, each narrowed to the qualities that may be the best of files that are no larger."""
        if self._useful_ladders is None:
            _ = self.floor
            curves = {scale: _Curve(ladder) for scale, ladder in self._ladders.items()}
            self._useful_ladders = {}
            for scale, curve in curves.items():
                others = [other.at(curve.file_bytes) for each, other in curves.items() if each is not scale]
                kept = np.flatnonzero(np.all([curve.scores >= other - _CLOSE for other in others], axis=0))
                if not others or kept.size:
                    ladder = self._useful_ladders[scale] = self._ladders[scale]
                    if others:
                        first, last = max(0, kept[0] - 1), min(len(curve.qualities) - 1, kept[-1] + 1)
                        ladder.lowest, ladder.highest = curve.qualities[first], curve.qualities[last]
        return self._useful_ladders


class _Curve:
    """What some qualities of a ladder cost and are worth: file bytes int64 [n], scores float64 [n], n at most 12."""

    def __init__(self, ladder: Ladder) -> None:
        self.qualities = sorted({min(max(quality, ladder.lowest), ladder.highest) for quality in _LOOKED_AT})
        self.file_bytes = np.array([ladder.file_bytes(quality) for quality in self.qualities])
        self.scores = np.array([ladder.score(quality) for quality in self.qualities])

    def at(self, file_bytes: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """float64 [m]: the score of files of so many bytes, int64 [m]; between two on a line in log bytes."""
        sizes, scores = np.maximum.accumulate(self.file_bytes), np.maximum.accumulate(self.scores)
        return np.interp(np.log(file_bytes), np.log(sizes), scores, left=-np.inf)
