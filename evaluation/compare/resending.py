"""What a file takes in all when what is lost is asked for and sent again (selective-repeat ARQ), packet by packet.

The rounds of `gocom.common.pipeline.run` without what packets hold: sizes, numbers and fates are those that it would
have, and feedback is the message that would be sent. Feedback arrives, and nothing is decoded.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt

from gocom.common.element_order import interleaver
from gocom.common.rounds import positions_to_spans
from gocom.common.systems.classical import FILE
from gocom.common.types import Feedback, Ints
from gocom.common.wire.feedback import answer_bytes, counted_message, feedback_to_proto
from gocom.evaluation.compare.fates import Fates
from gocom.evaluation.compare.sizes import Sizes
from gocom.receiver.link_estimation import LinkEstimate
from gocom.v1 import feedback_pb2

DRAWS, WITH_FEEDBACK = 100, 10
"""Draws of the channel, and those of them in which feedback is made: that takes most of the time, and its share of all
bytes varies little."""
_STEPS = 2
"""Times that this share is worked out for a budget: for a file size, and for the one it leads to."""
_GRID = sorted({round(1.25**power) for power in range(50)})
"""Numbers of packets for which a round is laid out."""
_ANSWER = answer_bytes(feedback_pb2.SendFeedbackResponse(will_send=True))


class Resending:
    """Bytes that a file takes in all its rounds, to be expected on one channel.

    Those of the rounds are the mean over many draws. What feedback adds to them is a share, from few.

    Args:
        sizes: of rounds, and how many there may be.
        fates: the channel.
    """

    def __init__(self, sizes: Sizes, fates: Fates) -> None:
        self._sizes, self._fates = sizes, fates
        self._mean, self._share_within = cache(self._mean_of_rounds), cache(self._share_of_largest)

    def fits(self, file_bytes: int, budget_bytes: int) -> bool:
        """Whether all rounds and their feedback are expected to take no more than the budget."""
        if self._mean(file_bytes) > budget_bytes:
            return False
        return self._mean(file_bytes) * self._share_within(budget_bytes) <= budget_bytes

    def sent(self, file_bytes: int, draw: int) -> int:
        """Every byte of all rounds and of their feedback, in one draw of the channel; exact."""
        missing = np.arange(file_bytes)
        spent, estimate, first = 0, LinkEstimate(), self._sizes.header(file_bytes)
        link, full, last = self._sizes.link, self._sizes.payload_bytes(False), self._sizes.max_rounds - 1
        for round_ in range(last + 1):
            spent += self._sizes.round_bytes(len(missing), later=round_ > 0)
            lengths = np.minimum(full, len(missing) - np.arange(0, len(missing), full))
            came = self._fates.arrived(draw, lengths, round_, tolerant=True)
            if round_ == last or bool(came.all()):
                break
            missing = np.sort(missing[interleaver(len(missing), link)[np.repeat(~came, lengths)]])
            estimate.add(np.where(came, lengths, -1))
            wanted = Feedback(first.frame_index, round_, {FILE: positions_to_spans(missing)}, link=estimate.report())
            spent += len(counted_message(feedback_to_proto(wanted, [first], link))) + _ANSWER
        return spent

    def _share(self, file_bytes: int) -> float:
        """All bytes, by those of the rounds."""
        exact = sum(self.sent(file_bytes, draw) for draw in range(WITH_FEEDBACK))
        return exact / float(self._rounds(file_bytes)[:WITH_FEEDBACK].sum())

    def _share_of_largest(self, budget_bytes: int) -> float:
        """The same for the largest file that takes no more than a budget."""
        share = 1.0
        for _ in range(_STEPS):
            share = self._share(self._largest(budget_bytes / share))
        return share

    def _mean_of_rounds(self, file_bytes: int) -> float:
        return float(self._rounds(file_bytes).mean())

    def _largest(self, room: float) -> int:
        """The most file bytes whose rounds take no more, at least 1."""
        low, high = 1, max(1, int(room))
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self._mean(middle) <= room else (low, middle - 1)
        return low

    def _rounds(self, file_bytes: int) -> npt.NDArray[np.float64]:
        """float64 [DRAWS]: bytes of all rounds without feedback; each packet's fate is that of a full one."""
        full, draws = self._sizes.payload_bytes(False), np.arange(DRAWS)
        left, spent = np.full(DRAWS, file_bytes), np.zeros(DRAWS)
        for round_ in range(self._sizes.max_rounds):
            if not left.any():
                break
            packets = -(-left // full)
            spent += np.where(left > 0, left + self._overhead(packets, round_ > 0), 0.0)
            arrived = self._fates.counts(int(packets.max()), full, round_, DRAWS)
            came, before = arrived[draws, packets], arrived[draws, np.maximum(packets - 1, 0)]
            # The last packet is not full: less is lost with it.
            short = np.where(came == before, packets * full - left, 0)
            left = (packets - came) * full - short
        return spent

    def _overhead(self, packets: Ints, later: bool) -> npt.NDArray[np.float64]:
        """float64 [n]: bytes of a round beyond those of the file, by its packets int64 [n]; in between along a line."""
        full = self._sizes.payload_bytes(False)
        grid = _GRID[: int(np.searchsorted(_GRID, packets.max())) + 1]
        beyond = [self._sizes.round_bytes(count * full, later=later) - count * full for count in grid]
        return np.interp(packets, grid, beyond)
