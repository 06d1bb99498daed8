"""Base class of encoder sessions that fit their first round to a byte budget, and resend what the receiver asks for."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from gocom.common.byte_account import message_bytes
from gocom.common.codec_interfaces import Analysis
from gocom.common.csi import Csi
from gocom.common.errors import BudgetTooSmall
from gocom.common.systems import SYSTEMS, first_message
from gocom.common.types import Budget, Feedback, Goal, GoMessage, Parameters, Segment
from gocom.transmitter.retransmission import resend


class ResendingSession(ABC):
    """An encoder session whose later rounds repeat elements of the first one: selective-repeat ARQ.

    A codec implements `message`. If it can make its first round smaller, it also sets `operating_points`.

    Args:
        codec: name of the codec.
        analysis: the analysis of the image, of which only the size is kept.
        goal: codec options and limits.

    Attributes:
        operating_points: the operating points that cost the fewest and the most bytes. In between, bytes are taken to
            be monotone. The default is a single one.
        sent: message of the first round; None before it is encoded.
    """

    operating_points: tuple[int, int] = (0, 0)

    def __init__(self, codec: str, analysis: Analysis, goal: Goal) -> None:
        self.codec, self.goal = codec, goal
        self.width_px, self.height_px = analysis.width_px, analysis.height_px
        self.sent: GoMessage | None = None

    @abstractmethod
    def message(self, operating_point: int | None = None) -> GoMessage:
        """Return the first round at an operating point; None: as the codec's options want it."""

    def first(self, csi: Csi, budget: Budget) -> GoMessage:
        """Return the round that the options want, or the largest that fits in the budget. Raises BudgetTooSmall."""
        message = self.message()
        if budget.max_bytes and self.round_bytes(message) > budget.max_bytes:
            message = self.largest_within(budget.max_bytes, self.round_bytes)
        self.sent = message
        return message

    def refine(self, feedback: Feedback, csi: Csi, budget: Budget) -> GoMessage | None:
        """Resend the requested elements, as many as the budget allows; None if nothing fits."""
        return resend(self.sent, feedback, budget, self.goal) if self.sent else None

    def round_bytes(self, message: GoMessage) -> int:
        """Return the bytes that a round takes on the link, header and end mark included."""
        return message_bytes(message, self.goal.link)

    def largest_within(self, max_bytes: int, size: Callable[[GoMessage], int]) -> GoMessage:
        """Return the round at the operating point of the most bytes that fits, found by bisection.

        Args:
            max_bytes: limit on the size.
            size: gives the size in bytes of a round, or of the part of it that the limit is for.

        Raises:
            BudgetTooSmall: not even the operating point of the fewest bytes fits.
        """
        fewest, most = self.operating_points
        low, high = sorted(self.operating_points)
        best: GoMessage | None = None
        while low <= high:
            middle = (low + high) // 2
            message = self.message(middle)
            fits = size(message) <= max_bytes
            if fits:
                best = message
            if fits == (fewest < most):
                low = middle + 1
            else:
                high = middle - 1
        if best is None:
            raise BudgetTooSmall(self.codec, max_bytes, size(self.message(fewest)))
        return best

    def header(self, **fields: Any) -> Parameters:
        """Return the codec header: what the options determine (System.header_template), and the given fields."""
        template = SYSTEMS.get(self.codec).header_template(self.goal.options)
        return type(template)(**dict(template) | fields)

    def compose(self, segments: Sequence[Segment], header: Parameters | None = None) -> GoMessage:
        """Return the message of the first round.

        Args:
            segments: the segments, in wire order.
            header: codec header; None: that which the options determine.
        """
        return first_message(self.goal, self.codec, header or self.header(), (self.width_px, self.height_px), segments)
