"""What faults on a fading link share: gains by block, the SNR of each packet, and counts that know of the blocks.

Packets of a block share a gain, so their fates are not independent of each other: the variance of a count is that of
the sum over a block, averaged over the gain. Neither the gain nor anything else is redrawn within a block.
"""

from __future__ import annotations

from abc import abstractmethod
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from channel_emulator.impairments import Fault, check_range
from channel_emulator.physical.fading import Fading, blocks_of
from channel_emulator.round_rng import by_window
from channel_emulator.tally import Score, Tally
from common.errors import InvalidInput, UnknownName
from common.packets import PacketBatch
from common.random import CounterRng
from common.types import Ints

Doubles = npt.NDArray[np.float64]

NONE, RAYLEIGH, RICIAN = "none", "rayleigh", "rician"
_MAX_COHERENCE = 1 << 16
_ROWS = 256
"""Blocks of a round averaged together; bounds memory."""
_MAX_KINDS = 256
"""Sizes and powers of packets in a round; one that has more of them is not scored: each costs an integral."""


class FadingFault(Fault):
    """A fault of a block-fading link. Its SNR is |h|^2 * power * snr, E|h|^2 = 1; `power` is the packet's own.

    Attributes:
        snr_db: mean over the fading, of a packet of power 1, Es/N0 in dB; without fading that of every packet.
        coherence: packets that share a gain; a round begins with a new one.
        fading: "none", "rayleigh" or "rician".
        k_factor_db: of "rician": power of the line of sight over that of all that is scattered.
    """

    snr_db: float
    coherence: int
    fading: str
    k_factor_db: float | None

    @property
    @abstractmethod
    def link(self) -> Fading:
        """Its gains."""

    @abstractmethod
    def given_gain(self, bits: int, power: float, gain: Doubles) -> tuple[Doubles, Doubles]:
        """float64 [N] twice: mean and variance of the events in one packet, for each gain |h|^2, float64 [N]."""

    @abstractmethod
    def packet_error_rate(self, bits: int, snr: Doubles) -> Doubles:
        """float64 [N]: a packet of so many bits has an error, whatever becomes of it; `snr` linear, float64 [N]."""

    @property
    def snr(self) -> float:
        """Linear."""
        return float(10 ** (self.snr_db / 10))

    def gains(self, sequence: Ints, rng: CounterRng) -> npt.NDArray[np.complex128]:
        """complex128 [P]: h of each packet, int64 [P]."""
        blocks, which = np.unique(blocks_of(sequence, self.coherence), return_inverse=True)
        gains: npt.NDArray[np.complex128] = self.link.gains(blocks, rng.sub("gain"))[which]
        return gains

    def packet_snr(self, batch: PacketBatch, rng: CounterRng) -> Doubles:
        """float64 [P], linear."""
        gain = by_window(rng, batch.sequence, "gain", lambda sequence, rng: np.abs(self.gains(sequence, rng)) ** 2)
        return np.asarray(gain * batch.power * self.snr)

    def tally(self) -> Tally:
        return FadingTally(self)

    def nodes(self, bits: Ints, power: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        """Means and variances of the events in packets of T kinds, over the gain.

        Returns:
            weights [N] of gains, means [T, N], and variances [T, N] given the gain.
        """
        of = [_moments(self, one, other) for one, other in zip(bits.tolist(), power.tolist(), strict=True)]
        return self.link.weights, np.stack([mean for mean, _ in of]), np.stack([variance for _, variance in of])

    def packet_erasure_rate(self, payload_bits: int) -> float:
        """For packets of power 1."""
        weights, mean, _ = self._erasures(payload_bits)
        return float(weights @ mean)

    def pair_erasure_rate(self, payload_bits: int) -> float:
        """Two packets in a row share a gain but at the end of a block."""
        weights, mean, _ = self._erasures(payload_bits)
        rate, both = float(weights @ mean), float(weights @ mean**2)
        return both + (rate**2 - both) / self.coherence

    def _erasures(self, bits: int) -> tuple[Doubles, Doubles, Doubles]:
        weights, means, variances = self.nodes(np.array([bits]), np.ones(1))
        return weights, means[0], variances[0]


class FadingTally(Tally):
    """Counts of a round whose packets meet gains in blocks. With more than _MAX_KINDS kinds of packets: no trials."""

    def __init__(self, fault: FadingFault) -> None:
        super().__init__(fault)
        self._link = fault
        self._packets: list[npt.NDArray[np.float64]] = []

    def add(self, batch: PacketBatch, drawn: npt.NDArray[Any]) -> None:
        trials, events = self._fault.count(batch, drawn)
        self._trials += trials
        self._events += events
        block = blocks_of(batch.sequence, self._link.coherence)
        self._packets.append(np.stack([block, 8 * batch.length, batch.power], axis=1).astype(float))

    def score(self) -> Score:
        if not self._trials:
            return Score(0, 0, 0.0, 0.0)
        packets = np.concatenate(self._packets)
        kinds, kind = np.unique(packets[:, 1:], axis=0, return_inverse=True)
        if len(kinds) > _MAX_KINDS:
            return Score(0, 0, 0.0, 0.0)
        _, block = np.unique(packets[:, 0], return_inverse=True)
        weights, means, variances = self._link.nodes(kinds[:, 0].astype(np.int64), kinds[:, 1])
        own = np.bincount(kind) @ (variances @ weights)
        expected, between = 0.0, 0.0
        for start in range(0, int(block.max()) + 1, _ROWS):
            inside = (block >= start) & (block < start + _ROWS)
            filled = np.zeros((_ROWS, len(kinds)))
            np.add.at(filled, (block[inside] - start, kind[inside]), 1)
            # Most blocks hold the same kinds of packets.
            rows, times = np.unique(filled, axis=0, return_counts=True)
            sums = rows @ means
            mean = sums @ weights
            expected += float(times @ mean)
            between += float(times @ ((sums - mean[:, None]) ** 2 @ weights))
        return Score(self._trials, self._events, expected, float(own) + between)


@lru_cache(maxsize=_MAX_KINDS)
def _moments(fault: FadingFault, bits: int, power: float) -> tuple[Doubles, Doubles]:
    return fault.given_gain(bits, power, fault.link.nodes)


@lru_cache(maxsize=64)
def fading_of(fading: str, k_factor_db: float | None, step: float) -> Fading:
    """The distribution that the parameters of a FadingFault name."""
    if fading == NONE:
        return Fading(None, step)
    return Fading(0.0 if k_factor_db is None else 10 ** (k_factor_db / 10), step)


def check_fading(fault: FadingFault) -> None:
    """Raises InvalidInput, UnknownName for parameters that all fading faults have."""
    check_range("snr_db", fault.snr_db, -40, 60)
    check_range("coherence", fault.coherence, 1, _MAX_COHERENCE)
    if not float(fault.coherence).is_integer():
        raise InvalidInput(f"coherence: {fault.coherence!r} is not a whole number of packets")
    if fault.fading not in (NONE, RAYLEIGH, RICIAN):
        raise UnknownName("fading", str(fault.fading)[:80], (NONE, RAYLEIGH, RICIAN))
    if fault.fading == RICIAN:
        if fault.k_factor_db is None:
            raise InvalidInput("k_factor_db: not set; fading=rician needs it")
        check_range("k_factor_db", fault.k_factor_db, -20, 30)
    elif fault.k_factor_db is not None:
        raise InvalidInput(f"k_factor_db: {fault.k_factor_db:g} is for fading=rician, and this is {fault.fading}")
