"""Packet traces: what happened to each packet, round by round. Limits, checks, and a layout for fast look-ups.

On the wire a round is a TraceRound of channel.proto. The emulator replays traces
(channel_emulator/impairments/trace_replay.py) and records them (channel_emulator/trace_recording.py);
common/packet_trace_file.py reads and writes them as text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from gocom.common.errors import InvalidInput
from gocom.common.packetizer import MAX_PACKETS
from gocom.common.types import MAX_PAYLOAD_BYTES, Bools, Bytes, Ints
from gocom.v1 import channel_pb2

MAX_ROUNDS = 1 << 16
"""Largest number of rounds of a trace."""
MAX_TRACE_PACKETS = 1 << 22
"""Largest number of packets of a trace."""
MAX_FLIPS = 1 << 20
"""Largest number of flipped bits of a trace."""
MAX_BITS = 8 * MAX_PAYLOAD_BYTES
"""Largest number of payload bits of a packet."""
BIT_SHIFT = 20
"""Number of low bits that hold the bit index of a flip, which is stored as packet << BIT_SHIFT | bit."""


@dataclass(frozen=True, slots=True)
class TraceCounts:
    """Totals over all rounds of a trace.

    Attributes:
        packets: number of packets.
        lost: number of erased packets.
        loss_runs: number of runs of erased packets; a run ends with its round.
        flipped: number of packets with flipped bits.
        flips: number of flipped bits.
        peak_flips_per_packet: flipped bits per packet in the round where they are most frequent.
    """

    packets: int
    lost: int
    loss_runs: int
    flipped: int
    flips: int
    peak_flips_per_packet: float


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """A valid trace of R rounds.

    Attributes:
        packets: int64 [R], number of packets of each round.
        erased: uint8, the erasure bitmaps of all rounds, one after the other: one bit per packet, least significant
            bit first, each bitmap padded to whole bytes.
        first_byte: int64 [R+1], position in `erased` at which each round starts.
        flips: int64 [F], packet << BIT_SHIFT | bit, ascending within a round.
        first_flip: int64 [R+1], position in `flips` at which each round starts.
        index_of: index of each round, by (frame index, round).
        counts: totals over all rounds.
    """

    packets: Ints
    erased: Bytes
    first_byte: Ints
    flips: Ints
    first_flip: Ints
    index_of: dict[tuple[int, int], int] = field(repr=False)
    counts: TraceCounts

    def replayed_round(self, frame_index: int, round_: int) -> int:
        """Return the index of the recorded round that is replayed for a round.

        It is the recorded round of the same frame and number; without one, the index is frame_index + round_ modulo R.
        """
        recorded = self.index_of.get((frame_index, round_))
        return (frame_index + round_) % len(self.packets) if recorded is None else recorded


def trace_from_proto(rounds: Sequence[channel_pb2.TraceRound]) -> Trace:
    """Check the messages of all rounds of a trace and return the trace.

    Args:
        rounds: 1 to MAX_ROUNDS rounds, with at most MAX_TRACE_PACKETS packets and MAX_FLIPS flipped bits in total.

    Raises:
        InvalidInput: a round is not valid; the message names the round and its field: "rounds[3].erased: ...".
    """
    if not 1 <= len(rounds) <= MAX_ROUNDS:
        raise InvalidInput(f"rounds: {len(rounds)}, and not 1 to {MAX_ROUNDS}")
    packets, sizes, flips, bits = np.array(
        [(r.packets, len(r.erased), len(r.flip_packet), len(r.flip_bit)) for r in rounds], np.int64
    ).T
    _refuse((packets < 1) | (packets > MAX_PACKETS), "packets", lambda i: f"{packets[i]} is not in 1 to {MAX_PACKETS}")
    _refuse(np.cumsum(packets) > MAX_TRACE_PACKETS, "packets", lambda i: f"with these, more than {MAX_TRACE_PACKETS}")
    bitmap_bytes = -(-packets // 8)
    _refuse(
        sizes != bitmap_bytes,
        "erased",
        lambda i: f"{sizes[i]} bytes for {packets[i]} packets, of which {bitmap_bytes[i]} hold a bit each",
    )
    _refuse(flips != bits, "flip_bit", lambda i: f"{bits[i]} entries, and flip_packet has {flips[i]}")
    _refuse(np.cumsum(flips) > MAX_FLIPS, "flip_bit", lambda i: f"with these, more than {MAX_FLIPS}")
    erased = np.frombuffer(b"".join(r.erased for r in rounds), np.uint8)
    first_byte, first_flip = _starts(sizes), _starts(flips)
    beyond = erased[first_byte[1:] - 1].astype(np.int64) >> (packets - 1) % 8 + 1
    _refuse(beyond > 0, "erased", lambda i: f"a bit is set beyond the {packets[i]} packets")
    with_flips = [rounds[i] for i in np.flatnonzero(flips)]
    of = np.repeat(np.arange(len(rounds)), flips)
    packet, bit = (_joined([getattr(r, name) for r in with_flips], len(of)) for name in ("flip_packet", "flip_bit"))
    _check_flips(of, packet, bit, packets)
    at = first_byte[of] * 8 + packet
    is_erased = erased[at >> 3] >> (at & 7).astype(np.uint8) & 1
    _refuse_flip(of, is_erased > 0, "flip_packet", lambda i: f"{packet[i]} is erased, and has no bits left")
    lost, runs = _count_losses(erased, first_byte)
    flipped = int(np.count_nonzero(np.diff(of << BIT_SHIFT | packet, prepend=-1)))
    counts = TraceCounts(int(packets.sum()), lost, runs, flipped, len(of), float((flips / packets).max()))
    return Trace(packets, erased, first_byte, packet << BIT_SHIFT | bit, first_flip, _index_rounds(rounds), counts)


def trace_round(frame_index: int, round_: int, lost: Bools, packet: Ints, bit: Ints) -> channel_pb2.TraceRound:
    """Return the message of one round of a trace.

    Args:
        frame_index, round_: the frame and the number of the round.
        lost: bool [P], True for each erased packet, by sequence number; P is 1 to 65536.
        packet, bit: int64 [F], packet and bit of each flipped bit, in ascending order.
    """
    return channel_pb2.TraceRound(
        frame_index=frame_index,
        round=round_,
        packets=len(lost),
        erased=np.packbits(lost, bitorder="little").tobytes(),
        flip_packet=packet.tolist(),
        flip_bit=bit.tolist(),
    )


def erased_mask(message: channel_pb2.TraceRound) -> Bools:
    """Return which packets of a round are erased: bool [P], by sequence number."""
    bits = np.unpackbits(np.frombuffer(message.erased, np.uint8), bitorder="little", count=message.packets)
    return bits.astype(bool)


def _count_losses(erased: Bytes, first_byte: Ints) -> tuple[int, int]:
    """Return the number of erased packets and the number of runs of them."""
    lost = np.unpackbits(erased, bitorder="little").astype(bool)
    after_loss = np.concatenate(([False], lost[:-1]))
    after_loss[8 * first_byte[:-1]] = False
    return int(np.count_nonzero(lost)), int(np.count_nonzero(lost & ~after_loss))


def _starts(counts: Ints) -> Ints:
    return np.concatenate(([0], np.cumsum(counts)))


def _joined(columns: Sequence[Sequence[int]], count: int) -> Ints:
    return np.fromiter(chain.from_iterable(columns), np.int64, count)


def _check_flips(of: Ints, packet: Ints, bit: Ints, packets: Ints) -> None:
    """Raise InvalidInput unless flips are within their packets and in ascending order.

    Args:
        of: int64 [F], index of the round of each flip.
        packet, bit: int64 [F], packet and bit of each flip.
        packets: int64 [R], number of packets of each round.
    """
    _refuse_flip(of, packet >= packets[of], "flip_packet", lambda i: f"{packet[i]} is not below {packets[of[i]]}")
    _refuse_flip(of, bit >= MAX_BITS, "flip_bit", lambda i: f"{bit[i]} is not below {MAX_BITS}")
    flip = of << 40 | packet << BIT_SHIFT | bit
    unordered = np.concatenate(([False], flip[1:] <= flip[:-1])) if len(flip) else np.zeros(0, bool)
    _refuse_flip(
        of,
        unordered,
        "flip_packet",
        lambda i: f"bit {bit[i]} of {packet[i]} is not after the one before, in ascending order",
    )


def _refuse(wrong: Bools, name: str, words: Callable[[int], str]) -> None:
    """Raise InvalidInput for the first round where `wrong`, bool [R], is True, with the text of `words`."""
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InvalidInput(f"rounds[{first}].{name}: {words(first)}")


def _refuse_flip(of: Ints, wrong: Bools, name: str, words: Callable[[int], str]) -> None:
    """Raise InvalidInput for the round of the first flip where `wrong`, bool [F], is True, with the text of `words`."""
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InvalidInput(f"rounds[{of[first]}].{name}: {words(first)}")


def _index_rounds(rounds: Sequence[channel_pb2.TraceRound]) -> dict[tuple[int, int], int]:
    index_of: dict[tuple[int, int], int] = {}
    for index, message in enumerate(rounds):
        key = (message.frame_index, message.round)
        if (before := index_of.setdefault(key, index)) != index:
            words = f"frame {key[0]}, round {key[1]} is that of rounds[{before}] already"
            raise InvalidInput(f"rounds[{index}].frame_index: {words}")
    return index_of
