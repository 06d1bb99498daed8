"""Byte accounting: every serialized byte of a round, by segment. All byte counts in GO-COM come from here.

The account holds the serialized size of the frame header, of the packet batches (payloads and packet header fields) and
of the end mark, as they enter the link. Feedback that asks for a further round is added. gRPC and HTTP/2 framing and
the session handshake are not counted; `handshake_bytes` says how many the handshake takes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gocom.common.packet_batch import PacketBatch
from gocom.common.packetizer import packetize
from gocom.common.systems import SYSTEMS
from gocom.common.types import FrameHeader, GoMessage, Ints, LinkSettings
from gocom.common.wire.frame_headers import header_to_proto
from gocom.common.wire.packet_batches import batch_to_proto
from gocom.v1 import link_pb2


@dataclass(slots=True)
class ByteAccount:
    """Byte counts of one round, or the sum over several rounds.

    Attributes:
        header_bytes: bytes of the frame header and the end mark.
        by_segment: bytes of all packets of each segment, repair packets included, by segment name.
        repair_by_segment: the part of `by_segment` that repair packets take.
        payload_bytes: bytes of the payloads of all packets, repair packets included.
        feedback_bytes: bytes of feedback messages, lost attempts included, and of their answers.
    """

    header_bytes: int
    by_segment: dict[str, int]
    repair_by_segment: dict[str, int]
    payload_bytes: int
    feedback_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """Sum of header, packet and feedback bytes."""
        return self.header_bytes + sum(self.by_segment.values()) + self.feedback_bytes

    @property
    def overhead_bytes(self) -> int:
        """Bytes beyond the payloads, without feedback: frame header, end mark, and header fields of the packets."""
        return self.total_bytes - self.payload_bytes - self.feedback_bytes

    def __add__(self, other: ByteAccount) -> ByteAccount:
        """Return the sum of two accounts; a segment that only one of them has is kept."""

        def add(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
            return {name: a.get(name, 0) + b.get(name, 0) for name in [*a, *(n for n in b if n not in a)]}

        return ByteAccount(
            self.header_bytes + other.header_bytes,
            add(self.by_segment, other.by_segment),
            add(self.repair_by_segment, other.repair_by_segment),
            self.payload_bytes + other.payload_bytes,
            self.feedback_bytes + other.feedback_bytes,
        )


def frame_items(header: FrameHeader, batch: PacketBatch, batch_packets: int) -> list[link_pb2.SendRequest]:
    """Return the messages that carry a round over the link, in order: header, batches, end mark.

    Args:
        header, batch: the round.
        batch_packets: largest number of packets of one batch.
    """
    items = [link_pb2.SendRequest(header=header_to_proto(header))]
    items += [link_pb2.SendRequest(batch=batch_to_proto(part)) for part in batch.slices(batch_packets)]
    items.append(link_pb2.SendRequest(end=link_pb2.FrameEnd()))
    return items


def handshake_bytes(opening: link_pb2.SessionOpen, accepted: link_pb2.SessionAccepted) -> int:
    """Return the bytes of the opening of a session and of the answer to it. No frame's account has them."""
    return link_pb2.SendRequest(open=opening).ByteSize() + link_pb2.SendResponse(accepted=accepted).ByteSize()


def message_bytes(message: GoMessage, link: LinkSettings) -> int:
    """Return the bytes that a message would take on the link, header and end mark included."""
    return packetized_bytes(*packetize(message, link), link)


def packetized_bytes(header: FrameHeader, batch: PacketBatch, link: LinkSettings) -> int:
    """Return the bytes that a packetized round takes on the link, header and end mark included."""
    return sum(item.ByteSize() for item in frame_items(header, batch, link.batch_packets))


def count_bytes(header: FrameHeader, batch: PacketBatch, items: Sequence[link_pb2.SendRequest]) -> ByteAccount:
    """Return the byte account of a round.

    Each packet is charged to its segment with its payload, header fields and checksum.

    Args:
        header, batch: the round.
        items: the messages that carry the round, from `frame_items`.
    """
    header_bytes = sum(i.ByteSize() for i in items if i.WhichOneof("item") != "batch")
    packet_bytes = sum(i.ByteSize() for i in items) - header_bytes
    system = SYSTEMS.get(header.codec)
    names = [system.segments[s.kind].name for s in header.segments]
    ends = np.cumsum([s.packets for s in header.segments])
    segment = np.searchsorted(ends, batch.sequence, side="right")
    bases = np.array([end - s.repair_packets for end, s in zip(ends, header.segments, strict=True)], np.int64)
    repairs = batch.sequence >= bases[segment] if len(bases) else np.zeros(len(batch), bool)
    per_packet = batch.length + _column_bytes(batch, [item.batch for item in items if item.HasField("batch")])
    per_segment = np.bincount(segment, weights=per_packet, minlength=len(names)).astype(np.int64)
    repair = np.bincount(segment, weights=per_packet * repairs, minlength=len(names))
    # The rest of a batch (field tags, field lengths, the power column) is charged to the largest segment.
    if names:
        per_segment[int(per_segment.argmax())] += packet_bytes - int(per_segment.sum())
    return ByteAccount(
        header_bytes,
        dict(zip(names, per_segment.tolist(), strict=True)),
        dict(zip(names, repair.astype(np.int64).tolist(), strict=True)),
        int(batch.length.sum()),
    )


def _column_bytes(batch: PacketBatch, parts: Sequence[link_pb2.PacketBatch]) -> Ints:
    """Return the bytes that each packet of a round takes in the columns of the batches that carry it, int64 [P].

    Args:
        batch: the packets of the round.
        parts: batches of some of them, in order.
    """
    if not parts:
        return np.zeros(0, np.int64)
    sizes = [len(part.sequence) for part in parts]
    size = varint_bytes(batch.sequence) + 4  # 4: the checksum
    for name in ("first_element", "element_count"):
        present = np.repeat([len(getattr(part, name)) > 0 for part in parts], sizes)
        size += varint_bytes(getattr(batch, name)) * present
    has_length = np.ones(len(batch), bool)
    has_length[np.cumsum(sizes) - 1] = False  # the last packet of a batch has what the others leave of the payload
    size += varint_bytes(batch.length) * has_length
    return size


def varint_bytes(values: Ints) -> Ints:
    """Return the size in bytes of each value as a protobuf varint: one byte for every seven bits."""
    bits = np.maximum(1, np.ceil(np.log2(values.astype(np.float64) + 1)))
    widths: Ints = np.ceil(bits / 7).astype(np.int64)
    return widths
