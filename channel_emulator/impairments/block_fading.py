"""Uncoded bits over a block-fading link: modulation with Gray labels, coherent detection, hard decisions.

    payload --scramble, modulate--> symbols --times h, plus noise--> divide by h, nearest symbol --> bits

The scrambler makes errors independent of what is sent. With damage=erase a packet is erased with the exact probability
that a symbol of it is wrong. With damage=deliver each bit flips with the exact rate of its place in the symbol
(noise=flips), or symbols are simulated (noise=symbols). For qam16 and qam64 the two differ in how errors fall together
within a symbol: bit error rates are equal, and a few more packets are hit with flips.
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
    MAX_WINDOW,
    BitFault,
    check_damage,
    of_window,
    renewals,
)
from gocom.channel_emulator.fault_bases.cached_rng import CachedRng, common_value
from gocom.channel_emulator.fault_bases.fading_fault import RAYLEIGH, Doubles, FadingFault, check_fading, fading_of
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.channel_emulator.physical.fading import STEP, Fading
from gocom.channel_emulator.physical.modulation import MODULATIONS, Modulation, modulation_of
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Ints
from gocom.v1 import channel_pb2

FLIPS, SYMBOLS = "flips", "symbols"
_PARTS = 1 << 17
"""Amplitudes simulated together; bounds memory."""


@IMPAIRMENTS.register("block_fading")
@dataclass(frozen=True, slots=True)
class BlockFading(FadingFault, BitFault):
    """Uncoded bits over block fading.

    Attributes:
        snr_db, coherence, fading, k_factor_db: see FadingFault.
        modulation: "bpsk", "qpsk", "qam16" or "qam64".
        damage: "erase" or "deliver", see BitFault.
        noise: of damage=deliver: "flips" or "symbols".
    """

    snr_db: float
    coherence: int = 1
    fading: str = RAYLEIGH
    k_factor_db: float | None = None
    modulation: str = "bpsk"
    damage: str = ERASE
    noise: str = FLIPS

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
    def link(self) -> Fading:
        return fading_of(self.fading, self.k_factor_db, STEP)

    @property
    def expected_rate(self) -> float:
        """Bit error rate, of packets of power 1."""
        return _bit_error_rate(self)

    def draw(self, batch: PacketBatch, rng: CounterRng) -> npt.NDArray[Any]:
        if self.damage == ERASE:
            return self.losses(batch, rng, self._packet_error_rate)
        if self.noise == SYMBOLS:
            return np.sort(self._symbols(batch, self.packet_snr(batch, rng), rng))
        packet, bit = self._flips(batch, rng)
        return batch.offset[packet] * 8 + bit

    def apply(self, batch: PacketBatch, drawn: npt.NDArray[Any], frame: FrameInfo) -> PacketBatch:
        if self.damage == ERASE:
            return batch.erase(drawn)
        return BitFault.apply(self, batch, drawn, frame)

    def count(self, batch: PacketBatch, drawn: npt.NDArray[Any]) -> tuple[int, int]:
        if self.damage == ERASE:
            return len(batch), int(np.count_nonzero(drawn))
        return 8 * len(batch.payload), len(drawn)

    def work(self, batch: PacketBatch) -> float:
        if self.damage == ERASE:
            return len(batch)
        bits = 8.0 * len(batch.payload)
        return 4 * bits if self.noise == SYMBOLS else len(batch) + bits * self.expected_rate

    def given_gain(self, bits: int, power: float, gain: Doubles) -> tuple[Doubles, Doubles]:
        snr, modulation = gain * power * self.snr, self._modulation
        if self.damage == ERASE:
            lost = self._packet_error_rate(np.array([bits]), snr)
            return lost, lost * (1 - lost)
        rates = modulation.bit_error_rates(snr)
        mean = rates @ _places(np.array([bits]), modulation)[0]
        if self.noise == FLIPS:
            return mean, (rates * (1 - rates)) @ _places(np.array([bits]), modulation)[0]
        # The last part may be cut by the packet's end; as a share of one it is off by less than a bit's variance.
        return mean, modulation.wrong_bits(snr)[1] * bits / modulation.bits_a_part

    def packet_error_rate(self, bits: int, snr: Doubles) -> Doubles:
        return self._packet_error_rate(np.array([bits]), snr)

    def packet_erasure_rate(self, payload_bits: int) -> float:
        """Of packets of power 1; damage that is delivered erases nothing."""
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
        """float64 [P]: any symbol is wrong. bits int64 [P], snr float64 [P], broadcast together."""
        modulation = self._modulation
        whole, rest = np.divmod(bits, modulation.bits_a_part)
        with np.errstate(divide="ignore"):
            right = whole * np.log1p(-modulation.part_error_rate(snr))
            for left in range(1, modulation.bits_a_part):
                cut = rest == left
                if cut.any():
                    right = right + np.where(cut, np.log1p(-modulation.part_error_rate(snr, left)), 0.0)
        return np.asarray(-np.expm1(right))

    def _flips(self, batch: PacketBatch, rng: CounterRng) -> tuple[Ints, Ints]:
        """packet int64 [F], ascending, and which of its bits int64 [F], ascending within each packet."""
        bits, power = 8 * batch.layout.longest, common_value(batch.power)
        if batch.layout.same and power is not None and isinstance(rng, CachedRng):
            window = rng.window(batch.span, ("flips", bits, power), partial(self._window, bits, power))
            if window is not None and window[1] is not None:
                return of_window((window[0], window[1]), batch.sequence, batch.span)
        return self._draw_flips(batch.length * 8, self.packet_snr(batch, rng), batch.sequence, rng)

    def _window(self, bits: int, power: float, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints] | None:
        """Of packets that are alike: int64 [P+1], where each one's flips begin, and int64 [F], the bits.

        None where they are so many that keeping them would fill the memory.
        """
        snr = np.abs(self.gains(sequence, rng)) ** 2 * power * self.snr
        if bits * float(self._modulation.bit_error_rate(snr).sum()) > MAX_WINDOW:
            return None
        packet, bit = self._draw_flips(np.full(len(sequence), bits), snr, sequence, rng)
        return np.searchsorted(packet, np.arange(len(sequence) + 1)), bit

    def _draw_flips(self, bits: Ints, snr: Doubles, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints]:
        modulation = self._modulation
        places, rates = _places(bits, modulation), modulation.bit_error_rates(snr)
        flipped = [(np.zeros(0, np.int64), np.zeros(0, np.int64))]
        for place in range(modulation.bits_a_part):
            trials, rate, stream = places[:, place], rates[:, place], rng.sub(f"bit {place}")
            # Packets that expect about as many flips together: a deep fade must not set the pace for all.
            pace = np.log2(np.maximum(trials * rate, 1)).astype(np.int64)
            for step in np.unique(pace[(rate > 0) & (trials > 0)]):
                rows = np.flatnonzero((pace == step) & (rate > 0) & (trials > 0))
                packet, stop = _failures(trials[rows], rate[rows], sequence[rows], stream)
                inside = stop <= trials[rows][packet]
                flipped.append((rows[packet[inside]], (stop[inside] - 1) * modulation.bits_a_part + place))
        packet, bit = (np.concatenate(column) for column in zip(*flipped, strict=True))
        order = np.argsort(packet * int(bits.max(initial=0) + 1) + bit)
        return packet[order], bit[order]

    def _symbols(self, batch: PacketBatch, snr: Doubles, rng: CounterRng) -> Ints:
        modulation, bits = self._modulation, batch.length * 8
        first_bit, parts = np.cumsum(bits) - bits, -(-bits // modulation.bits_a_part)
        flipped = [np.zeros(0, np.int64)]
        for rows in _groups(parts):
            blocks = -(-int(parts[rows].max()) // 2)
            u = rng.sub("noise").uniforms(batch.sequence[rows], 0, blocks)
            with np.errstate(divide="ignore"):
                noise = ndtri(np.maximum(u, 2.0**-54)) / np.sqrt(2 * snr[rows])[:, None]
            level = rng.sub("scrambler").uniforms(batch.sequence[rows], 0, blocks) * modulation.levels
            weights = np.arange(modulation.bits_a_part)[::-1]
            sent = (level.astype(np.int64)[..., None] >> weights & 1).astype(np.uint8)
            row, part, place = np.nonzero(modulation.decide(sent, noise) != sent)
            bit = part * modulation.bits_a_part + place
            inside = bit < bits[rows][row]
            flipped.append((first_bit[rows][row] + bit)[inside])
        return np.concatenate(flipped)


@lru_cache(maxsize=64)
def _bit_error_rate(fault: BlockFading) -> float:
    modulation = MODULATIONS[fault.modulation]
    return fault.link.mean(lambda gain: modulation.bit_error_rate(gain * fault.snr))


def _groups(parts: Ints) -> Iterator[Ints]:
    """Rows to simulate together, as many as the longest of them allows; those without parts are left out."""
    order = np.argsort(parts, kind="stable")
    order = order[parts[order] > 0]
    while len(order):
        together = np.arange(1, len(order) + 1) * parts[order]
        count = max(1, int(np.searchsorted(together, _PARTS, side="right")))
        yield order[:count]
        order = order[count:]


def _failures(trials: Ints, rate: Doubles, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints]:
    """As renewals, where every packet has a rate of its own."""
    return renewals(trials, lambda packet, _: rate[packet], float(rate.max()), sequence, rng)


def _places(bits: Ints, modulation: Modulation) -> Ints:
    """int64 [P, bits_a_part]: how many bits of a packet lie in each place of a part."""
    count = modulation.bits_a_part
    return (bits[:, None] - np.arange(count) + count - 1) // count
