"""What happened to packets, round by round: bounds and checks, and rounds laid out by field for those who look many up.

A round is a TraceRound of channel.proto. The emulator replays them (channel_emulator/impairments/trace_replay.py) and
records them (channel_emulator/trace_recording.py); trace_file.py has them as text.
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
MAX_TRACE_PACKETS = 1 << 22
"""Of all rounds."""
MAX_FLIPS = 1 << 20
"""Of all rounds."""
MAX_BITS = 8 * MAX_PAYLOAD_BYTES
"""Of a packet."""
BIT_SHIFT = 20
"""A flip is the number packet << BIT_SHIFT | bit; MAX_BITS fits."""


@dataclass(frozen=True, slots=True)
class TraceCounts:
    """What a trace comes to.

    Attributes:
        packets: in all.
        lost: that are erased.
        loss_runs: runs of erased ones; a run ends with its round.
        flipped: packets with flipped bits.
        flips: flipped bits.
        densest: most flips a packet in the mean of a round.
    """

    packets: int
    lost: int
    loss_runs: int
    flipped: int
    flips: int
    densest: float


@dataclass(frozen=True, slots=True, eq=False)
class Trace:
    """R rounds that were checked.

    Attributes:
        packets: int64 [R], of each round.
        erased: uint8, the rounds' maps one after the other: a bit a packet, least significant first.
        first_byte: int64 [R+1], where in `erased` each round begins.
        flips: int64 [F], packet << BIT_SHIFT | bit, ascending within a round.
        first_flip: int64 [R+1], where in `flips` each round begins.
        places: (frame index, round) -> which round that is.
        counts: of all rounds.
    """

    packets: Ints
    erased: Bytes
    first_byte: Ints
    flips: Ints
    first_flip: Ints
    places: dict[tuple[int, int], int] = field(repr=False)
    counts: TraceCounts

    def place(self, frame_index: int, round_: int) -> int:
        """The round that a round meets the fates of: itself, or the (frame_index + round_)-th where it is not there."""
        recorded = self.places.get((frame_index, round_))
        return (frame_index + round_) % len(self.packets) if recorded is None else recorded


def read_trace(rounds: Sequence[channel_pb2.TraceRound]) -> Trace:
    """Rounds from their messages.

    Args:
        rounds: 1 to MAX_ROUNDS, with MAX_TRACE_PACKETS packets and MAX_FLIPS flipped bits in all at most.

    Raises:
        InvalidInput: naming the round and its field: "rounds[3].erased: ...".
    """
    if not 1 <= len(rounds) <= MAX_ROUNDS:
        raise InvalidInput(f"rounds: {len(rounds)}, and not 1 to {MAX_ROUNDS}")
    packets, sizes, flips, bits = np.array(
        [(r.packets, len(r.erased), len(r.flip_packet), len(r.flip_bit)) for r in rounds], np.int64
    ).T
    _refuse((packets < 1) | (packets > MAX_PACKETS), "packets", lambda i: f"{packets[i]} is not in 1 to {MAX_PACKETS}")
    _refuse(np.cumsum(packets) > MAX_TRACE_PACKETS, "packets", lambda i: f"with these, more than {MAX_TRACE_PACKETS}")
    need = -(-packets // 8)
    _refuse(
        sizes != need,
        "erased",
        lambda i: f"{sizes[i]} bytes for {packets[i]} packets, of which {need[i]} hold a bit each",
    )
    _refuse(flips != bits, "flip_bit", lambda i: f"{bits[i]} entries, and flip_packet has {flips[i]}")
    _refuse(np.cumsum(flips) > MAX_FLIPS, "flip_bit", lambda i: f"with these, more than {MAX_FLIPS}")
    erased = np.frombuffer(b"".join(r.erased for r in rounds), np.uint8)
    first_byte, first_flip = _begins(sizes), _begins(flips)
    beyond = erased[first_byte[1:] - 1].astype(np.int64) >> (packets - 1) % 8 + 1
    _refuse(beyond > 0, "erased", lambda i: f"a bit is set beyond the {packets[i]} packets")
    chosen = [rounds[i] for i in np.flatnonzero(flips)]
    of = np.repeat(np.arange(len(rounds)), flips)
    packet, bit = (_joined([getattr(r, name) for r in chosen], len(of)) for name in ("flip_packet", "flip_bit"))
    _check_flips(of, packet, bit, packets)
    at = first_byte[of] * 8 + packet
    gone = erased[at >> 3] >> (at & 7).astype(np.uint8) & 1
    _refuse_flip(of, gone > 0, "flip_packet", lambda i: f"{packet[i]} is erased, and has no bits left")
    lost, runs = _losses(erased, first_byte)
    flipped = int(np.count_nonzero(np.diff(of << BIT_SHIFT | packet, prepend=-1)))
    counts = TraceCounts(int(packets.sum()), lost, runs, flipped, len(of), float((flips / packets).max()))
    return Trace(packets, erased, first_byte, packet << BIT_SHIFT | bit, first_flip, _places(rounds), counts)


def trace_round(frame_index: int, round_: int, lost: Bools, packet: Ints, bit: Ints) -> channel_pb2.TraceRound:
    """A round as its message.

    Args:
        frame_index, round_: which one.
        lost: bool [P], of each packet in order of sequence, P 1 to 65536.
        packet, bit: int64 [F], the flipped bits in ascending order.
    """
    return channel_pb2.TraceRound(
        frame_index=frame_index,
        round=round_,
        packets=len(lost),
        erased=np.packbits(lost, bitorder="little").tobytes(),
        flip_packet=packet.tolist(),
        flip_bit=bit.tolist(),
    )


def lost_of(message: channel_pb2.TraceRound) -> Bools:
    """bool [P]: which packets of a round are erased."""
    bits = np.unpackbits(np.frombuffer(message.erased, np.uint8), bitorder="little", count=message.packets)
    return bits.astype(bool)


def _losses(erased: Bytes, first_byte: Ints) -> tuple[int, int]:
    """How many packets are erased, and in how many runs."""
    lost = np.unpackbits(erased, bitorder="little").astype(bool)
    before = np.concatenate(([False], lost[:-1]))
    before[8 * first_byte[:-1]] = False
    return int(np.count_nonzero(lost)), int(np.count_nonzero(lost & ~before))


def _begins(counts: Ints) -> Ints:
    return np.concatenate(([0], np.cumsum(counts)))


def _joined(columns: Sequence[Sequence[int]], count: int) -> Ints:
    return np.fromiter(chain.from_iterable(columns), np.int64, count)


def _check_flips(of: Ints, packet: Ints, bit: Ints, packets: Ints) -> None:
    """`of`: int64 [F], the round of each flip."""
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
    """Raises InvalidInput for the first round that is wrong."""
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InvalidInput(f"rounds[{first}].{name}: {words(first)}")


def _refuse_flip(of: Ints, wrong: Bools, name: str, words: Callable[[int], str]) -> None:
    """Raises InvalidInput for the round of the first flip that is wrong."""
    if wrong.any():
        first = int(np.argmax(wrong))
        raise InvalidInput(f"rounds[{of[first]}].{name}: {words(first)}")


def _places(rounds: Sequence[channel_pb2.TraceRound]) -> dict[tuple[int, int], int]:
    places: dict[tuple[int, int], int] = {}
    for place, message in enumerate(rounds):
        key = (message.frame_index, message.round)
        if (before := places.setdefault(key, place)) != place:
            words = f"frame {key[0]}, round {key[1]} is that of rounds[{before}] already"
            raise InvalidInput(f"rounds[{place}].frame_index: {words}")
    return places
