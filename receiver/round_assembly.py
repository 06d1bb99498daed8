"""Assembly of the items of a link stream into rounds, with checks of order, counts and limits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from gocom.common.errors import InvalidInput, TooLarge
from gocom.common.packet_batch import PacketBatch, join_batches
from gocom.common.rounds import with_requested_spans
from gocom.common.types import FrameDefaults, FrameHeader, Ints, StreamPosition
from gocom.common.wire.frame_headers import frame_index_of, header_from_proto
from gocom.common.wire.packet_batches import batch_from_proto
from gocom.v1 import link_pb2


@dataclass(frozen=True, slots=True)
class ArrivedRound:
    """A round whose end mark arrived.

    Attributes:
        header: header of the round, which says how many packets were sent.
        packets: packets that arrived.
    """

    header: FrameHeader
    packets: PacketBatch


class RoundAssembler:
    """Assembles one round at a time, and keeps track of the frame indices that headers leave out.

    Args:
        defaults: what the session's opening says of its frames.
        max_bytes: maximum number of payload bytes of a round, and of elements that its header announces.
        max_packets: maximum number of packets of a round.
    """

    def __init__(self, defaults: FrameDefaults, max_bytes: int, max_packets: int) -> None:
        self._position = StreamPosition(defaults)
        self._max_bytes, self._max_packets = max_bytes, max_packets
        self._header: FrameHeader | None = None
        self._batches: list[PacketBatch] = []
        self._bytes = self._packets = 0
        self._checksum: Ints = np.zeros(0, np.int64)

    @property
    def open_header(self) -> FrameHeader | None:
        """Header of the round that has begun and not ended; None between rounds."""
        return self._header

    def reset(self) -> None:
        """Discard the round that has begun."""
        self._header, self._batches = None, []

    def advance(self, message: link_pb2.FrameHeader) -> tuple[int, StreamPosition]:
        """Return the frame index of the next header of the stream, and what the header can rely on.

        Raises:
            InvalidInput: the header of a further round has no frame index.
        """
        position = self._position
        index = frame_index_of(message, position.last_frame)
        if not message.round:
            self._position = replace(position, last_frame=index)
        return index, position

    def begin(
        self, message: link_pb2.FrameHeader, position: StreamPosition, requested: Mapping[int, Ints]
    ) -> FrameHeader:
        """Begin a round with its header.

        Args:
            message: the header.
            position: what the header can rely on, from `advance`.
            requested: spans by segment kind of the feedback that the round answers; empty for a first round.

        Raises:
            InvalidInput: the header is invalid, or the previous round has not ended.
            UnknownName: the codec is unknown.
            TooLarge: the header announces more than the limits.
        """
        if self._header is not None:
            raise InvalidInput(f"header: comes before the end of frame {self._header.frame_index}")
        header = with_requested_spans(header_from_proto(message, position), requested)
        packets = header.packets
        if packets > self._max_packets:
            raise TooLarge(f"header.segments: {packets} packets are more than {self._max_packets} a round")
        elements = sum(s.element_count for s in header.segments)
        # A small header must not make the receiver allocate more memory than a round may bring. Elements that are named
        # take the memory of all those before them.
        if elements > self._max_bytes:
            raise TooLarge(f"header.segments: {elements} elements are more than {self._max_bytes} a round")
        named = [s.spans for s in header.segments if s.spans is not None and len(s.spans)]
        reach = max((int(spans[-1].sum()) for spans in named), default=0)
        if reach > self._max_bytes:
            raise TooLarge(f"segments.resent: element {reach - 1} is not below {self._max_bytes}")
        self._header, self._batches, self._bytes, self._packets = header, [], 0, 0
        self._checksum = np.full(packets, -1, np.int64)
        return header

    def add(self, message: link_pb2.PacketBatch) -> None:
        """Add packets, except copies of packets that arrived before. Raises InvalidInput, TooLarge."""
        if self._header is None:
            raise InvalidInput("batch: comes before a header")
        batch = self._without_copies(batch_from_proto(message))
        self._bytes += len(batch.payload)
        self._packets += len(batch)
        if self._bytes > self._max_bytes:
            raise TooLarge(f"batch.payload: more than {self._max_bytes} bytes in a round")
        # Twice the limit, because packets of one sequence number may differ.
        if self._packets > 2 * self._max_packets:
            raise TooLarge(f"batch: more than {2 * self._max_packets} packets in a round")
        if len(batch):  # the number of empty batches is not limited, so they are not kept
            self._batches.append(batch)

    def _without_copies(self, batch: PacketBatch) -> PacketBatch:
        """Select the packets that no earlier one equals in sequence number and checksum: a channel may copy packets."""
        checksum = batch.checksum.astype(np.int64)
        new = np.zeros(len(batch), bool)
        new[np.unique(batch.sequence << 32 | checksum, return_index=True)[1]] = True
        known = np.flatnonzero(batch.sequence < len(self._checksum))
        before = self._checksum[batch.sequence[known]]
        new[known[before == checksum[known]]] = False
        first = known[before < 0]
        self._checksum[batch.sequence[first]] = checksum[first]
        return batch.select(new)

    def end(self) -> ArrivedRound:
        """End the round. Raises InvalidInput if no round has begun."""
        if self._header is None:
            raise InvalidInput("end: comes before a header")
        packets = join_batches(self._batches)
        arrived = ArrivedRound(self._header, packets.select(packets.sequence < self._header.packets))
        self._header, self._batches = None, []
        return arrived
