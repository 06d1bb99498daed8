"""From the items of a link stream to whole rounds: order, counts and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gocom.common.errors import InvalidInput, TooLarge
from gocom.common.packet_batch import PacketBatch, join_batches
from gocom.common.rounds import with_requested
from gocom.common.systems import spec_of
from gocom.common.types import FrameHeader, Ints
from gocom.common.wire.messages import header_from_proto
from gocom.common.wire.packet_batches import batch_from_proto
from gocom.v1 import link_pb2


@dataclass(frozen=True, slots=True)
class ArrivedRound:
    """A round with its end mark: header, the packets that came, and how many were sent."""

    header: FrameHeader
    packets: PacketBatch
    packets_sent: int


class RoundAssembler:
    """Collects one round at a time.

    Args:
        max_bytes: payload bytes of a round, and elements it may announce.
        max_packets: packets of a round.
    """

    def __init__(self, max_bytes: int, max_packets: int) -> None:
        self._max_bytes, self._max_packets = max_bytes, max_packets
        self._header: FrameHeader | None = None
        self._batches: list[PacketBatch] = []
        self._bytes = self._packets = 0
        self._checksum: Ints = np.zeros(0, np.int64)

    @property
    def within(self) -> FrameHeader | None:
        """Header of the round that has begun and not ended."""
        return self._header

    def reset(self) -> None:
        """Forget the round that has begun."""
        self._header, self._batches = None, []

    def begin(self, message: link_pb2.FrameHeader, asked: Mapping[int, Ints]) -> FrameHeader:
        """Take a header; `asked`: spans by segment kind, of the feedback that it answers.

        Raises InvalidInput, UnknownName, TooLarge.
        """
        if self._header is not None:
            raise InvalidInput(f"header: comes before the end of frame {self._header.frame_index}")
        header = with_requested(header_from_proto(message), asked)
        for segment in header.segments:
            spec = spec_of(header.codec, segment.kind)
            if segment.coding not in spec.codings:
                raise InvalidInput(f"segments.coding: segment {spec.name!r} has no {segment.coding.value!r}")
            if spec.limit is not None and segment.element_count > spec.limit:
                raise InvalidInput(
                    f"segments.element_count: {segment.element_count} of {spec.name!r}, at most {spec.limit}"
                )
            whole = spec.count(header.width_px, header.height_px) if spec.count else segment.element_count
            least = 0 if header.round else whole  # a further round brings any of the first one's elements
            if not least <= segment.element_count <= whole:
                raise InvalidInput(
                    f"segments.element_count: {segment.element_count} of {spec.name!r}, this size has {whole}"
                )
        packets = _announced(header)
        if packets > self._max_packets:
            raise TooLarge(f"header.segments: {packets} packets are more than {self._max_packets} a round")
        elements = sum(s.element_count for s in header.segments)
        # A few bytes of header must not make this end reserve more memory than a round may bring.
        if elements > self._max_bytes:
            raise TooLarge(f"header.segments: {elements} elements are more than {self._max_bytes} a round")
        self._header, self._batches, self._bytes, self._packets = header, [], 0, 0
        self._checksum = np.full(packets, -1, np.int64)
        return header

    def add(self, message: link_pb2.PacketBatch) -> None:
        """Take some packets; copies of what came before are nothing. Raises InvalidInput, TooLarge."""
        if self._header is None:
            raise InvalidInput("batch: comes before a header")
        batch = self._new(batch_from_proto(message))
        self._bytes += len(batch.payload)
        self._packets += len(batch)
        if self._bytes > self._max_bytes:
            raise TooLarge(f"batch.payload: more than {self._max_bytes} bytes in a round")
        # Twice: some may contradict others.
        if self._packets > 2 * self._max_packets:
            raise TooLarge(f"batch: more than {2 * self._max_packets} packets in a round")
        if len(batch):  # empty ones have no limit on their number
            self._batches.append(batch)

    def _new(self, batch: PacketBatch) -> PacketBatch:
        """Without packets that came before with the same checksum: a channel may send any number of copies."""
        checksum = batch.checksum.astype(np.int64)
        new = np.zeros(len(batch), bool)
        new[np.unique(batch.sequence << 32 | checksum, return_index=True)[1]] = True
        known = np.flatnonzero(batch.sequence < len(self._checksum))
        before = self._checksum[batch.sequence[known]]
        new[known[before == checksum[known]]] = False
        first = known[before < 0]
        self._checksum[batch.sequence[first]] = checksum[first]
        return batch.select(new)

    def end(self, message: link_pb2.FrameEnd) -> ArrivedRound:
        """Take the end mark. Raises InvalidInput."""
        if self._header is None:
            raise InvalidInput("end: comes before a header")
        announced = _announced(self._header)
        if message.packet_count != announced:
            raise InvalidInput(f"end.packet_count: {message.packet_count}, the header announced {announced}")
        packets = join_batches(self._batches)
        arrived = ArrivedRound(self._header, packets.select(packets.sequence < announced), announced)
        self._header, self._batches = None, []
        return arrived


def _announced(header: FrameHeader) -> int:
    return sum(s.source_packets + s.repair_packets for s in header.segments)
