"""How a round is sent, besides what is in it: its repair packets and the power of its packets. For every codec alike.

    encoder session --message--> without the codec's repair packets, with a rule for power --fits its share?--+
          ^                                                                                                   |
          +-------- no: again, with less ---------------------------------------------------------------------+
                                                                              yes: repair packets by worth --> message

A session of an encoder is wrapped, so that the pipeline in one process and the services do the same.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from gocom.common.byte_account import cost
from gocom.common.csi import Csi
from gocom.common.errors import BudgetTooSmall, InvalidInput
from gocom.common.image_files import ImageArray
from gocom.common.interfaces import EncoderSession, SemanticEncoder
from gocom.common.types import Budget, Feedback, Goal, GoMessage, LinkSettings, PowerAllocation
from gocom.common.wire.enums import enum_to_name
from gocom.transmitter.resources.packet_power import power_rule
from gocom.transmitter.resources.unequal_protection import SegmentProtection, protect, without_repair
from gocom.v1 import transmitter_pb2

DEFAULT_SHARE, MAX_SHARE = 0.25, 0.9
"""Of a budget, for repair packets."""

_ROUNDING = 1e-6

Encode = Callable[[int | None], GoMessage | None]
"""Most bytes of a round -> the round. Raises BudgetTooSmall."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """What a user wants of it.

    Attributes:
        power: how the power of packets is chosen.
        protection_share: share of the budget, 0 to 0.9, that the codec leaves for repair packets, which are then chosen
            by worth; None: they are what the codec's options say.
    """

    power: PowerAllocation = PowerAllocation.EQUAL
    protection_share: float | None = None


PLAIN = Delivery()
"""Messages go out as the encoder makes them."""


def delivery_from_proto(request: transmitter_pb2.TransmitRequest) -> Delivery:
    """Read a request's. Raises InvalidInput."""
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
    """An encoder session whose rounds are sent as a Delivery says.

    Attributes:
        csi: the channel as it is known; later rounds go by what it is then.
        protection: what was chosen for the segments of the last round; empty without unequal protection.
        delivery: what was wanted.
    """

    def __init__(self, session: EncoderSession, delivery: Delivery, link: LinkSettings) -> None:
        self.csi = Csi()
        self.protection: tuple[SegmentProtection, ...] = ()
        self.delivery = delivery
        self._session, self._link = session, link
        self._budget: int | None = None

    def first(self, csi: Csi, budget: Budget) -> GoMessage:
        """The first round. Raises BudgetTooSmall, and InvalidInput for protection without a budget."""
        self.csi, self._budget = csi, budget.max_bytes
        if self.delivery.protection_share is not None and not self._budget:
            raise InvalidInput("budget_bytes: unequal protection needs one")
        message = self._deliver(lambda most: self._session.first(csi, Budget(most)), self._budget)
        assert message is not None
        return message

    def refine(self, feedback: Feedback) -> GoMessage | None:
        """The next round, or None. With unequal protection its budget, if it has none, is that of the first."""
        most = feedback.budget_bytes or None
        if most is None and self.delivery.protection_share is not None:
            most = self._budget
        return self._deliver(lambda most: self._session.refine(replace(feedback, budget_bytes=most or 0)), most)

    def _deliver(self, encode: Encode, max_bytes: int | None) -> GoMessage | None:
        self.protection = ()
        if self.delivery == PLAIN:
            return encode(max_bytes)
        message = self._fitted(encode, max_bytes)
        if message is not None and self.delivery.protection_share is not None and max_bytes is not None:
            message, self.protection = protect(message, self._link, max_bytes, self.csi)
        return message

    def _fitted(self, encode: Encode, max_bytes: int | None) -> GoMessage | None:
        """A round of at most its share of so many bytes, powers of packets included. Raises BudgetTooSmall."""
        left = 1 - (self.delivery.protection_share or 0.0)
        most = room = None if max_bytes is None else max(1, int(max_bytes * left + _ROUNDING))
        while True:
            try:
                message = self._shaped(encode(room))
            except BudgetTooSmall as error:
                if max_bytes is None or most is None:
                    raise
                # Powers take room that a codec does not know of: its least may do where it was offered less.
                message, need = self._least(encode, error)
                if need > most:
                    raise BudgetTooSmall(error.codec, max_bytes, math.ceil(need / left)) from None
                return message
            if message is None or most is None or room is None:
                return message
            over = cost(message, self._link) - most
            if over <= 0 or room == 1:
                return message
            room = max(1, room - over)

    def _least(self, encode: Encode, error: BudgetTooSmall) -> tuple[GoMessage | None, int]:
        """The least that the codec can do, and its bytes. Raises the error where it was not about the budget."""
        try:
            message = self._shaped(encode(error.floor_bytes))
        except BudgetTooSmall:
            raise error from None
        return message, max(error.floor_bytes, cost(message, self._link)) if message else error.floor_bytes

    def _shaped(self, message: GoMessage | None) -> GoMessage | None:
        if message is None:
            return None
        if self.delivery.protection_share is not None:
            message = without_repair(message)
        return replace(message, power=power_rule(self.delivery.power, self.csi))


class DeliveryEncoder:
    """An encoder whose rounds are sent as a Delivery says; for the pipeline in one process."""

    def __init__(self, encoder: SemanticEncoder, delivery: Delivery) -> None:
        self._encoder, self._delivery = encoder, delivery

    def open(self, image: ImageArray, goal: Goal) -> DeliverySession:
        """Take an image."""
        return DeliverySession(self._encoder.open(image, goal), self._delivery, goal.link)
