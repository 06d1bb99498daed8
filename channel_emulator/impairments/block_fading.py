"""Uncoded bits over a block-fading link: Gray-mapped modulation, coherent detection, hard decisions.

    payload --scramble, modulate--> symbols --times h, plus noise--> divide by h, nearest symbol --> bits

The scrambler makes errors independent of the data. With damage=erase a packet is erased with the exact probability that
it has a wrong symbol. With damage=deliver either each bit flips with the exact error rate of its position in the symbol
(noise=flips), or symbols are simulated (noise=symbols). For qam16 and qam64 the two differ in the joint distribution of
the errors in a symbol: bit error rates are equal, but slightly more packets have an error with noise=flips.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from gocom.channel_emulator.fault_bases.bit_fault import (
    DELIVER,
    ERASE,
    MAX_WINDOW_VALUES,
    BitFault,
    check_damage,
    draw_geometric_gaps,
    select_from_window,
)
from gocom.channel_emulator.fault_bases.cached_rng import CachedRng, value_if_all_equal
from gocom.channel_emulator.fault_bases.fading_fault import RAYLEIGH, Doubles, FadingFault, check_fading, make_fading
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.channel_emulator.physical.fading import QUADRATURE_STEP, Fading
from gocom.channel_emulator.physical.modulation import MODULATIONS, Modulation, modulation_of
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Ints
from gocom.v1 import channel_pb2

FLIPS, SYMBOLS = "flips", "symbols"
_MAX_COMPONENTS = 1 << 17
"""Number of amplitudes simulated together; bounds memory."""


@IMPAIRMENTS.register("block_fading")
@dataclass(frozen=True, slots=True)
class BlockFading(FadingFault, BitFault):
    """Uncoded bits over block fading.

    Attributes:
        snr_db, coherence, fading, k_factor_db: see FadingFault.
        modulation: "bpsk", "qpsk", "qam16" or "qam64".
        damage: "erase" or "deliver"; see BitFault.
        noise: "flips" or "symbols", how errors are drawn for damage=deliver.
        symbols_per_round: see FadingFault. A packet takes as many symbols as its payload fills, the last one perhaps
            in part. The packets from the first one that does not fit on are lost. With damage=deliver a draw begins
            with -1 - i for each such packet i of the batch.
    """

    snr_db: float
    coherence: int = 1
    fading: str = RAYLEIGH
    k_factor_db: float | None = None
    modulation: str = "bpsk"
    damage: str = ERASE
    noise: str = FLIPS
    symbols_per_round: int | None = None

    def __post_init__(self) -> None:
        check_fading(self)
        check_damage(self.damage)
        modulation_of(self.modulation)
        if self.noise not in (FLIPS, SYMBOLS):
            raise UnknownName("noise", str(self.noise)[:80], (FLIPS, SYMBOLS))
        if self.noise == SYMBOLS and self.damage == ERASE:
            raise InvalidInput("noise: symbols is for damage=deliver; an erasure is drawn with its exact probability")

    @property
    def unit(self) -> channel_pb2.TrialUnit.ValueType:
        return channel_pb2.TRIAL_UNIT_PACKET if self.damage == ERASE else channel_pb2.TRIAL_UNIT_BIT

    @property
    def gain_distribution(self) -> Fading:
        return make_fading(self.fading, self.k_factor_db, QUADRATURE_STEP)

    @property
    def expected_rate(self) -> float:
        """Bit error rate of packets of power 1."""
        return _bit_error_rate(self)

    def symbols(self, bits: Ints) -> Doubles:
        return np.asarray(np.ceil(bits / self._modulation.bits))

    def draw(self, batch: PacketBatch, rng: CounterRng) -> npt.NDArray[Any]:
        drawn = self._draw(batch, rng)
        if self.symbols_per_round is None:
            return drawn
        refused = batch.sequence >= self.symbol_share(batch, rng).end
        return drawn | refused if self.damage == ERASE else np.append(-1 - np.flatnonzero(refused)[::-1], drawn)

    def _draw(self, batch: PacketBatch, rng: CounterRng) -> npt.NDArray[Any]:
        """Draw what happens to packets as if there were symbols for all."""
        if self.damage == ERASE:
            return self.draw_losses(batch, rng, self._packet_error_rate)
        if self.noise == SYMBOLS:
            return np.sort(self._symbols(batch, self.packet_snr(batch, rng), rng))
        packet, bit = self._flips(batch, rng)
        return batch.offset[packet] * 8 + bit

    def apply(self, batch: PacketBatch, drawn: npt.NDArray[Any], frame: FrameInfo) -> PacketBatch:
        if self.damage == ERASE:
            return batch.erase(drawn)
        refused = -1 - drawn[drawn < 0]
        if not len(refused):
            return BitFault.apply(self, batch, drawn, frame)
        lost = np.zeros(len(batch), bool)
        lost[refused] = True
        return BitFault.apply(self, batch, drawn[len(refused) :], frame).erase(lost)

    def count(self, batch: PacketBatch, drawn: npt.NDArray[Any]) -> tuple[int, int]:
        if self.damage == ERASE:
            return len(batch), int(np.count_nonzero(drawn))
        return 8 * len(batch.payload), int(np.count_nonzero(drawn >= 0))

    def work(self, batch: PacketBatch) -> float:
        if self.damage == ERASE:
            return len(batch)
        bits = 8.0 * len(batch.payload)
        return 4 * bits if self.noise == SYMBOLS else len(batch) + bits * self.expected_rate

    def conditional_moments(self, bits: int, power: float, gain: Doubles) -> tuple[Doubles, Doubles]:
        snr, modulation = gain * power * self.snr, self._modulation
        if self.damage == ERASE:
            lost = self._packet_error_rate(np.array([bits]), snr)
            return lost, lost * (1 - lost)
        rates = modulation.bit_error_rates(snr)
        mean = rates @ _bits_per_position(np.array([bits]), modulation)[0]
        if self.noise == FLIPS:
            return mean, (rates * (1 - rates)) @ _bits_per_position(np.array([bits]), modulation)[0]
        # The packet may end within a component. Counting a fraction of its variance is off by less than one bit's.
        return mean, modulation.bit_error_moments(snr)[1] * bits / modulation.bits_per_component

    def packet_error_rate(self, bits: int, snr: Doubles) -> Doubles:
        return self._packet_error_rate(np.array([bits]), snr)

    def packet_erasure_rate(self, payload_bits: int) -> float:
        """Return the long-run share of packets of power 1 that are erased; 0 for damage=deliver."""
        return FadingFault.packet_erasure_rate(self, payload_bits) if self.damage == ERASE else 0.0

    def pair_erasure_rate(self, payload_bits: int) -> float:
        return FadingFault.pair_erasure_rate(self, payload_bits) if self.damage == ERASE else 0.0

    @property
    def bit_error_rate(self) -> float:
        return self.expected_rate if self.damage == DELIVER else 0.0

    @property
    def _modulation(self) -> Modulation:
        return MODULATIONS[self.modulation]

    def _packet_error_rate(self, bits: Ints, snr: Doubles) -> Doubles:
        """Return the probability that a packet has a wrong symbol, float64 [P].

        Args:
            bits: int64 [P], payload sizes in bits.
            snr: float64 [P], linear; broadcast with `bits`.
        """
        modulation = self._modulation
        whole, rest = np.divmod(bits, modulation.bits_per_component)
        with np.errstate(divide="ignore"):
            log_correct = whole * np.log1p(-modulation.component_error_rate(snr))
            for remaining in range(1, modulation.bits_per_component):
                incomplete = rest == remaining
                if incomplete.any():
                    error_rate = modulation.component_error_rate(snr, remaining)
                    log_correct = log_correct + np.where(incomplete, np.log1p(-error_rate), 0.0)
        return np.asarray(-np.expm1(log_correct))

    def _flips(self, batch: PacketBatch, rng: CounterRng) -> tuple[Ints, Ints]:
        """Return the packet of each flip, ascending, and its bit, ascending in each packet; int64 [F] each."""
        bits, power = 8 * batch.layout.longest, value_if_all_equal(batch.power)
        if batch.layout.equal_lengths and power is not None and isinstance(rng, CachedRng):
            window = rng.window(batch.sequence_range, ("flips", bits, power), partial(self._window_flips, bits, power))
            if window is not None and window[1] is not None:
                return select_from_window((window[0], window[1]), batch.sequence, batch.sequence_range)
        return self._draw_flips(batch.length * 8, self.packet_snr(batch, rng), batch.sequence, rng)

    def _window_flips(self, bits: int, power: float, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints] | None:
        """Draw the flips of packets of equal size and power.

        Returns:
            int64 [P + 1], the index of each packet's first flip; and int64 [F], the bit of each flip. None if there are
            too many flips to cache.
        """
        snr = np.abs(self.gains(sequence, rng)) ** 2 * power * self.snr
        if bits * float(self._modulation.bit_error_rate(snr).sum()) > MAX_WINDOW_VALUES:
            return None
        packet, bit = self._draw_flips(np.full(len(sequence), bits), snr, sequence, rng)
        return np.searchsorted(packet, np.arange(len(sequence) + 1)), bit

    def _draw_flips(self, bits: Ints, snr: Doubles, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints]:
        modulation = self._modulation
        bits_per_position, rates = _bits_per_position(bits, modulation), modulation.bit_error_rates(snr)
        flipped = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        for position in range(modulation.bits_per_component):
            trials, rate, stream = bits_per_position[:, position], rates[:, position], rng.substream(f"bit {position}")
            # Group packets with about as many expected flips, so that one deep fade does not enlarge the draws of all.
            flip_magnitude = np.log2(np.maximum(trials * rate, 1)).astype(np.int64)
            for magnitude in np.unique(flip_magnitude[(rate > 0) & (trials > 0)]):
                rows = np.flatnonzero((flip_magnitude == magnitude) & (rate > 0) & (trials > 0))
                packet, stop = _gaps_at_rates(trials[rows], rate[rows], sequence[rows], stream)
                inside = stop <= trials[rows][packet]
                flipped.append((rows[packet[inside]], (stop[inside] - 1) * modulation.bits_per_component + position))
        packet, bit = (np.concatenate(column) for column in zip(*flipped, strict=True))
        order = np.argsort(packet * int(bits.max(initial=0) + 1) + bit)
        return packet[order], bit[order]

    def _symbols(self, batch: PacketBatch, snr: Doubles, rng: CounterRng) -> Ints:
        modulation, bits = self._modulation, batch.length * 8
        first_bit, component_counts = np.cumsum(bits) - bits, -(-bits // modulation.bits_per_component)
        flipped = [np.zeros(0, np.int64)]
        for rows in _groups(component_counts):
            blocks = -(-int(component_counts[rows].max()) // 2)
            u = rng.substream("noise").uniform_blocks(batch.sequence[rows], 0, blocks)
            with np.errstate(divide="ignore"):
                noise = ndtri(np.maximum(u, 2.0**-54)) / np.sqrt(2 * snr[rows])[:, None]
            level = rng.substream("scrambler").uniform_blocks(batch.sequence[rows], 0, blocks) * modulation.levels
            weights = np.arange(modulation.bits_per_component)[::-1]
            sent = (level.astype(np.int64)[..., None] >> weights & 1).astype(np.uint8)
            row, component, position = np.nonzero(modulation.detect(sent, noise) != sent)
            bit = component * modulation.bits_per_component + position
            inside = bit < bits[rows][row]
            flipped.append((first_bit[rows][row] + bit)[inside])
        return np.concatenate(flipped)


@lru_cache(maxsize=64)
def _bit_error_rate(fault: BlockFading) -> float:
    modulation = MODULATIONS[fault.modulation]
    return fault.gain_distribution.mean(lambda gain: modulation.bit_error_rate(gain * fault.snr))


def _groups(component_counts: Ints) -> Iterator[Ints]:
    """Yield groups of rows to simulate together, as many as fit; rows without components are left out."""
    order = np.argsort(component_counts, kind="stable")
    order = order[component_counts[order] > 0]
    while len(order):
        together = np.arange(1, len(order) + 1) * component_counts[order]
        count = max(1, int(np.searchsorted(together, _MAX_COMPONENTS, side="right")))
        yield order[:count]
        order = order[count:]


def _gaps_at_rates(trials: Ints, rate: Doubles, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints]:
    """Call draw_geometric_gaps with a rate of its own for each packet."""
    return draw_geometric_gaps(trials, lambda packet, _: rate[packet], float(rate.max()), sequence, rng)


def _bits_per_position(bits: Ints, modulation: Modulation) -> Ints:
    """Return the number of bits of each packet at each position of a component, int64 [P, bits_per_component]."""
    count = modulation.bits_per_component
    return (bits[:, None] - np.arange(count) + count - 1) // count
