"""Bursty erasures: a Gilbert-Elliott chain over packets (see fault_bases/two_state_chain.py for diagram and formulas).

A packet is lost with probability loss_bad (netem's 1-h) or loss_good (netem's 1-k). One uniform u per packet drives the
chain: u < p sets the state to bad, u >= 1 - r sets it to good, and otherwise the state is kept. This has the transition
probabilities p and r whenever p + r <= 1, and the state at a packet is decided by the last packet whose uniform set the
state. So the fate of a packet depends on sequence numbers alone, and batches may have any size and order. The chain
starts in its stationary distribution at each (frame, round).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.fault_bases.cached_rng import draw_cached
from gocom.channel_emulator.fault_bases.fault import PacketFault, check_range
from gocom.channel_emulator.fault_bases.two_state_chain import TwoStateChain
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.common.counter_rng import CounterRng
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools, Ints

_STATE, _LOSS, _START = 0, 1, 2
"""Blocks of the random stream: one for state changes, one for losses, and one for the initial state."""
_WINDOW = 1 << 14
"""Number of packets processed together; bounds memory for any sequence numbers."""


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
        """Return the variance of the number of erasures in a round of this many packets."""
        return self._chain.count_variance(trials)

    def work(self, batch: PacketBatch) -> float:
        """Return about how many random numbers a draw takes: two per sequence number from the first to the last."""
        return 2 * (batch.sequence_range.last - batch.sequence_range.first + 1)

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Bools:
        return draw_cached(rng, batch, "lost", self._lost)

    def _lost(self, sequence: Ints, rng: CounterRng) -> Bools:
        """Return which packets are lost, bool [P], for sequence numbers int64 [P] in any order."""
        bad = self.states(sequence, rng)
        if (self.loss_bad, self.loss_good) == (1, 0):
            return bad
        return rng.uniform(sequence, _LOSS) < np.where(bad, self.loss_bad, self.loss_good)

    def states(self, sequence: Ints, rng: CounterRng) -> Bools:
        """Return the states, bool [P], True for bad, for sequence numbers int64 [P] in any order."""
        bad = np.zeros(len(sequence), bool)
        if not len(sequence):
            return bad
        first, stop = int(sequence.min()), int(sequence.max()) + 1
        # Going back a few times the mean distance to a set state nearly always finds the state at the first packet.
        begin = max(0, first - int(min(_WINDOW, 4 / (self.p + self.r) + 4)))
        state = None
        for start in range(begin, stop, _WINDOW):
            end = min(start + _WINDOW, stop)
            transitions = self._transitions(start, end, rng)
            if state is None and not (transitions[: first - start + 1] >= 0).any():
                state = self._state_before(begin, rng)
            if state is not None:
                transitions[0] = transitions[0] if transitions[0] >= 0 else int(state)
            # Forward fill: each packet takes the last state set at or before it.
            set_at = np.flatnonzero(transitions >= 0)
            filled = np.zeros(end - start, bool)
            if len(set_at):
                filled[set_at[0] :] = np.repeat(transitions[set_at] == 1, np.diff(set_at, append=end - start))
            inside = (sequence >= start) & (sequence < end)
            bad[inside] = filled[sequence[inside] - start]
            state = bool(filled[-1])
        return bad

    def _transitions(self, start: int, stop: int, rng: CounterRng) -> npt.NDArray[np.int8]:
        """Return int8 [stop - start]: 1 where a packet sets the state to bad, 0 to good, -1 where the state is kept."""
        u = rng.uniform(np.arange(start, stop), _STATE)
        return np.where(u < self.p, 1, np.where(u >= 1 - self.r, 0, -1)).astype(np.int8)

    def _state_before(self, sequence: int, rng: CounterRng) -> bool:
        """Return whether the state just before this packet is bad: the last state set before, or the initial state."""
        step = int(min(_WINDOW, 4 / (self.p + self.r) + 4))
        while sequence > 0:
            start = max(0, sequence - step)
            transitions = self._transitions(start, sequence, rng)
            set_at = np.flatnonzero(transitions >= 0)
            if len(set_at):
                return bool(transitions[set_at[-1]] == 1)
            sequence = start
        return bool(rng.uniform(0, _START) < self._chain.bad_share)
