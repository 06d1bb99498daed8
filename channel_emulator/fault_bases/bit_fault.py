"""What faults that flip payload bits share: what becomes of a damaged packet, and where successes of trials fall.

Instead of one uniform a bit, one a success: the number of trials up to the next is geometric, floor(ln(1-u) /
ln(1-rate)) + 1. The uniforms of a packet belong to its sequence number, so nothing depends on batching.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.fault_bases.cached_rng import LONG_WINDOW, CachedRng
from gocom.channel_emulator.fault_bases.crc_of_flips import shares as crc_shares
from gocom.channel_emulator.fault_bases.fault import Fault, FrameInfo
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch, Span
from gocom.common.types import Bools, Ints
from gocom.v1 import channel_pb2

ERASE, DELIVER = "erase", "deliver"
_MAX_DRAWS = 1 << 20
"""Uniforms drawn at once; bounds memory for long payloads."""
_MANY = 512
"""Packets; with so many a turn costs its draws, with fewer the calls of numpy."""
_MASKS = (128 >> np.arange(8)).astype(np.uint8)
MAX_WINDOW = 1 << 17
"""Successes in all packets of a window that are kept at most: long packets and high rates would fill the memory."""
_FAR = 1 << 40
"""A gap beyond any payload; keeps tiny rates within int64."""


class BitFault(Fault):
    """A fault that flips bits. Its draw: int64 [F], ascending, the flipped bits as indices into the bits of
    `batch.payload`, most significant bit of a byte first. Packets that were erased before are left alone: nothing of
    them is there to flip.

    Attributes:
        damage: "erase": any flip erases the packet, as its checksum would; "deliver": it arrives damaged where its
            segment tolerates that (UDP-Lite), and is erased elsewhere.
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
        # The sender declared these payloads useful when damaged; a checksum over them would say otherwise.
        shares = crc_shares(np.repeat(ends - 1, flips) - place, bit)
        checksum[delivered] ^= np.bitwise_xor.reduceat(shares, begins[hit])[delivered[hit]]
        return replace(batch, payload=payload, checksum=checksum, erased=erased)

    def work(self, batch: PacketBatch) -> float:
        return len(batch.payload) * 8 * self.expected_rate

    def count(self, batch: PacketBatch, drawn: Ints) -> tuple[int, int]:
        return 8 * int(batch.length[~batch.erased].sum()), len(drawn)

    @property
    def bit_error_rate(self) -> float:
        return self.expected_rate if self.damage == DELIVER else 0.0


def check_damage(damage: str) -> None:
    """Raises InvalidInput unless it is "erase" or "deliver"."""
    if damage not in (ERASE, DELIVER):
        raise InvalidInput(f"damage: {damage!r} is none of {ERASE}, {DELIVER}")


def successes(trials: Ints, rate: float, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints]:
    """Independent trials of the same rate, in packets.

    Args:
        trials: int64 [P], how many each packet has.
        rate: probability of success, 0 to below 1.
        sequence: int64 [P], sequence numbers, which the randomness belongs to.
        rng: stream of the randomness.

    Returns:
        packet int64 [S] and trial int64 [S] of each success, ascending.
    """
    if rate == 0 or not len(trials):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    most = int(trials.max())
    window = None
    span = Span.of(sequence)
    if isinstance(rng, CachedRng) and most * rate * LONG_WINDOW <= MAX_WINDOW:
        window = rng.window(span, (rate, most), partial(_stops, most, rate))
    if window is None:
        packet, stop = renewals(trials, lambda packet, number: rate, rate, sequence, rng)
    else:
        packet, stop = of_window(window, sequence, span)
        if int(trials.min()) == most:
            return packet, stop - 1
    inside = stop <= trials[packet]
    return packet[inside], stop[inside] - 1


def of_window(window: tuple[int, tuple[Ints, Ints]], sequence: Ints, span: Span) -> tuple[Ints, Ints]:
    """What was made for the packets of a window, for some of them.

    Args:
        window: its first sequence number; where each packet's values begin, int64 [S + 1]; and all values, int64.
        sequence: int64 [P], within it.
        span: of them.

    Returns:
        packet int64 [S], ascending, and the value int64 [S] of each.
    """
    start, (begins, values) = window
    if span.whole:  # packets in order, as they come from a sender
        part = begins[span.first - start : span.last - start + 2]
        return np.repeat(np.arange(len(sequence)), part[1:] - part[:-1]), values[part[0] : part[-1]]
    rows = sequence - start
    first, after = begins[rows], begins[rows + 1]
    packet = np.repeat(np.arange(len(rows)), after - first)
    return packet, np.concatenate([values[one:other] for one, other in zip(first, after, strict=True)])


def _stops(trials: int, rate: float, sequence: Ints, rng: CounterRng) -> tuple[Ints, Ints]:
    """The successes of packets that have the same number of trials.

    Returns:
        int64 [P+1], where each packet's begin; and int64 [S], each one's trial, counted from 1.
    """
    packet, stop = renewals(np.full(len(sequence), trials), lambda packet, number: rate, rate, sequence, rng)
    inside = stop <= trials
    return np.searchsorted(packet[inside], np.arange(len(sequence) + 1)), stop[inside]


def renewals(
    trials: Ints, rates: Callable[[Ints, Ints], npt.ArrayLike], mean_rate: float, sequence: Ints, rng: CounterRng
) -> tuple[Ints, Ints]:
    """Geometric gaps, one after the other, until the trials of each packet are used up.

    Args:
        trials: int64 [P], how many each packet has.
        rates: for packets [A, 1] and numbers of gaps [B], the probability that such a gap ends at a trial, in (0, 1).
        mean_rate: about how many gaps end a trial; sets how many are drawn at once, and no value.
        sequence: int64 [P], sequence numbers.
        rng: a packet's gaps have the uniforms of its sequence number, in order.

    Returns:
        packet int64 [G], ascending, and the trial int64 [G] before which each gap ends. The last gap of a packet goes
        on to its last trial or beyond.
    """
    active, block = np.flatnonzero(trials > 0), 0
    reached = np.zeros(len(trials), np.int64)
    packets, stops = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    while len(active):
        expected = float((trials - reached)[active].max()) * mean_rate
        # Of few packets all that will be needed, nearly always; of many rather too little, and a further turn for some.
        spare = (4 if len(active) < _MANY else 1) * expected**0.5 + 2
        blocks = int(min((expected + spare + 1) / 2, max(1, _MAX_DRAWS // 2 // len(active))))
        rows, number = active[:, None], np.arange(2 * block, 2 * (block + blocks))
        gaps = rng.uniforms(sequence[active], block, blocks)
        # 1 - u is exact, and nothing of a small u is lost in its logarithm: u is a multiple of 2**-53.
        np.log(np.subtract(1, gaps, out=gaps), out=gaps)
        with np.errstate(over="ignore", divide="ignore"):  # of rates near the smallest float, and of 1
            gaps /= np.log1p(-np.asarray(rates(rows, number)))
        length = np.minimum(gaps, _FAR, out=gaps).astype(np.int64)
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
        return packet, stop  # in order: one turn was enough
    order = np.argsort(packet, kind="stable")
    return packet[order], stop[order]


def _tolerant(batch: PacketBatch, frame: FrameInfo) -> Bools:
    """bool [P]: the packet's segment tolerates damage. Segments the header does not have tolerate none."""
    tolerant: Bools = _tolerances(frame.damage_tolerant).take(batch.segment, mode="clip")
    return tolerant


@lru_cache(maxsize=64)
def _tolerances(segments: tuple[bool, ...]) -> Bools:
    return np.array([*segments, False], bool)
