"""Base of the faults that flip payload bits: the fate of damaged packets, and the positions of successes among trials.

Instead of one uniform per bit, one uniform is drawn per success: the number of trials up to the next success is
geometric, floor(ln(1-u) / ln(1-rate)) + 1. The uniforms of a packet belong to its sequence number, so results do not
depend on how packets are batched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.fault_bases.cached_rng import LONG_WINDOW, CachedRng
from gocom.channel_emulator.fault_bases.crc_update import crc_deltas
from gocom.channel_emulator.fault_bases.fault import Fault, FrameInfo
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch, SequenceRange
from gocom.common.types import Bools, Ints
from gocom.v1 import channel_pb2

ERASE, DELIVER = "erase", "deliver"
_MAX_DRAWS = 1 << 20
"""Number of uniforms drawn at once; bounds memory for long payloads."""
_MANY_PACKETS = 512
"""Number of packets from which the draws take most of the time of a pass; below it the calls of numpy do."""
_MASKS = (128 >> np.arange(8)).astype(np.uint8)
MAX_WINDOW_VALUES = 1 << 17
"""Largest number of successes that are cached for a window; bounds memory for long packets and high rates."""
_MAX_GAP = 1 << 40
"""Largest gap, beyond any payload; keeps the gaps of tiny rates within int64."""


class BitFault(Fault):
    """A fault that flips bits.

    Its draw is int64 [F], ascending: the flipped bits as indices into the bits of `batch.payload`, where bit 0 is the
    most significant bit of the first byte. Bits of packets that are already erased are not flipped.

    Attributes:
        damage: "erase": any flip erases the packet, as its checksum would; "deliver": the packet arrives damaged if its
            segment tolerates damage (UDP-Lite), and is erased otherwise.
    """

    damage: str

    @property
    def unit(self) -> channel_pb2.TrialUnit.ValueType:
        return channel_pb2.TRIAL_UNIT_BIT

    def apply(self, batch: PacketBatch, drawn: Ints, frame: FrameInfo) -> PacketBatch:
        ends = batch.offset + batch.length
        until = np.searchsorted(drawn, ends * 8)
        begins = np.searchsorted(drawn, batch.offset * 8)
        flips = until - begins
        hit = flips > 0
        delivered = hit & _tolerant(batch, frame) if self.damage == DELIVER else np.zeros(len(batch), bool)
        if not delivered.any():
            return batch.erase(hit)
        erased = batch.erased | (hit & ~delivered)
        payload, checksum, place, bit = batch.payload.copy(), batch.checksum.copy(), drawn >> 3, drawn & 7
        np.bitwise_xor.at(payload, place, _MASKS[bit])
        # The sender declared damaged payloads useful, but a stale checksum would have the receiver discard them.
        deltas = crc_deltas(np.repeat(ends - 1, flips) - place, bit)
        checksum[delivered] ^= np.bitwise_xor.reduceat(deltas, begins[hit])[delivered[hit]]
        return replace(batch, payload=payload, checksum=checksum, erased=erased)

    def work(self, batch: PacketBatch) -> float:
        return len(batch.payload) * 8 * self.expected_rate

    def count(self, batch: PacketBatch, drawn: Ints) -> tuple[int, int]:
        return 8 * int(batch.length[~batch.erased].sum()), len(drawn)

    @property
    def bit_error_rate(self) -> float:
        return self.expected_rate if self.damage == DELIVER else 0.0


def check_damage(damage: str) -> None:
    """Raise InvalidInput unless `damage` is "erase" or "deliver"."""
    if damage not in (ERASE, DELIVER):
        raise InvalidInput(f"damage: {damage!r} is none of {ERASE}, {DELIVER}")


def draw_successes(trials: Ints, rate: float, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints]:
    """Draw the successes of independent trials with the same rate, in packets.

    Args:
        trials: int64 [P], number of trials of each packet.
        rate: probability of success, 0 to below 1.
        sequence: int64 [P], sequence numbers, which key the random numbers.
        rng: the random number generator.

    Returns:
        int64 [S] twice, ascending: the packet and the trial of each success.
    """
    if rate == 0 or not len(trials):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    max_trials = int(trials.max())
    window = None
    sequence_range = SequenceRange.of(sequence)
    if isinstance(rng, CachedRng) and max_trials * rate * LONG_WINDOW <= MAX_WINDOW_VALUES:
        window = rng.window(sequence_range, (rate, max_trials), partial(_window_successes, max_trials, rate))
    if window is None:
        packet, stop = draw_geometric_gaps(trials, lambda packet, number: rate, rate, sequence, rng)
    else:
        packet, stop = select_from_window(window, sequence, sequence_range)
        if int(trials.min()) == max_trials:
            return packet, stop - 1
    inside = stop <= trials[packet]
    return packet[inside], stop[inside] - 1


def select_from_window(
    window: tuple[int, tuple[Ints, Ints]], sequence: Ints, sequence_range: SequenceRange
) -> tuple[Ints, Ints]:
    """Select the cached values of some packets of a window.

    Args:
        window: the first sequence number of the window; the index of each packet's first value, int64 [S + 1]; and all
            values, int64.
        sequence: int64 [P], sequence numbers within the window.
        sequence_range: their range.

    Returns:
        int64 [V] twice: the packet of each value, ascending, and the value.
    """
    start, (begins, values) = window
    if sequence_range.contiguous:  # packets in order, as they come from a sender
        part = begins[sequence_range.first - start : sequence_range.last - start + 2]
        return np.repeat(np.arange(len(sequence)), part[1:] - part[:-1]), values[part[0] : part[-1]]
    rows = sequence - start
    first, after = begins[rows], begins[rows + 1]
    packet = np.repeat(np.arange(len(rows)), after - first)
    return packet, np.concatenate([values[start:stop] for start, stop in zip(first, after, strict=True)])


def _window_successes(trials: int, rate: float, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints]:
    """Draw the successes of packets with the same number of trials.

    Returns:
        int64 [P + 1], the index of each packet's first success; and int64 [S], the trial of each success, from 1 on.
    """
    packet, stop = draw_geometric_gaps(np.full(len(sequence), trials), lambda packet, number: rate, rate, sequence, rng)
    inside = stop <= trials
    return np.searchsorted(packet[inside], np.arange(len(sequence) + 1)), stop[inside]


def draw_geometric_gaps(
    trials: Ints, rates: Callable[[Ints, Ints], npt.ArrayLike], mean_rate: float, sequence: Ints, rng: CounterRng
) -> tuple[Ints, Ints]:
    """Draw consecutive geometric gaps (a renewal process) until the trials of each packet are used up.

    Args:
        trials: int64 [P], number of trials of each packet.
        rates: takes packets [A, 1] and numbers of gaps [B], and returns the probability that such a gap ends at a
            trial, in (0, 1).
        mean_rate: about how many gaps end per trial; it affects how many are drawn at once, but no value.
        sequence: int64 [P], sequence numbers.
        rng: the random number generator; a packet's gaps use the uniforms of its sequence number, in order.

    Returns:
        int64 [G] twice: the packet of each gap, ascending, and the trial before which the gap ends. The last gap of a
        packet extends to its last trial or beyond.
    """
    active, block = np.flatnonzero(trials > 0), 0
    reached = np.zeros(len(trials), np.int64)
    packets, stops = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    while len(active):
        expected = float((trials - reached)[active].max()) * mean_rate
        # For few packets draw nearly always enough; for many draw too little, and make another pass for some of them.
        margin = (4 if len(active) < _MANY_PACKETS else 1) * expected**0.5 + 2
        blocks = int(min((expected + margin + 1) / 2, max(1, _MAX_DRAWS // 2 // len(active))))
        rows, number = active[:, None], np.arange(2 * block, 2 * (block + blocks))
        gaps = rng.uniform_blocks(sequence[active], block, blocks)
        # 1 - u is exact, so log(1 - u) keeps the precision of a small u: u is a multiple of 2**-53.
        np.log(np.subtract(1, gaps, out=gaps), out=gaps)
        with np.errstate(over="ignore", divide="ignore"):  # for rates near the smallest float, and for 1
            gaps /= np.log1p(-np.asarray(rates(rows, number)))
        length = np.minimum(gaps, _MAX_GAP, out=gaps).astype(np.int64)
        length += 1
        stop = np.cumsum(length, axis=1)
        stop += reached[rows]
        used = stop - length < trials[rows]
        packets.append(np.repeat(active, np.count_nonzero(used, axis=1)))
        stops.append(stop[used])
        reached[active] = stop[:, -1]
        active = active[reached[active] < trials[active]]
        block += blocks
    packet, stop = np.concatenate(packets), np.concatenate(stops)
    if len(stops) <= 2:
        return packet, stop  # in order already, after one pass
    order = np.argsort(packet, kind="stable")
    return packet[order], stop[order]


def _tolerant(batch: PacketBatch, frame: FrameInfo) -> Bools:
    """Return whether the segment of each packet tolerates damage, bool [P]. Unknown segments do not."""
    ends, table = _tolerance_table(frame.segment_ends, frame.damage_tolerant)
    tolerant: Bools = table.take(ends.searchsorted(batch.sequence, side="right"), mode="clip")
    return tolerant


@lru_cache(maxsize=64)
def _tolerance_table(ends: tuple[int, ...], segments: tuple[bool, ...]) -> tuple[Ints, Bools]:
    known = segments[: len(ends)] if ends else segments[:1]
    return np.array(ends, np.int64), np.array([*known, False], bool)
