"""What faults on a fading link share: gains by block, the SNR of each packet, and counts that know of the blocks.

Packets of a block share a gain, so their fates are not independent of each other: the variance of a count is that of
the sum over a block, averaged over the gain. Neither the gain nor anything else is redrawn within a block.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.fault_bases.cached_rng import common_value, draw_by_window
from gocom.channel_emulator.fault_bases.fault import Fault, Score, Tally, check_range
from gocom.channel_emulator.physical.fading import Fading, blocks_of
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools, Floats, Ints

Doubles = npt.NDArray[np.float64]

NONE, RAYLEIGH, RICIAN = "none", "rayleigh", "rician"
_MAX_COHERENCE = 1 << 16
_CELLS = 1 << 14
"""Blocks of a round times kinds of packets averaged together; bounds memory."""
_MAX_CELLS = 1 << 18
"""Of all blocks; a round that has more is not scored: it would take seconds."""
_MAX_PACKETS = 1 << 17
"""Packets of a round that are remembered until it is scored: twice as many as there are sequence numbers."""
_NO_SCORE = Score(0, 0, 0.0, 0.0)
ErrorRate = Callable[[Ints, Doubles], Doubles]
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
        gain = draw_by_window(rng, batch, "gain", lambda sequence, rng: np.abs(self.gains(sequence, rng)) ** 2)
        return np.asarray(gain * batch.power * self.snr)

    def losses(self, batch: PacketBatch, rng: CounterRng, error_rate: ErrorRate) -> Bools:
        """bool [P]: which packets are lost, where each is with its own probability given its gain.

        Args:
            error_rate: of packets of bits int64 [P] at linear SNRs float64 [P].
        """
        bits, power = 8 * batch.layout.longest, common_value(batch.power)
        if not batch.layout.same or power is None:
            uniform = draw_by_window(rng, batch, "packet", _packet_uniform)
            return np.asarray(uniform < error_rate(8 * batch.length, self.packet_snr(batch, rng)))

        def lost(sequence: Ints, rng: CounterRng) -> Bools:
            snr = np.abs(self.gains(sequence, rng)) ** 2 * power * self.snr
            return np.asarray(_packet_uniform(sequence, rng) < error_rate(np.array([bits]), snr))

        return draw_by_window(rng, batch, ("lost", bits, power), lost)

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
    """Counts of a round whose packets meet gains in blocks.

    No trials are told of a round with more than _MAX_KINDS kinds of packets, more than _MAX_CELLS blocks times kinds,
    or more packets than a round has.
    """

    def __init__(self, fault: FadingFault) -> None:
        super().__init__(fault)
        self._link = fault
        self._count = 0
        self._packets: list[tuple[Ints, Ints, Floats]] = []

    def add(self, batch: PacketBatch, drawn: npt.NDArray[Any]) -> None:
        trials, events = self._fault.count(batch, drawn)
        self._trials += trials
        self._events += events
        self._count += len(batch)
        if self._count > _MAX_PACKETS:
            self._packets.clear()
        else:
            self._packets.append((batch.sequence, batch.length, batch.power))

    def score(self) -> Score:
        if not self._trials or self._count > _MAX_PACKETS:
            return _NO_SCORE
        sequence, length, power = (np.concatenate(column) for column in zip(*self._packets, strict=True))
        lengths, of_length = _kinds(length)
        powers, of_power = _kinds(power)
        pairs, kind = _kinds(of_length * len(powers) + of_power)
        block = blocks_of(sequence, self._link.coherence)
        if len(pairs) > _MAX_KINDS or (int(block.max()) + 1) * len(pairs) > _MAX_CELLS:
            return _NO_SCORE
        bits, powers = 8 * lengths[pairs // len(powers)], powers[pairs % len(powers)].astype(float)
        weights, means, variances = self._link.nodes(bits, powers)
        own = np.bincount(kind) @ (variances @ weights)
        expected, between, step = 0.0, 0.0, max(1, _CELLS // len(pairs))
        for start in range(0, int(block.max()) + 1, step):
            inside = (block >= start) & (block < start + step)
            cell = (block[inside] - start) * len(pairs) + kind[inside]
            filled = np.bincount(cell, minlength=step * len(pairs)).reshape(step, len(pairs))
            # Most blocks hold the same kinds of packets.
            rows, times = np.unique(filled, axis=None if len(pairs) == 1 else 0, return_counts=True)
            sums = rows.reshape(-1, len(pairs)) @ means
            mean = sums @ weights
            expected += float(times @ mean)
            between += float(times @ ((sums - mean[:, None]) ** 2 @ weights))
        return Score(self._trials, self._events, expected, float(own) + between)


def _packet_uniform(sequence: Ints, rng: CounterRng) -> Doubles:
    return rng.sub("packet").uniform(sequence)


def _kinds(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Ints]:
    """The different values, ascending, and which of them each is; sorted only where they differ."""
    if common_value(values) is not None:
        return values[:1], np.zeros(len(values), np.int64)
    found, which = np.unique(values, return_inverse=True)
    return found, which


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
