"""Items of LinkService as they lie on the wire. Of a batch the payload stays where it is.

A batch of 128 packets of 1200 bytes is 150 kB of payload and 2 kB of all the rest. Parsed, changed and serialised as
one message the payload would be copied five times on its way; here it is copied once, and not at all where nothing
becomes of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gocom.channel_emulator.proxy.lazy_batch import WireBatch
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Ints
from gocom.common.wire.packet_batches import columns_into_proto
from gocom.v1 import link_pb2

_FIELDS = link_pb2.SendRequest.DESCRIPTOR.fields_by_name
_LENGTH_DELIMITED = 2
_BATCH = _FIELDS["batch"].number << 3 | _LENGTH_DELIMITED
_PAYLOAD = link_pb2.PacketBatch.DESCRIPTOR.fields_by_name["payload"].number << 3 | _LENGTH_DELIMITED
_NOTHING = memoryview(b"")
_MARKED = b"?"
_MARK = link_pb2.PacketBatch(payload=_MARKED).SerializeToString()
"""A payload in place of the one cut out: it is gone where the columns are followed by another, which then counts."""


@dataclass(slots=True)
class WireItem:
    """An item of a session.

    Attributes:
        raw: the SendRequest as it came.
        kind: which item it is: "open", "header", "batch", "end"; None: none of these.
        message: the SendRequest, of an item that is no batch.
        columns: of a batch, all but its payload.
        payload: of a batch.
    """

    raw: bytes
    kind: str | None
    message: link_pb2.SendRequest = field(default_factory=link_pb2.SendRequest)
    columns: link_pb2.PacketBatch = field(default_factory=link_pb2.PacketBatch)
    payload: memoryview = _NOTHING

    def batch(self) -> PacketBatch:
        """The packets; their payload is not a copy. Raises InvalidInput where the columns do not fit together."""
        return WireBatch.of(self.columns, self.payload)

    def changed(self, read: PacketBatch, batch: PacketBatch, gone: Ints) -> bytes:
        """The item with another batch in it, as bytes; may be called once.

        Args:
            read: what `batch()` gave.
            batch: made from that, as faults do; erased packets are left out.
            gone: int64, indices of the erased packets, ascending.
        """
        if not len(gone) and batch.same_but_erased(read):
            return self.raw
        columns_into_proto(self.columns, read, batch, gone)
        return _write(batch.payload_runs(gone), self.columns.SerializeToString())


def read_item(raw: bytes) -> WireItem:
    """An item from its bytes. Raises DecodeError where they are no SendRequest."""
    if (cut := _payload_of(raw)) is not None:
        columns = link_pb2.PacketBatch.FromString(_MARK + raw[cut[1] :])
        if columns.payload == _MARKED:
            columns.ClearField("payload")
            return WireItem(raw, "batch", columns=columns, payload=memoryview(raw)[cut[0] : cut[1]])
    message = link_pb2.SendRequest.FromString(raw)
    kind = message.WhichOneof("item")
    if kind != "batch":
        return WireItem(raw, kind, message)
    # Laid out in another way than protobuf's libraries do; as good.
    payload = memoryview(message.batch.payload)
    message.batch.ClearField("payload")
    return WireItem(raw, kind, columns=message.batch, payload=payload)


def _payload_of(raw: bytes) -> tuple[int, int] | None:
    """Where the payload begins and ends, in the usual layout: one batch, and the payload comes first in it."""
    batch = _content(raw, 0, _BATCH)
    if batch is None or batch[1] != len(raw):
        return None
    return _content(raw, batch[0], _PAYLOAD)


def _content(raw: bytes, place: int, tag: int) -> tuple[int, int] | None:
    """Begin and end of the length-delimited field at a place, if it is this one and lies within the bytes."""
    if raw[place : place + 1] != tag.to_bytes():
        return None
    length = 0
    for shift, byte in enumerate(raw[place + 1 : place + 6]):
        length |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            begin = place + 2 + shift
            return (begin, begin + length) if begin + length <= len(raw) else None
    return None


def _write(payload: Sequence[memoryview], columns: bytes) -> bytes:
    """A SendRequest of a batch."""
    count = sum(len(run) for run in payload)
    head = _begin(_PAYLOAD, count) if count else b""
    return b"".join([_begin(_BATCH, len(head) + count + len(columns)), head, *payload, columns])


def _begin(tag: int, length: int) -> bytes:
    """How a length-delimited field begins."""
    begin = bytearray([tag])
    while length >= 0x80:
        begin.append(length & 0x7F | 0x80)
        length >>= 7
    begin.append(length)
    return bytes(begin)
