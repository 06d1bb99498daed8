"""At which operating point a method sends a picture over a channel, so that it takes no more than a byte budget.

A codec that degrades keeps to a budget itself. For one whose file must arrive whole, the best there is within it:

    without protection   the scale and quality with the best picture of those that fit
    RaptorQ              scale, quality and number of repair packets with the best picture to expect, a file that does
                         not arrive counted as a grey one (repair.py)
    retransmissions      the best picture of those whose bytes of all rounds and feedback are expected to fit
                         (resending.py)

What scales and qualities come to is in scales.py.

All of a round's headers are in its bytes. What a channel is likely to do is drawn with seeds that no evaluation has
(fates.py): a sender that knows the channel, and not its luck. On a channel without faults the three are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from gocom.common.codec_interfaces import EncoderSession
from gocom.common.csi import Csi
from gocom.common.errors import BudgetTooSmall
from gocom.common.image_files import ImageArray
from gocom.common.image_quality import psnr_db
from gocom.common.systems import SYSTEMS
from gocom.common.types import Budget, Goal, LinkSettings
from gocom.common.wire.frame_messages import make_parameters
from gocom.evaluation.compare.fates import Fates
from gocom.evaluation.compare.methods import Method, Protection
from gocom.evaluation.compare.repair import Protected, best_protection
from gocom.evaluation.compare.resending import Resending
from gocom.evaluation.compare.scales import Point, Scales
from gocom.evaluation.run.codec_setup import Codec

MAX_ROUNDS = 8
"""Of a method with retransmissions."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a method sends a picture.

    Attributes:
        settings: keyword arguments of Codec.send, JSON-able: options of the codec, `budget`, `max_rounds`.
        at_floor: even the least that the codec can do takes more than the budget, and is sent nevertheless.
        budget_bytes: what it was to stay within.
    """

    settings: dict[str, Any]
    at_floor: bool
    budget_bytes: int | None


class Planner:
    """Plans for one picture after another; what it worked out for a picture is kept until the next one comes.

    Args:
        codecs: by name.
        link: how they are sent.
    """

    def __init__(self, codecs: Mapping[str, Codec], link: LinkSettings = LinkSettings()) -> None:
        self._codecs, self._link = codecs, link
        self._frame_index = 0
        self.forget()

    def forget(self) -> None:
        """The picture, and all that was worked out for it."""
        self._image: ImageArray | None = None
        self._scales: dict[tuple[str, tuple[tuple[str, str], ...]], Scales] = {}
        self._sessions: dict[Method, EncoderSession] = {}
        self._floors: dict[tuple[Method, int], int | None] = {}
        self._fates: dict[str, Fates] = {}
        self._resending: dict[tuple[Method, str], Resending] = {}

    def plan(self, method: Method, image: ImageArray, frame_index: int, channel: str, budget_bytes: int | None) -> Plan:
        """The operating point. The same for the same arguments, whatever was asked before.

        Args:
            method: its codec is one of those given.
            image: float32 [3, H, W] in [0, 1].
            frame_index: as it will be sent; fates depend on it.
            channel: SPEC.
            budget_bytes: of all rounds, every byte counted; None: the codec's own file, whatever that takes.

        Raises:
            InvalidInput: of the channel, or of an option of the method that is chosen here.
        """
        self._take(image, frame_index)
        if not method.classical:
            return self._degrading(method, budget_bytes)
        protection = Protection.NONE if self._fates_of(channel).idle else method.protection
        if protection is Protection.ARQ:
            return self._arq(method, channel, budget_bytes)
        scales = self._scales_of(method)
        if protection is Protection.FEC:
            chosen = self.protect(method, image, frame_index, channel, budget_bytes)
            if chosen is not None:
                return Plan(chosen.settings, False, budget_bytes)
        return _whole(scales, scales.plain(budget_bytes), budget_bytes)

    def protect(
        self, method: Method, image: ImageArray, frame_index: int, channel: str, budget_bytes: int | None
    ) -> Protected | None:
        """What RaptorQ is to do for a method, and what to expect of that; None: not even the smallest file fits."""
        self._take(image, frame_index)
        grey = psnr_db(image, np.full_like(image, 0.5))
        return best_protection(self._scales_of(method), self._fates_of(channel), budget_bytes, grey)

    def _take(self, image: ImageArray, frame_index: int) -> None:
        if image is not self._image or frame_index != self._frame_index:
            self.forget()
            self._image, self._frame_index = image, frame_index

    def _degrading(self, method: Method, budget_bytes: int | None) -> Plan:
        settings: dict[str, Any] = dict(method.options)
        if budget_bytes is None:
            return Plan(settings, False, None)
        if (method, budget_bytes) not in self._floors:
            self._floors[method, budget_bytes] = self._floor(method, budget_bytes)
        floor = self._floors[method, budget_bytes]
        settings["budget"] = budget_bytes if floor is None else floor
        return Plan(settings, floor is not None, budget_bytes)

    def _floor(self, method: Method, budget_bytes: int) -> int | None:
        """The least that the codec can do, where that is over the budget."""
        assert self._image is not None
        if method not in self._sessions:
            options = make_parameters(SYSTEMS.get(method.codec).options, dict(method.options))
            goal = Goal(options, self._frame_index, link=self._link)
            encoder = self._codecs[method.codec].encoder
            self._sessions[method] = encoder.open(encoder.analyse(self._image), goal)
        try:
            self._sessions[method].first(Csi(), Budget(budget_bytes))
        except BudgetTooSmall as error:
            return error.floor_bytes
        return None

    def _arq(self, method: Method, channel: str, budget_bytes: int | None) -> Plan:
        scales = self._scales_of(method)
        point: Point | None = scales.default
        if budget_bytes is not None:
            if (method, channel) not in self._resending:
                self._resending[method, channel] = Resending(scales.sizes(MAX_ROUNDS), self._fates_of(channel))
            resending = self._resending[method, channel]
            point = scales.best(lambda file_bytes: resending.fits(file_bytes, budget_bytes))
        return _whole(scales, point, budget_bytes, max_rounds=MAX_ROUNDS)

    def _scales_of(self, method: Method) -> Scales:
        key = (method.codec, method.options)
        if key not in self._scales:
            assert self._image is not None
            self._scales[key] = Scales(
                self._codecs[method.codec], self._image, dict(method.options), self._frame_index, self._link
            )
        return self._scales[key]

    def _fates_of(self, channel: str) -> Fates:
        if channel not in self._fates:
            self._fates[channel] = Fates(channel, self._frame_index)
        return self._fates[channel]


def _whole(scales: Scales, point: Point | None, budget_bytes: int | None, **settings: Any) -> Plan:
    """A plan without repair packets; None: the smallest file, though it does not fit."""
    return Plan((point or scales.floor).settings | settings, point is None, budget_bytes)
