"""At which operating point a method sends a picture over a channel, so that it takes no more than a byte budget.

A codec that degrades keeps to a budget itself. For one whose file must arrive whole, the best there is within it:

    without protection   the scale and quality with the best picture of those that fit
    RaptorQ              scale, quality and number of repair packets with the best picture to expect, a file that does
                         not arrive counted as a grey one (repair.py)
    retransmissions      the best picture of those whose bytes of all rounds and feedback are expected to fit
                         (resending.py)

What scales and qualities come to is in files.py.

All of a round's headers are in its bytes. What a channel is likely to do is drawn with seeds that no evaluation has
(fates.py): a sender that knows the channel, and not its luck. On a channel without faults the three are one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from gocom.common.byte_account import message_bytes
from gocom.common.codec_interfaces import EncoderSession
from gocom.common.csi import Csi
from gocom.common.errors import BudgetTooSmall
from gocom.common.image_files import ImageArray
from gocom.common.image_quality import psnr_db
from gocom.common.systems import SYSTEMS
from gocom.common.types import Budget, Goal, GoMessage, LinkSettings
from gocom.common.wire.frame_messages import make_parameters
from gocom.evaluation.compare.fates import Fates
from gocom.evaluation.compare.files import Files, Point
from gocom.evaluation.compare.methods import Method, Protection
from gocom.evaluation.compare.repair import Protected, best_protection
from gocom.evaluation.compare.resending import Resending
from gocom.evaluation.measure.judge import grey_like
from gocom.evaluation.run.codec_setup import Codec

MAX_ROUNDS = 8
"""Of a method with retransmissions."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a method sends a picture.

    Attributes:
        settings: keyword arguments of Codec.send, JSON-able: options of the codec, `budget`, `max_rounds`.
        at_floor: even the least that the codec can do takes more than the budget, and is sent nevertheless.
    """

    settings: dict[str, Any]
    at_floor: bool


class Planner:
    """Plans for one picture; what it works out for one of them serves the others.

    Args:
        codecs: by name.
        image: float32 [3, H, W] in [0, 1].
        frame_index: as it will be sent; fates depend on it.
        link: how it is sent.
    """

    def __init__(
        self, codecs: Mapping[str, Codec], image: ImageArray, frame_index: int, link: LinkSettings = LinkSettings()
    ) -> None:
        self._codecs, self._image, self._frame_index, self._link = codecs, image, frame_index, link
        # Other plans ask for the same again.
        self._fates = cache(partial(Fates, frame_index=frame_index))
        self._files_of, self._resending_of = cache(self._files), cache(self._resending)
        self._session_of, self._first_of = cache(self._session), cache(self._first)

    def plan(self, method: Method, channel: str, budget_bytes: int | None) -> Plan:
        """The operating point. The same for the same arguments, whatever was asked before.

        Args:
            method: its codec is one of those given.
            channel: SPEC.
            budget_bytes: of all rounds, every byte counted; None: the codec's own file, whatever that takes.

        Raises:
            InvalidInput: of the channel.
        """
        if not method.classical:
            return self._degrading(method, budget_bytes)
        files = self._files_of(method.codec, method.options)
        protection = Protection.NONE if self._fates(channel).idle else method.protection
        if protection is Protection.ARQ:
            point: Point | None = files.default
            if budget_bytes is not None:
                resending = self._resending_of(files, channel)
                point = files.best(lambda file_bytes: resending.fits(file_bytes, budget_bytes))
            return _whole(files, point, max_rounds=MAX_ROUNDS)
        if protection is Protection.FEC:
            chosen = self.protect(method, channel, budget_bytes)
            if chosen is not None:
                return Plan(chosen.settings, False)
        return _whole(files, files.plain(budget_bytes))

    def protect(self, method: Method, channel: str, budget_bytes: int | None) -> Protected | None:
        """What RaptorQ is to do for a method, and what to expect of that; None: not even the smallest file fits."""
        grey = psnr_db(self._image, grey_like(self._image))
        return best_protection(self._files_of(method.codec, method.options), self._fates(channel), budget_bytes, grey)

    def spent(self, method: Method, budget_bytes: int | None) -> int:
        """Bytes that a codec that degrades makes of a budget, in a frame of one round."""
        return message_bytes(self._first_of(method, budget_bytes)[1], self._link)

    def _degrading(self, method: Method, budget_bytes: int | None) -> Plan:
        settings: dict[str, Any] = dict(method.options)
        if budget_bytes is None:
            return Plan(settings, False)
        settings["budget"], _ = self._first_of(method, budget_bytes)
        return Plan(settings, settings["budget"] > budget_bytes)

    def _first(self, method: Method, budget_bytes: int | None) -> tuple[int | None, GoMessage]:
        """The budget that the codec can keep to, which is its floor where that is more, and what it makes of that."""
        session = self._session_of(method)
        try:
            return budget_bytes, session.first(Csi(), Budget(budget_bytes))
        except BudgetTooSmall as error:
            return error.floor_bytes, session.first(Csi(), Budget(error.floor_bytes))

    def _session(self, method: Method) -> EncoderSession:
        options = make_parameters(SYSTEMS.get(method.codec).options, dict(method.options))
        encoder = self._codecs[method.codec].encoder
        return encoder.open(encoder.analyse(self._image), Goal(options, self._frame_index, link=self._link))

    def _files(self, codec: str, options: tuple[tuple[str, str], ...]) -> Files:
        return Files(self._codecs[codec], self._image, dict(options), self._frame_index, self._link)

    def _resending(self, files: Files, channel: str) -> Resending:
        return Resending(files.sizes(MAX_ROUNDS), self._fates(channel))


def _whole(files: Files, point: Point | None, **settings: Any) -> Plan:
    """A plan without repair packets; None: the smallest file, though it does not fit."""
    return Plan((point or files.floor).settings | settings, point is None)
