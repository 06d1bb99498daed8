"""Spending a given number of bytes: the same total for every policy, or everything of several rounds at once."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from gocom.common.byte_account import message_bytes
from gocom.common.csi import Csi
from gocom.common.packetizer import packetize
from gocom.common.systems.lami_go import EBM_POLICIES, TOKENS, LamiGoHeader, MaskingPolicy
from gocom.common.types import Budget, GoMessage, LinkSettings
from gocom.evaluation.lami_go.world import World
from gocom.evaluation.study.world import Picture

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
    """The share of tokens that a message withholds, as the option mask_ratio has it."""
    assert isinstance(message.header, LamiGoHeader)
    if message.header.masking in EBM_POLICIES:
        (segment,) = [s for s in message.segments if s.kind == TOKENS]
        return 0.0 if segment.keep is None else float(1 - segment.keep.mean())
    return message.header.mask_ratio_permille / 1000


def fit(world: World, picture: Picture, masking: MaskingPolicy, budget: int) -> dict[str, Any]:
    """Options with which the policy withholds as little as the budget (in bytes, everything counted) allows.

    The transmitter's own fitting, asked once. Sends with these options have the same packets as sends with the budget;
    their header is up to 9 bytes shorter, since the session's opening says a mask that follows from the options.
    """
    message = world.session(picture, masking=masking.value, mask_ratio=0.0).first(Csi(), Budget(budget))
    return {"masking": masking.value, "mask_ratio": ratio_of(message)}


class AtOnce:
    """One picture sent in a single round at any budget: sizes are computed once for each ratio and repair count."""

    def __init__(self, world: World, picture: Picture, link: LinkSettings = LinkSettings()) -> None:
        self._world, self._picture, self._link = world, picture, link
        self._size = cache(lambda ratio, repair: message_bytes(self._message(self.options(ratio, repair)), link))
        self._source_packets: int | None = None

    def within(self, budget: int) -> dict[str, Any]:
        """Options of the smallest PRM ratio that fits; where that is 0, with as many RaptorQ packets as still fit.

        A budget below the floor (nine tenths withheld) gets the floor.
        """
        ratio = smallest_within(0, MAX_RATIO_PERMILLE, lambda r: self._size(r, 0), budget)
        if ratio is None:
            return self.options(MAX_RATIO_PERMILLE, 0)
        if ratio > 0:
            return self.options(ratio, 0)
        unsent = smallest_within(0, MAX_REPAIR_PACKETS, lambda n: self._size(0, MAX_REPAIR_PACKETS - n), budget)
        return self.options(0, 0 if unsent is None else MAX_REPAIR_PACKETS - unsent)

    def options(self, ratio_permille: int, repair: int) -> dict[str, Any]:
        """Of lami_go: PRM at this ratio, with so many repair packets for the tokens."""
        options: dict[str, Any] = {"masking": MaskingPolicy.PRM.value, "mask_ratio": ratio_permille / 1000}
        return options | {"repair_overhead": repair / self._sources()} if repair else options

    def _sources(self) -> int:
        """Packets that unmasked tokens take when they are protected."""
        if self._source_packets is None:
            header, _ = packetize(self._message(self.options(0, 0) | {"repair_overhead": 0.1}), self._link)
            (self._source_packets,) = [s.source_packets for s in header.segments if s.kind == TOKENS]
        return self._source_packets

    def _message(self, options: dict[str, Any]) -> GoMessage:
        return self._world.session(self._picture, **options).first(Csi(), Budget())
