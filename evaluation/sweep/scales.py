"""The files that a codec can make of one picture: of every scale and quality, as far as they are of use.

At few bytes a smaller picture is better than a worse one. Between two scales there is a file size up to which the smaller
picture is the better one: it is found once, and only the better one is looked at on either side.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from operator import ge
from typing import Any, NamedTuple

from common.errors import InvalidInput
from common.images import ImageArray
from common.systems import SYSTEMS
from common.systems.classical import Scale
from common.types import LinkSettings
from common.wire import make_parameters
from evaluation.setup import Codec
from evaluation.sweep.ladder import Ladder, QualityOf, Sizes
from transmitter.encoders.classical import DEFAULT_QUALITY

SEARCHED = ("quality", "scale")


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
        quality_of: how a decoded picture is scored.

    Attributes:
        default: where bytes do not count: the options as they were given, and the codec's own.

    Raises:
        InvalidInput: an option that is chosen here.
    """

    def __init__(
        self, codec: Codec, image: ImageArray, options: Mapping[str, str], frame_index: int, link: LinkSettings,
        quality_of: QualityOf,
    ) -> None:  # fmt: skip
        if chosen := sorted(set(options) - set(SEARCHED)):
            raise InvalidInput(
                f"codecs: {codec.name}: {chosen[0]}: is chosen for each rate and channel; name {' or '.join(SEARCHED)}"
            )
        given = make_parameters(SYSTEMS.get(codec.name).options, dict(options)).model_dump(include=set(options))
        quality, scale = given.get("quality"), given.get("scale")
        self.default = Point(scale or Scale.FULL, DEFAULT_QUALITY if quality is None else quality)
        self._ladders = {
            each: Ladder(codec, image, quality, frame_index, link, quality_of, each)
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
        """Of each scale that is of use the highest quality whose file fits, by its bytes; the floor where there is none.

        None at all: not even the floor fits.
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
        """The ladders, without what a file that is no larger is better than."""
        if self._useful_ladders is None:
            _ = self.floor
            scales = sorted(self._ladders, reverse=True)
            for index, larger in enumerate(scales):
                for smaller in scales[:index]:
                    _divide(self._ladders[larger], self._ladders[smaller])
            self._useful_ladders = {s: ladder for s, ladder in self._ladders.items() if ladder.lowest <= ladder.highest}
        return self._useful_ladders


def _divide(larger: Ladder, smaller: Ladder) -> None:
    """Narrow two ladders, of a larger picture and a smaller one, to the file sizes at which either is the better one."""

    def rival(quality: int) -> int | None:
        return larger.best(partial(ge, smaller.file_bytes(quality)))

    def better(quality: int) -> bool:
        other = rival(quality)
        return other is None or smaller.score(quality) > larger.score(other)

    low, high, found = smaller.lowest, smaller.highest, None
    while low <= high:
        middle = (low + high) // 2
        # JPEG2000's lowest qualities are all of one size, and say nothing.
        if smaller.file_bytes(middle) == smaller.file_bytes(smaller.lowest) or better(middle):
            low, found = middle + 1, middle
        else:
            high = middle - 1
    if found is None or not better(found):
        smaller.highest = smaller.lowest - 1
        return
    smaller.highest, beaten = found, rival(found)
    if beaten is not None:
        larger.lowest = beaten + 1
