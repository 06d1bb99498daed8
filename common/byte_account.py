"""The one byte account: every serialized byte of a round, by segment.

What counts is the serialized size of the frame header, the packet batches (payloads and packet header fields) and the
end mark, as they enter the link, and of the feedback that asked for later rounds. gRPC and HTTP/2 framing, and the
session handshake, are not in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gocom.common.packet_batch import PacketBatch
from gocom.common.packetizer import packetize
from gocom.common.systems import SYSTEMS
from gocom.common.types import FrameHeader, GoMessage, Ints, LinkSettings
from gocom.common.wire.messages import header_to_proto
from gocom.common.wire.packet_batches import batch_to_proto
from gocom.v1 import link_pb2


@dataclass(slots=True)
class ByteAccount:
    """Bytes of one round, or of several added up.

    Attributes:
        header_bytes: frame header and end mark.
        by_segment: bytes of the packets of each segment, repair included.
        repair_by_segment: of those, bytes of repair packets.
        feedback_bytes: of feedback messages and their answers, on the way back.
    """

    header_bytes: int
    by_segment: dict[str, int]
    repair_by_segment: dict[str, int]
    feedback_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.header_bytes + sum(self.by_segment.values()) + self.feedback_bytes

    def __add__(self, other: ByteAccount) -> ByteAccount:
        def add(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
            return {name: a.get(name, 0) + b.get(name, 0) for name in [*a, *(n for n in b if n not in a)]}

        return ByteAccount(
            self.header_bytes + other.header_bytes,
            add(self.by_segment, other.by_segment),
            add(self.repair_by_segment, other.repair_by_segment),
            self.feedback_bytes + other.feedback_bytes,
        )


def frame_items(header: FrameHeader, batch: PacketBatch, batch_packets: int) -> list[link_pb2.SendRequest]:
    """The items that carry a round over the link, in order."""
    items = [link_pb2.SendRequest(header=header_to_proto(header))]
    items += [link_pb2.SendRequest(batch=batch_to_proto(part)) for part in batch.slices(batch_packets)]
    items.append(link_pb2.SendRequest(end=link_pb2.FrameEnd(packet_count=len(batch))))
    return items


def cost(message: GoMessage, link: LinkSettings) -> int:
    """Bytes a message would take on the link, everything counted."""
    return laid_out_bytes(*packetize(message, link), link)


def laid_out_bytes(header: FrameHeader, batch: PacketBatch, link: LinkSettings) -> int:
    """The same for a round that is laid out."""
    return sum(item.ByteSize() for item in frame_items(header, batch, link.batch_packets))


def account(header: FrameHeader, batch: PacketBatch, items: Sequence[link_pb2.SendRequest]) -> ByteAccount:
    """Count the items of a round. Batch bytes are shared out over segments by what each packet adds to its batch."""
    header_bytes = sum(i.ByteSize() for i in items if i.WhichOneof("item") != "batch")
    packet_bytes = sum(i.ByteSize() for i in items) - header_bytes
    system = SYSTEMS.get(header.codec)
    names = [system.segments[s.kind].name for s in header.segments]
    cost = batch.length + sum(varint_bytes(c) for c in _varint_columns(batch)) + 4
    per_segment = np.bincount(batch.segment, weights=cost, minlength=len(names)).astype(np.int64)
    repair = np.bincount(batch.segment, weights=cost * (batch.element_count == 0), minlength=len(names))
    # Field tags and lengths of the batches belong to no packet; they go to the largest segment.
    if names:
        per_segment[int(per_segment.argmax())] += packet_bytes - int(per_segment.sum())
    return ByteAccount(
        header_bytes,
        dict(zip(names, per_segment.tolist(), strict=True)),
        dict(zip(names, repair.astype(np.int64).tolist(), strict=True)),
    )


def _varint_columns(batch: PacketBatch) -> list[Ints]:
    return [batch.length, batch.sequence, batch.segment, batch.first_element, batch.element_count]


def varint_bytes(values: Ints) -> Ints:
    """Bytes of protobuf varints: one for each seven bits."""
    bits = np.maximum(1, np.ceil(np.log2(values.astype(np.float64) + 1)))
    widths: Ints = np.ceil(bits / 7).astype(np.int64)
    return widths
