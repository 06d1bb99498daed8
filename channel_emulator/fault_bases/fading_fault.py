"""Base of the faults on a fading link: gains by block, SNRs of packets, and counts that account for the blocks.

The packets of a block share a gain, so their fates are not independent: the variance of a count is that of the sum over
a block, averaged over the gain. Nothing is redrawn within a block.

A link may have a bounded number of symbols for a round. They carry the payloads; packet headers, like frame headers,
take none. Packets that an earlier fault erased take no symbols, and copies of a packet take none of their own.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.fault_bases.cached_rng import CachedRng, draw_cached, value_if_all_equal
from gocom.channel_emulator.fault_bases.fault import (
    EventCounts,
    Tally,
    WholeRoundFault,
    check_range,
    check_whole,
)
from gocom.channel_emulator.physical.fading import Fading, blocks_of
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.packet_batch import PacketBatch
from gocom.common.packetizer import MAX_ELEMENTS, MAX_PACKETS
from gocom.common.types import Bools, Floats, Ints
from gocom.v1 import channel_pb2

Doubles = npt.NDArray[np.float64]

NONE, RAYLEIGH, RICIAN = "none", "rayleigh", "rician"
_MAX_COHERENCE = 1 << 16
_CELLS = 1 << 14
"""Blocks times kinds of packets that are averaged together; bounds memory."""
_MAX_CELLS = 1 << 18
"""Largest number of blocks times kinds of packets of a round that is counted; more would take seconds."""
_MAX_PACKETS = 1 << 17
"""Largest number of packets of a round that are kept to count it: twice the number of sequence numbers."""
_NOT_COUNTED = EventCounts(0, 0, 0.0, 0.0)
ErrorRate = Callable[[Ints, Doubles], Doubles]
"""Function from bits int64 [P] and linear SNRs float64 [P] to packet error rates float64 [P]."""
_MAX_KINDS = 256
"""Largest number of pairs of size and power of a round that is counted; each pair costs an integral."""
_MAX_SYMBOLS = 10**9
_ROUNDING = 1e-9
"""Share of the symbols by which a round may exceed them, as the sum of many fractions is not exact."""
_SHARE = "symbol_share"


@dataclass(frozen=True, slots=True)
class SymbolShare:
    """What the packets of one round get of a link.

    Attributes:
        link: the link as this round meets it, with the code rate of the round.
        end: the packets from this sequence number on get no symbols.
    """

    link: FadingFault
    end: int = MAX_ELEMENTS


class FadingFault(WholeRoundFault):
    """A fault of a block-fading link, with SNR |h|^2 * power * snr, E|h|^2 = 1; `power` is that of the packet.

    Attributes:
        snr_db: mean Es/N0 over the fading in dB, of a packet of power 1; without fading it is that of every packet.
        coherence: number of consecutive packets that share a gain; each round begins with a new gain.
        fading: "none", "rayleigh" or "rician".
        k_factor_db: power of the line of sight over the scattered power in dB; for "rician" only.
        symbols_per_round: number of complex symbols that the payloads of a round can take, 1 to 1e9; None: no bound.
    """

    snr_db: float
    coherence: int
    fading: str
    k_factor_db: float | None
    symbols_per_round: int | None

    @property
    @abstractmethod
    def gain_distribution(self) -> Fading:
        """Distribution of the gains."""

    @abstractmethod
    def conditional_moments(self, bits: int, power: float, gain: Doubles) -> tuple[Doubles, Doubles]:
        """Return the mean and variance of the number of events in one packet given its gain, float64 [N] each.

        Args:
            bits: payload size in bits.
            power: power of the packet.
            gain: float64 [N], values of |h|^2.
        """

    @abstractmethod
    def packet_error_rate(self, bits: int, snr: Doubles) -> Doubles:
        """Return the probability that a packet has an error, delivered or not, float64 [N].

        Args:
            bits: payload size in bits.
            snr: float64 [N], linear.
        """

    @abstractmethod
    def symbols(self, bits: Ints) -> Doubles:
        """Return the number of symbols that packets take, float64 [P], from their payload sizes in bits, int64 [P]."""

    @property
    def needs_whole_round(self) -> bool:
        return self.symbols_per_round is not None

    def begin_round(self, sequence: Ints, length: Ints, rng: CachedRng) -> None:
        rng.fault_state[_SHARE] = self.share_symbols(sequence, length)

    def share_symbols(self, sequence: Ints, length: Ints) -> SymbolShare:
        """Return what the packets of a round get of the link's symbols.

        Args:
            sequence: int64 [P], sequence numbers in any order. Of packets with the same number the first counts.
            length: int64 [P], payload sizes in bytes.
        """
        if self.symbols_per_round is None:
            return SymbolShare(self)
        numbers, first = np.unique(sequence, return_index=True)
        taken = np.cumsum(self.symbols(8 * length[first]))
        too_many = np.flatnonzero(taken > self.symbols_per_round * (1 + _ROUNDING))
        return SymbolShare(self, int(numbers[too_many[0]])) if len(too_many) else SymbolShare(self)

    def symbol_share(self, batch: PacketBatch, rng: CounterRng) -> SymbolShare:
        """Return what `begin_round` noted; if there is nothing, the batch is taken to be a whole round."""
        if self.symbols_per_round is None:
            return SymbolShare(self)
        if isinstance(rng, CachedRng) and _SHARE in rng.fault_state:
            share: SymbolShare = rng.fault_state[_SHARE]
            return share
        return self.share_symbols(batch.sequence[~batch.erased], batch.length[~batch.erased])

    def capacity_bytes(self, payload_bytes: int, outage_target: float, snr: Doubles | None = None) -> int | None:
        """Return the number of payload bytes that the symbols of a round carry; the rate does not depend on the target.

        For the arguments see Fault.capacity_bytes.
        """
        if self.symbols_per_round is None:
            return None
        room, whole = self.symbols_per_round * (1 + _ROUNDING), float(self.symbols(np.array([8 * payload_bytes]))[0])

        def fits(size_bytes: int) -> bool:
            packets, rest = divmod(size_bytes, payload_bytes)
            return packets * whole + float(self.symbols(np.array([8 * rest]))[0]) <= room

        return largest_size(fits, payload_bytes)

    @property
    def snr(self) -> float:
        """Mean SNR, linear."""
        return float(10 ** (self.snr_db / 10))

    def gains(self, sequence: Ints, rng: CounterRng) -> npt.NDArray[np.complex128]:
        """Return the gain h of each packet, complex128 [P], from sequence numbers int64 [P]."""
        blocks, which = np.unique(blocks_of(sequence, self.coherence), return_inverse=True)
        gains: npt.NDArray[np.complex128] = self.gain_distribution.gains(blocks, rng.substream("gain"))[which]
        return gains

    def packet_snr(self, batch: PacketBatch, rng: CounterRng) -> Doubles:
        """Return the SNR of each packet, float64 [P], linear."""
        gain = draw_cached(rng, batch, "gain", lambda sequence, rng: np.abs(self.gains(sequence, rng)) ** 2)
        return np.asarray(gain * batch.power * self.snr)

    def draw_losses(self, batch: PacketBatch, rng: CounterRng, error_rate: ErrorRate) -> Bools:
        """Draw which packets are lost, independently of each other given their gains; bool [P].

        Args:
            batch: the packets.
            rng: the random number generator.
            error_rate: the probability of loss.
        """
        bits, power = 8 * batch.layout.longest, value_if_all_equal(batch.power)
        if not batch.layout.equal_lengths or power is None:
            uniform = draw_cached(rng, batch, "packet", _packet_uniform)
            return np.asarray(uniform < error_rate(8 * batch.length, self.packet_snr(batch, rng)))

        def lost(sequence: Ints, rng: CounterRng) -> Bools:
            snr = np.abs(self.gains(sequence, rng)) ** 2 * power * self.snr
            return np.asarray(_packet_uniform(sequence, rng) < error_rate(np.array([bits]), snr))

        return draw_cached(rng, batch, ("lost", bits, power), lost)

    def tally(self) -> Tally:
        return FadingTally(self)

    def moments_over_gain(self, bits: Ints, power: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        """Return the moments of the number of events in packets of T kinds, at N values of the gain.

        Args:
            bits: int64 [T], payload sizes in bits.
            power: float64 [T], powers.

        Returns:
            The weights of the gains [N], means [T, N] given the gain, and variances [T, N] given the gain.
        """
        moments = [_conditional_moments(self, *kind) for kind in zip(bits.tolist(), power.tolist(), strict=True)]
        means, variances = (np.stack(column) for column in zip(*moments, strict=True))
        return self.gain_distribution.weights, means, variances

    def packet_erasure_rate(self, payload_bits: int) -> float:
        """Return the long-run share of packets of power 1 that are erased."""
        weights, mean, _ = self._erasures(payload_bits)
        return float(weights @ mean)

    def pair_erasure_rate(self, payload_bits: int) -> float:
        """Return the probability that two consecutive packets are both erased.

        They share a gain, unless a block ends between them.
        """
        weights, mean, _ = self._erasures(payload_bits)
        rate, both = float(weights @ mean), float(weights @ mean**2)
        return both + (rate**2 - both) / self.coherence

    def _erasures(self, bits: int) -> tuple[Doubles, Doubles, Doubles]:
        weights, means, variances = self.moments_over_gain(np.array([bits]), np.ones(1))
        return weights, means[0], variances[0]


class FadingTally(Tally):
    """The counter of a round whose packets share gains in blocks.

    It reports no trials for a round with more than _MAX_KINDS kinds of packets, with more than _MAX_CELLS blocks times
    kinds, or with more than _MAX_PACKETS packets.
    """

    def __init__(self, fault: FadingFault) -> None:
        super().__init__(fault)
        self._fading_fault = fault
        self._count = 0
        self._packets: list[tuple[Ints, Ints, Floats, Bools]] = []

    def add(self, batch: PacketBatch, drawn: npt.NDArray[Any]) -> None:
        trials, events = self._fault.count(batch, drawn)
        self._trials += trials
        self._events += events
        self._count += len(batch)
        if self._count > _MAX_PACKETS:
            self._packets.clear()
        else:
            self._packets.append((batch.sequence, batch.length, batch.power, batch.erased))

    def event_counts(self) -> EventCounts:
        if not self._trials or self._count > _MAX_PACKETS:
            return _NOT_COUNTED
        sequence, length, power, erased = (np.concatenate(column) for column in zip(*self._packets, strict=True))
        share = self._fading_fault.share_symbols(sequence[~erased], length[~erased])
        # Flipped bits are counted in packets without symbols, too, as in those that an earlier fault erased.
        in_air = sequence < (share.end if self._fault.unit == channel_pb2.TRIAL_UNIT_PACKET else MAX_ELEMENTS)
        refused = int(np.count_nonzero(~in_air))
        if refused == len(sequence):
            return EventCounts(self._trials, self._events, float(refused), 0.0)
        sequence, length, power = sequence[in_air], length[in_air], power[in_air]
        lengths, of_length = _unique_values(length)
        powers, of_power = _unique_values(power)
        pairs, kind = _unique_values(of_length * len(powers) + of_power)
        block = blocks_of(sequence, self._fading_fault.coherence)
        if len(pairs) > _MAX_KINDS or (int(block.max()) + 1) * len(pairs) > _MAX_CELLS:
            return _NOT_COUNTED
        bits, powers = 8 * lengths[pairs // len(powers)], powers[pairs % len(powers)].astype(float)
        weights, means, variances = share.link.moments_over_gain(bits, powers)
        variance_given_gain = np.bincount(kind) @ (variances @ weights)
        expected, variance_of_gain_means, step = float(refused), 0.0, max(1, _CELLS // len(pairs))
        for start in range(0, int(block.max()) + 1, step):
            inside = (block >= start) & (block < start + step)
            cell = (block[inside] - start) * len(pairs) + kind[inside]
            filled = np.bincount(cell, minlength=step * len(pairs)).reshape(step, len(pairs))
            # Most blocks hold the same numbers of packets of each kind.
            rows, times = np.unique(filled, axis=None if len(pairs) == 1 else 0, return_counts=True)
            sums = rows.reshape(-1, len(pairs)) @ means
            mean = sums @ weights
            expected += float(times @ mean)
            variance_of_gain_means += float(times @ ((sums - mean[:, None]) ** 2 @ weights))
        return EventCounts(self._trials, self._events, expected, float(variance_given_gain) + variance_of_gain_means)


def largest_size(fits: Callable[[int], bool], payload_bytes: int) -> int:
    """Return a size in bytes that fits while one byte more does not; 0 if a single byte does not fit.

    Args:
        fits: whether a round of so many payload bytes fits.
        payload_bytes: payload size of each packet; the result is at most that of a round of MAX_PACKETS packets.
    """
    low, high = 0, MAX_PACKETS * payload_bytes + 1
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _packet_uniform(sequence: Ints, rng: CounterRng) -> Doubles:
    return rng.substream("packet").uniform(sequence)


def _unique_values(values: npt.NDArray[Any]) -> tuple[npt.NDArray[Any], Ints]:
    """Return the different values, ascending, and the index of each entry's value; sorts only if the values differ."""
    if value_if_all_equal(values) is not None:
        return values[:1], np.zeros(len(values), np.int64)
    found, which = np.unique(values, return_inverse=True)
    return found, which


@lru_cache(maxsize=_MAX_KINDS)
def _conditional_moments(fault: FadingFault, bits: int, power: float) -> tuple[Doubles, Doubles]:
    return fault.conditional_moments(bits, power, fault.gain_distribution.nodes)


@lru_cache(maxsize=64)
def make_fading(fading: str, k_factor_db: float | None, step: float) -> Fading:
    """Return the gain distribution for the parameters of a FadingFault."""
    if fading == NONE:
        return Fading(None, step)
    return Fading(0.0 if k_factor_db is None else 10 ** (k_factor_db / 10), step)


def check_fading(fault: FadingFault) -> None:
    """Raise InvalidInput or UnknownName if a parameter that all fading faults share is not valid."""
    check_range("snr_db", fault.snr_db, -40, 60)
    check_range("coherence", fault.coherence, 1, _MAX_COHERENCE)
    if not float(fault.coherence).is_integer():
        raise InvalidInput(f"coherence: {fault.coherence!r} is not a whole number of packets")
    if fault.symbols_per_round is not None:
        check_whole("symbols_per_round", fault.symbols_per_round, 1, _MAX_SYMBOLS)
    if fault.fading not in (NONE, RAYLEIGH, RICIAN):
        raise UnknownName("fading", str(fault.fading)[:80], (NONE, RAYLEIGH, RICIAN))
    if fault.fading == RICIAN:
        if fault.k_factor_db is None:
            raise InvalidInput("k_factor_db: not set; fading=rician needs it")
        check_range("k_factor_db", fault.k_factor_db, -20, 30)
    elif fault.k_factor_db is not None:
        raise InvalidInput(f"k_factor_db: {fault.k_factor_db:g} is for fading=rician, and this is {fault.fading}")
