"""Batches of packets as one array per field, instead of one object per packet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gocom.common.types import Bools, Bytes, Floats, Ints

_MAX_CACHED_PACKETS = 1024
"""Largest number of packets of a batch whose layout is cached; bounds memory."""


@dataclass(frozen=True, slots=True)
class SequenceRange:
    """The range of the sequence numbers of a batch.

    Attributes:
        first, last: smallest and largest sequence number; 0 and -1 if there is none.
        contiguous: the batch has every number from first to last once, in ascending order.
    """

    first: int
    last: int
    contiguous: bool

    @classmethod
    def of(cls, sequence: Ints) -> SequenceRange:
        """Return the range of sequence numbers, int64 [P]."""
        if not len(sequence):
            return cls(0, -1, True)
        first, last = int(sequence[0]), int(sequence[-1])
        # For a hundred numbers, comparing bytes takes a third of the time of array operations.
        if last - first == len(sequence) - 1 and np.arange(first, last + 1).tobytes() == sequence.tobytes():
            return cls(first, last, True)
        return cls(int(sequence.min()), int(sequence.max()), False)


@dataclass(frozen=True, slots=True)
class PayloadLayout:
    """The positions of payloads that lie one after the other in one array.

    Attributes:
        starts: int64 [P], position of the first byte of each payload; read-only.
        ends: P positions, one past the last byte of each payload.
        longest: length of the longest payload, in bytes; 0 if there is none.
        equal_lengths: all payloads have the same length.
    """

    starts: Ints
    ends: tuple[int, ...]
    longest: int
    equal_lengths: bool

    @classmethod
    def of(cls, length: Ints) -> PayloadLayout:
        """Return the layout of payloads of these lengths in bytes, int64 [P]."""
        # Most batches of a sender have the same lengths, so layouts are cached.
        return _cached_layout(length.tobytes()) if len(length) <= _MAX_CACHED_PACKETS else _make_layout(length)


def _make_layout(length: Ints) -> PayloadLayout:
    longest, ends = int(length.max(initial=0)), np.cumsum(length)
    starts: Ints = ends - length
    starts.flags.writeable = False
    return PayloadLayout(starts, tuple(ends.tolist()), longest, bool((length == longest).all()))


@lru_cache(maxsize=64)
def _cached_layout(length: bytes) -> PayloadLayout:
    return _make_layout(np.frombuffer(length, np.int64))


@dataclass(slots=True)
class PacketBatch:
    """P packets as one array per field, so that numpy can process all of them at once.

    Attributes:
        payload: uint8 [sum of lengths], the payloads one after the other.
        length: int64 [P], length of each payload in bytes.
        sequence: int64 [P], number of the packet within the round.
        first_element: int64 [P], position of the first element in packet order; 0 where element_count is 0.
        element_count: int64 [P], number of elements; 0 marks a repair packet, and the only source packet of a segment,
            which carries all of its elements.
        checksum: uint32 [P], CRC32C over frame index, round, header fields and payload.
        power: float32 [P], transmit power, linear.
        erased: bool [P], set by the channel; erased packets are not forwarded.
    """

    payload: Bytes
    length: Ints
    sequence: Ints
    first_element: Ints
    element_count: Ints
    checksum: npt.NDArray[np.uint32]
    power: Floats
    erased: Bools

    def __len__(self) -> int:
        return len(self.length)

    @property
    def sequence_range(self) -> SequenceRange:
        """Range of the sequence numbers."""
        return SequenceRange.of(self.sequence)

    @property
    def layout(self) -> PayloadLayout:
        """Positions of the payloads."""
        return PayloadLayout.of(self.length)

    @property
    def offset(self) -> Ints:
        """Position of the first byte of each payload, int64 [P]; read-only."""
        return self.layout.starts

    def payloads(self) -> list[bytes]:
        """Return the P payloads as bytes."""
        data = self.payload.tobytes()
        ends = self.layout.ends
        return [data[start:end] for start, end in zip((0, *ends), ends, strict=False)]

    def payload_runs(self, excluded: Ints) -> list[memoryview]:
        """Return the payloads as few contiguous views, without those of some packets. Nothing is copied.

        Args:
            excluded: int64, ascending indices of the packets that are left out.
        """
        data = np.ascontiguousarray(self.payload).data
        runs, start, ends = [], 0, self.layout.ends
        for index in excluded.tolist():
            stop = ends[index - 1] if index else 0
            if stop > start:
                runs.append(data[start:stop])
            start = ends[index]
        return [*runs, data[start:]] if start < len(data) or not len(excluded) else runs

    def erase(self, lost: Bools) -> PacketBatch:
        """Return the batch with the packets where `lost`, bool [P], is True erased as well."""
        return replace(self, erased=self.erased | lost)

    def same_except_erased(self, other: PacketBatch) -> bool:
        """Return whether both batches share all arrays but `erased`: one was made from the other by erasures alone."""
        return all(getattr(self, name) is getattr(other, name) for name in PacketBatch.__slots__ if name != "erased")

    def select(self, keep: Bools) -> PacketBatch:
        """Return the batch of the packets where `keep`, bool [P], is True, in order."""
        if bool(keep.all()):
            return self
        return PacketBatch(
            np.frombuffer(b"".join(self.payload_runs(np.flatnonzero(~keep))), np.uint8),
            self.length[keep],
            self.sequence[keep],
            self.first_element[keep],
            self.element_count[keep],
            self.checksum[keep],
            self.power[keep],
            self.erased[keep],
        )

    def slices(self, size: int) -> list[PacketBatch]:
        """Split the batch into batches of at most `size` packets."""
        index = np.arange(len(self))
        return [self.select((index >= i) & (index < i + size)) for i in range(0, len(self), size)]


def join_batches(batches: Sequence[PacketBatch]) -> PacketBatch:
    """Concatenate batches; without any, return an empty batch."""
    if not batches:
        none = np.zeros(0, np.int64)
        return PacketBatch(
            np.zeros(0, np.uint8), none, none, none, none,
            np.zeros(0, np.uint32), np.zeros(0, np.float32), np.zeros(0, bool),
        )  # fmt: skip
    if len(batches) == 1:
        return batches[0]
    names = list(PacketBatch.__slots__)
    return PacketBatch(*(np.concatenate([getattr(b, n) for b in batches]) for n in names))


def gather(pieces: Sequence[tuple[PacketBatch, Ints]]) -> PacketBatch:
    """Return a batch of packets from several batches, in the given order; a packet may be taken more than once.

    Args:
        pieces: pairs of a batch and the indices, int64 [N], of the packets that are taken from it.
    """
    payload: list[memoryview] = []
    offsets: dict[int, Ints] = {}
    for batch, rows in pieces:
        data = np.ascontiguousarray(batch.payload).data
        if id(batch) not in offsets:
            offsets[id(batch)] = batch.offset
        starts, length = offsets[id(batch)][rows], batch.length[rows]
        payload += [data[start:stop] for start, stop in zip(starts.tolist(), (starts + length).tolist(), strict=True)]
    columns = [np.concatenate([getattr(b, n)[rows] for b, rows in pieces]) for n in PacketBatch.__slots__[1:]]
    return PacketBatch(np.frombuffer(b"".join(payload), np.uint8), *columns)
