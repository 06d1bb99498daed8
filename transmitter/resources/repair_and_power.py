"""Delivery of a round: its repair packets and the power of its packets, for every codec alike.

    encoder session --message--> without the codec's repair packets, with a power rule --within its share?--+
          ^                                                                                                 |
          +-------- no: encode again, with fewer bytes -----------------------------------------------------+
                                                                       yes: add repair packets by importance --> message

Delivery wraps an encoder session, so that the pipeline in one process and the services do the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Generic

from gocom.common.byte_account import message_bytes
from gocom.common.codec_interfaces import AnalysisT, EncoderSession, SemanticEncoder
from gocom.common.csi import Csi
from gocom.common.errors import BudgetTooSmall, InvalidInput
from gocom.common.image_files import ImageArray
from gocom.common.types import Budget, Feedback, Goal, GoMessage, PowerAllocation
from gocom.common.wire.enums import enum_to_name
from gocom.transmitter.resources.packet_power import power_rule
from gocom.transmitter.resources.unequal_protection import SegmentProtection, protect, without_repair
from gocom.v1 import transmitter_pb2

DEFAULT_SHARE, MAX_SHARE = 0.25, 0.9
"""Default and maximum share of a budget that goes to repair packets."""

_ROUNDING = 1e-6

Encode = Callable[[int | None], GoMessage | None]
"""Encodes a round of at most so many bytes (None: no limit). Raises BudgetTooSmall."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a client wants of the delivery.

    Attributes:
        power: allocation of power to packets.
        protection_share: share of the budget, 0 to 0.9, that the codec leaves for repair packets, which are then
            allocated by importance; None uses the repair packets that the codec's options choose.
    """

    power: PowerAllocation = PowerAllocation.EQUAL
    protection_share: float | None = None


PLAIN = Delivery()
"""Delivery of messages as the encoder makes them."""


def delivery_from_proto(request: transmitter_pb2.TransmitRequest) -> Delivery:
    """Read the delivery of a request. Raises InvalidInput."""
    descriptor = transmitter_pb2.PowerAllocation.DESCRIPTOR
    name = enum_to_name(descriptor, request.power_allocation, "power_allocation")
    power = PowerAllocation(name or PowerAllocation.EQUAL)
    if not request.HasField("unequal_protection"):
        return Delivery(power)
    wanted = request.unequal_protection
    share = wanted.share if wanted.HasField("share") else DEFAULT_SHARE
    if not 0 <= share <= MAX_SHARE:
        raise InvalidInput(f"unequal_protection.share: {share:g} is not in 0 to {MAX_SHARE:g}")
    if not request.budget_bytes:
        raise InvalidInput("budget_bytes: unequal protection needs one")
    return Delivery(power, share)


class DeliverySession:
    """An encoder session whose rounds are delivered as a Delivery says.

    Attributes:
        csi: channel state that the last round was encoded for.
        protection: protection of the last round's segments; empty without unequal protection.
        delivery: the wanted delivery.
        adapts_to_channel: as DeliveryEncoder's.
    """

    def __init__(self, session: EncoderSession, delivery: Delivery, goal: Goal, adapts_to_channel: bool) -> None:
        self.csi = Csi()
        self.protection: tuple[SegmentProtection, ...] = ()
        self.delivery, self.adapts_to_channel = delivery, adapts_to_channel
        self._session, self._link = session, goal.link
        self._budget: int | None = None

    def first(self, csi: Csi, budget: Budget) -> GoMessage:
        """Encode the first round. Raises BudgetTooSmall, and InvalidInput for unequal protection without a budget."""
        self.csi, self._budget = csi, budget.max_bytes
        if self.delivery.protection_share is not None and not self._budget:
            raise InvalidInput("budget_bytes: unequal protection needs one")
        message = self._deliver(lambda max_bytes: self._session.first(csi, Budget(max_bytes)), self._budget)
        assert message is not None
        return message

    def refine(self, feedback: Feedback, csi: Csi, budget: Budget) -> GoMessage | None:
        """Encode the next round, or return None if there is nothing to send.

        With unequal protection, a round without a budget gets that of the first round.
        """
        self.csi, limit = csi, budget.max_bytes
        if limit is None and self.delivery.protection_share is not None:
            limit = self._budget
        return self._deliver(lambda max_bytes: self._session.refine(feedback, csi, Budget(max_bytes)), limit)

    def _deliver(self, encode: Encode, max_bytes: int | None) -> GoMessage | None:
        self.protection = ()
        if self.delivery == PLAIN:
            return encode(max_bytes)
        message = self._fit(encode, max_bytes)
        if message is not None and self.delivery.protection_share is not None and max_bytes is not None:
            message, self.protection = protect(message, self._link, max_bytes, self.csi)
        return message

    def _fit(self, encode: Encode, max_bytes: int | None) -> GoMessage | None:
        """Encode a round, with its power column, within the codec's share of the bytes. Raises BudgetTooSmall."""
        codec_share = 1 - (self.delivery.protection_share or 0.0)
        limit = allowance = None if max_bytes is None else max(1, int(max_bytes * codec_share + _ROUNDING))
        while True:
            try:
                message = self._with_power_rule(encode(allowance))
            except BudgetTooSmall as error:
                if max_bytes is None or limit is None:
                    raise
                # The codec does not count the power column, so it was offered less: its smallest round may still fit.
                message, need = self._smallest_round(encode, error)
                if need > limit:
                    raise BudgetTooSmall(error.codec, max_bytes, math.ceil(need / codec_share)) from None
                return message
            if message is None or limit is None or allowance is None:
                return message
            excess = message_bytes(message, self._link) - limit
            if excess <= 0 or allowance == 1:
                return message
            allowance = max(1, allowance - excess)

    def _smallest_round(self, encode: Encode, error: BudgetTooSmall) -> tuple[GoMessage | None, int]:
        """Encode the smallest round that the codec can make, and return it with its size in bytes.

        Raises the given error if the codec cannot make that round either.
        """
        try:
            message = self._with_power_rule(encode(error.floor_bytes))
        except BudgetTooSmall:
            raise error from None
        return message, max(error.floor_bytes, message_bytes(message, self._link)) if message else error.floor_bytes

    def _with_power_rule(self, message: GoMessage | None) -> GoMessage | None:
        if message is None:
            return None
        if self.delivery.protection_share is not None:
            message = without_repair(message)
        return replace(message, power=power_rule(self.delivery.power, self.csi))


class DeliveryEncoder(Generic[AnalysisT]):
    """A SemanticEncoder whose rounds are delivered as a Delivery says.

    Attributes:
        adapts_to_channel: whether rounds follow from the channel state, by the codec or by the delivery.
    """

    def __init__(self, encoder: SemanticEncoder[AnalysisT], delivery: Delivery) -> None:
        self._encoder, self._delivery = encoder, delivery
        self.adapts_to_channel: bool = delivery != PLAIN or getattr(encoder, "adapts_to_channel", False)

    def analyse(self, image: ImageArray) -> AnalysisT:
        """Return the encoder's analysis of an image, float32 [3, H, W] in [0, 1]."""
        return self._encoder.analyse(image)

    def open(self, analysis: AnalysisT, goal: Goal) -> DeliverySession:
        """Start the encoding of an image."""
        session = self._encoder.open(analysis, goal)
        return DeliverySession(session, self._delivery, goal, self.adapts_to_channel)
