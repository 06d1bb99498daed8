"""Bursty erasures: a Gilbert-Elliott chain over packets (two_state.py has its picture and formulas).

A packet is lost with probability loss_bad (netem's 1-h) or loss_good (netem's 1-k). One uniform a packet drives the
chain: u < p makes it bad, u >= 1 - r makes it good, and in between it keeps its state. That has the transition
probabilities p and r whenever p + r <= 1, and the state at a packet is decided by the last packet whose uniform fell
outside the middle. So a packet's fate follows from sequence numbers alone: batches may come in any size and order. The
chain starts stationary at each (frame, round).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.fault_bases.cached_rng import draw_by_window
from gocom.channel_emulator.fault_bases.fault import PacketFault, check_range
from gocom.channel_emulator.fault_bases.two_state_chain import TwoStateChain
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools, Ints

_STATE, _LOSS, _START = 0, 1, 2
"""Blocks of the random stream: what moves the chain, what loses a packet, where the chain starts."""
_WINDOW = 1 << 14
"""Packets looked at together; bounds memory whatever the sequence numbers."""


@IMPAIRMENTS.register("gilbert_elliott")
@dataclass(frozen=True, slots=True)
class GilbertElliott(PacketFault):
    """Gilbert-Elliott erasures.

    Attributes:
        p: probability of going from good to bad, above 0, to 1.
        r: probability of going from bad to good, above 0, to 1; with loss_bad=1, loss_good=0 bursts last 1/r packets.
        loss_bad: probability of erasure in the bad state, 0 to 1.
        loss_good: probability of erasure in the good state, 0 to 1.
    """

    p: float
    r: float
    loss_bad: float = 1.0
    loss_good: float = 0.0

    def __post_init__(self) -> None:
        check_range("loss_bad", self.loss_bad, 0, 1)
        check_range("loss_good", self.loss_good, 0, 1)
        TwoStateChain(self.p, self.r, self.loss_bad, self.loss_good)

    @property
    def _chain(self) -> TwoStateChain:
        return TwoStateChain(self.p, self.r, self.loss_bad, self.loss_good)

    @property
    def expected_rate(self) -> float:
        return self._chain.rate

    def pair_erasure_rate(self, payload_bits: int) -> float:
        return self._chain.pair_rate

    def count_variance(self, trials: int) -> float:
        """Of the erasures in a round of so many packets."""
        return self._chain.count_variance(trials)

    def work(self, batch: PacketBatch) -> float:
        """The chain moves at every sequence number between the first and the last."""
        return 2 * (batch.span.last - batch.span.first + 1)

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Bools:
        return draw_by_window(rng, batch, "lost", self._lost)

    def _lost(self, sequence: Ints, rng: CounterRng) -> Bools:
        """bool [P], for sequence numbers int64 [P] in any order."""
        bad = self.states(sequence, rng)
        if (self.loss_bad, self.loss_good) == (1, 0):
            return bad
        return rng.uniform(sequence, _LOSS) < np.where(bad, self.loss_bad, self.loss_good)

    def states(self, sequence: Ints, rng: CounterRng) -> Bools:
        """bool [P], True = bad, for sequence numbers int64 [P] in any order."""
        bad = np.zeros(len(sequence), bool)
        if not len(sequence):
            return bad
        first, stop = int(sequence.min()), int(sequence.max()) + 1
        # A few times the mean way back to a move: with these the state before the first is mostly known.
        begin = max(0, first - int(min(_WINDOW, 4 / (self.p + self.r) + 4)))
        state = None
        for start in range(begin, stop, _WINDOW):
            end = min(start + _WINDOW, stop)
            moves = self._moves(start, end, rng)
            if state is None and not (moves[: first - start + 1] >= 0).any():
                state = self._state_before(begin, rng)
            if state is not None:
                moves[0] = moves[0] if moves[0] >= 0 else int(state)
            # Forward fill: each packet takes the last move at or before it.
            moved = np.flatnonzero(moves >= 0)
            filled = np.zeros(end - start, bool)
            if len(moved):
                filled[moved[0] :] = np.repeat(moves[moved] == 1, np.diff(moved, append=end - start))
            inside = (sequence >= start) & (sequence < end)
            bad[inside] = filled[sequence[inside] - start]
            state = bool(filled[-1])
        return bad

    def _moves(self, start: int, stop: int, rng: CounterRng) -> npt.NDArray[np.int8]:
        """int8 [stop - start]: 1 made bad, 0 made good, -1 state kept."""
        u = rng.uniform(np.arange(start, stop), _STATE)
        return np.where(u < self.p, 1, np.where(u >= 1 - self.r, 0, -1)).astype(np.int8)

    def _state_before(self, sequence: int, rng: CounterRng) -> bool:
        """True if bad just before this packet: the last move before it, or the stationary start."""
        step = int(min(_WINDOW, 4 / (self.p + self.r) + 4))
        while sequence > 0:
            start = max(0, sequence - step)
            moves = self._moves(start, sequence, rng)
            made = np.flatnonzero(moves >= 0)
            if len(made):
                return bool(moves[made[-1]] == 1)
            sequence = start
        return bool(rng.uniform(0, _START) < self._chain.bad_share)
