"""Options that spend a given number of bytes, everything counted: of lami_go's policies, and of file codecs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from gocom.common.byte_account import message_bytes
from gocom.common.csi import Csi
from gocom.common.errors import BudgetTooSmall
from gocom.common.image_files import png_bytes, to_uint8
from gocom.common.packetizer import packetize
from gocom.common.systems.lami_go import EBM_POLICIES, TOKENS, LamiGoHeader, MaskingPolicy
from gocom.common.types import Budget, GoMessage, LinkSettings
from gocom.evaluation.experiment.bench import Bench, Picture
from gocom.evaluation.experiment.cases import Asked
from gocom.evaluation.experiment.experiment import Settings
from gocom.evaluation.run.work import Row

LAMI_GO = "lami_go"
MAX_RATIO_PERMILLE = 900
MAX_REPAIR_PACKETS = 64


def smallest_within(low: int, high: int, size: Callable[[int], int], budget: int) -> int | None:
    """The smallest value in low to high whose size is within the budget, where sizes fall; None: even high's is not."""
    best = None
    while low <= high:
        middle = (low + high) // 2
        if size(middle) <= budget:
            best, high = middle, middle - 1
        else:
            low = middle + 1
    return best


def ratio_of(message: GoMessage) -> float:
    """The share of tokens that a message of lami_go withholds, as the option mask_ratio has it."""
    assert isinstance(message.header, LamiGoHeader)
    if message.header.masking in EBM_POLICIES:
        (segment,) = [s for s in message.segments if s.kind == TOKENS]
        return 0.0 if segment.keep is None else float(1 - segment.keep.mean())
    return message.header.mask_ratio_permille / 1000


@lru_cache(maxsize=16)
def fit(bench: Bench, picture: Picture, masking: MaskingPolicy, budget: int) -> dict[str, Any]:
    """Options of lami_go with which a policy withholds as little as the budget in bytes allows.

    The transmitter's own fitting, asked once: the cases of a picture share it. Sends with these options have the same
    packets as sends with the budget; their header is up to 9 bytes shorter, since the session's opening says a mask
    that follows from the options.
    """
    message = bench.session(picture, LAMI_GO, masking=masking.value, mask_ratio=0.0).first(Csi(), Budget(budget))
    return {"masking": masking.value, "mask_ratio": ratio_of(message)}


class AtOnce:
    """One picture sent by lami_go in a single round at any budget; each ratio and repair count is sized once."""

    def __init__(self, bench: Bench, picture: Picture) -> None:
        self._bench, self._picture, self._source_packets = bench, picture, 0
        self._size = cache(lambda ratio, repair: message_bytes(self._message(self.options(ratio, repair)), _LINK))

    def within(self, budget: int) -> dict[str, Any]:
        """Options of the smallest PRM ratio that fits; where that is 0, with as many RaptorQ packets as still fit.

        A budget below the floor (nine tenths withheld) gets the floor.
        """
        ratio = smallest_within(0, MAX_RATIO_PERMILLE, lambda r: self._size(r, 0), budget)
        if ratio != 0:
            return self.options(MAX_RATIO_PERMILLE if ratio is None else ratio, 0)
        unsent = smallest_within(0, MAX_REPAIR_PACKETS, lambda n: self._size(0, MAX_REPAIR_PACKETS - n), budget)
        return self.options(0, 0 if unsent is None else MAX_REPAIR_PACKETS - unsent)

    def options(self, ratio_permille: int, repair: int) -> dict[str, Any]:
        """Of PRM at this ratio, with so many repair packets for the tokens."""
        options: dict[str, Any] = {"masking": MaskingPolicy.PRM.value, "mask_ratio": ratio_permille / 1000}
        return options | {"repair_overhead": repair / self._sources()} if repair else options

    def _sources(self) -> int:
        """Packets that unmasked tokens take when they are protected."""
        if not self._source_packets:
            header, _ = packetize(self._message(self.options(0, 0) | {"repair_overhead": 0.1}), _LINK)
            (self._source_packets,) = [s.source_packets for s in header.segments if s.kind == TOKENS]
        return self._source_packets

    def _message(self, options: dict[str, Any]) -> GoMessage:
        return self._bench.session(self._picture, LAMI_GO, **options).first(Csi(), Budget())


_LINK = LinkSettings()


@dataclass(frozen=True, slots=True)
class Fitted:
    """A level: lami_go's policy with the bytes of another send; `like` are settings of `Bench.send`."""

    masking: MaskingPolicy
    like: Settings

    def __call__(self, asked: Asked) -> Settings:
        """Options."""
        return fit(asked.bench, asked.picture, self.masking, _spent(asked, self.like))


@dataclass(frozen=True, slots=True)
class FileLike:
    """A level: a file codec's best file with at most the bytes of another send, or its smallest.

    Attributes:
        like: settings of `Bench.send`. A codec that is that of `like` gets just these.
        codec: None: that of the settings that are known so far.
    """

    like: Settings
    codec: str | None = None

    def __call__(self, asked: Asked) -> Settings:
        """Options."""
        codec = self.codec or asked.settings["codec"]
        if codec == self.like.get("codec"):
            return self.like
        budget = _spent(asked, self.like)
        try:
            asked.bench.send(asked.picture, codec=codec, budget=budget)
        except BudgetTooSmall:
            return {"codec": codec, "quality": 0}
        return {"codec": codec, "budget": budget}


@dataclass(frozen=True, slots=True)
class AllAtOnce:
    """A level: one round of lami_go with the bytes of several; `rounds` are settings over those known so far."""

    rounds: Settings

    def __call__(self, asked: Asked) -> Settings:
        """Options."""
        budget = _spent(asked, {**asked.settings, **self.rounds})
        return {"round_budget_bytes": 0, **at_once(asked.bench, asked.picture).within(budget)}


at_once = lru_cache(maxsize=1)(AtOnce)
"""AtOnce of the picture that was asked for last: cases of a picture come one after the other."""


def _spent(asked: Asked, settings: Settings) -> int:
    return asked.bench.send(asked.picture, seed=asked.seed, **settings).bytes.total_bytes


def original(_: Bench, picture: Picture) -> Iterator[Row]:
    """A row: bytes of the picture as a PNG file."""
    yield {"bytes": len(png_bytes(to_uint8(picture.image)))}
