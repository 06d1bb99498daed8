"""Items of LinkService in their wire format; the payload of a batch is not decoded.

A batch of 128 packets of 1200 bytes has 150 kB of payload and 2 kB of other fields. Parsing, changing and serializing
it as one message would copy the payload five times. Here it is copied once, and not at all if the batch does not
change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gocom.channel_emulator.proxy.lazy_packet_batch import WireBatch
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Ints
from gocom.common.wire.packet_batches import update_columns
from gocom.v1 import link_pb2

_FIELDS = link_pb2.SendRequest.DESCRIPTOR.fields_by_name
_LENGTH_DELIMITED = 2
_BATCH = _FIELDS["batch"].number << 3 | _LENGTH_DELIMITED
_PAYLOAD = link_pb2.PacketBatch.DESCRIPTOR.fields_by_name["payload"].number << 3 | _LENGTH_DELIMITED
_NOTHING = memoryview(b"")
_STAND_IN = b"?"
_STAND_IN_FIELD = link_pb2.PacketBatch(payload=_STAND_IN).SerializeToString()
"""What stands in for the payload that was cut out.

If another payload field follows the columns, protobuf keeps the last one, so the stand-in is missing after parsing.
"""


@dataclass(slots=True)
class WireItem:
    """An item of a session.

    Attributes:
        raw: the serialized SendRequest.
        kind: "open", "header", "batch" or "end"; None: the request has none of these.
        message: the SendRequest, if it is not a batch.
        columns: the batch without its payload.
        payload: the payload of the batch.
    """

    raw: bytes
    kind: str | None
    message: link_pb2.SendRequest = field(default_factory=link_pb2.SendRequest)
    columns: link_pb2.PacketBatch = field(default_factory=link_pb2.PacketBatch)
    payload: memoryview = _NOTHING

    def batch(self) -> PacketBatch:
        """Return the packets without copying the payload.

        Raises:
            InvalidInput: the columns do not fit together.
        """
        return WireBatch.of(self.columns, self.payload)

    def serialize_with(self, read: PacketBatch, batch: PacketBatch, erased: Ints) -> bytes:
        """Return the serialized item with another batch. It may be called only once, as it changes `columns`.

        Args:
            read: the result of `batch()`.
            batch: a batch made from `read` by faults; its erased packets are left out.
            erased: int64, indices of the erased packets, ascending.
        """
        if not len(erased) and batch.same_except_erased(read):
            return self.raw
        update_columns(self.columns, read, batch, erased)
        return _serialize_batch(batch.payload_runs(erased), self.columns.SerializeToString())


def read_item(raw: bytes) -> WireItem:
    """Parse an item. Raise DecodeError unless it is a SendRequest."""
    if (cut := _find_payload(raw)) is not None:
        columns = link_pb2.PacketBatch.FromString(_STAND_IN_FIELD + raw[cut[1] :])
        if columns.payload == _STAND_IN:
            columns.ClearField("payload")
            return WireItem(raw, "batch", columns=columns, payload=memoryview(raw)[cut[0] : cut[1]])
    message = link_pb2.SendRequest.FromString(raw)
    kind = message.WhichOneof("item")
    if kind != "batch":
        return WireItem(raw, kind, message)
    # The fields are in an unusual order, but the message is valid.
    payload = memoryview(message.batch.payload)
    message.batch.ClearField("payload")
    return WireItem(raw, kind, columns=message.batch, payload=payload)


def _find_payload(raw: bytes) -> tuple[int, int] | None:
    """Return where the payload begins and ends, or None.

    The item must have the usual layout: a single batch, whose first field is the payload.
    """
    batch = _find_field(raw, 0, _BATCH)
    if batch is None or batch[1] != len(raw):
        return None
    return _find_field(raw, batch[0], _PAYLOAD)


def _find_field(raw: bytes, place: int, tag: int) -> tuple[int, int] | None:
    """Return where the content of the length-delimited field at `place` begins and ends.

    Return None if another field is there, or if its content is incomplete.
    """
    if raw[place : place + 1] != tag.to_bytes():
        return None
    length = 0
    for shift, byte in enumerate(raw[place + 1 : place + 6]):
        length |= (byte & 0x7F) << 7 * shift
        if byte < 0x80:
            begin = place + 2 + shift
            return (begin, begin + length) if begin + length <= len(raw) else None
    return None


def _serialize_batch(payload: Sequence[memoryview], columns: bytes) -> bytes:
    """Return a serialized SendRequest with a batch."""
    count = sum(len(run) for run in payload)
    head = _field_header(_PAYLOAD, count) if count else b""
    return b"".join([_field_header(_BATCH, len(head) + count + len(columns)), head, *payload, columns])


def _field_header(tag: int, length: int) -> bytes:
    """Return the tag and length of a length-delimited field."""
    begin = bytearray([tag])
    while length >= 0x80:
        begin.append(length & 0x7F | 0x80)
        length >>= 7
    begin.append(length)
    return bytes(begin)
