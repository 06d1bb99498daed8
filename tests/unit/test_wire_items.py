"""Items taken apart on the wire: the same as parsing and serialising them whole."""

from __future__ import annotations

from dataclasses import replace
from itertools import accumulate

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from gocom.channel_emulator.proxy.wire_items import read_item
from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch, PayloadLayout, SequenceRange
from gocom.common.wire.packet_batches import batch_from_proto, batch_to_proto
from gocom.v1 import link_pb2

COUNT = 20
ITEMS = {
    "open": link_pb2.SendRequest(open=link_pb2.SessionOpen(session_id="s")),
    "header": link_pb2.SendRequest(header=link_pb2.FrameHeader(frame_index=3)),
    "end": link_pb2.SendRequest(end=link_pb2.FrameEnd()),
    None: link_pb2.SendRequest(),
}


def request(payload_bytes: int = 300, power: float = 1.0) -> link_pb2.SendRequest:
    index = np.arange(COUNT, dtype=np.int64)
    length = payload_bytes + index if payload_bytes else index * 0
    batch = PacketBatch(
        (np.arange(int(length.sum())) % 256).astype(np.uint8), length, index * 50, index * 7, index + 1,
        (index * 12345).astype(np.uint32), np.full(COUNT, power, np.float32), np.zeros(COUNT, bool),
    )  # fmt: skip
    return link_pb2.SendRequest(batch=batch_to_proto(batch))


def as_batch(content: bytes) -> bytes:
    """A SendRequest whose field 3 has this content, its length in three bytes."""
    size = len(content)
    return bytes([3 << 3 | 2, size & 0x7F | 0x80, size >> 7 & 0x7F | 0x80, size >> 14]) + content


def raw_with(message: link_pb2.SendRequest, more: bytes) -> bytes:
    """A batch that goes on with further fields."""
    return as_batch(message.batch.SerializeToString() + more)


def columns_first(message: link_pb2.PacketBatch) -> bytes:
    """The same batch with its payload behind the columns."""
    columns, payload = link_pb2.PacketBatch(), link_pb2.PacketBatch(payload=message.payload)
    columns.CopyFrom(message)
    columns.ClearField("payload")
    return as_batch(columns.SerializeToString() + payload.SerializeToString())


def same(one: PacketBatch, other: PacketBatch) -> bool:
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in PacketBatch.__slots__)


@pytest.mark.parametrize("kind", ITEMS)
def test_what_is_no_batch_is_parsed(kind: str | None) -> None:
    raw = ITEMS[kind].SerializeToString()
    item = read_item(raw)
    assert (item.kind, item.message, item.raw) == (kind, ITEMS[kind], raw)


@pytest.mark.parametrize("payload_bytes", [0, 1, 5, 300, 3000])
@pytest.mark.parametrize("power", [1.0, 2.0])
def test_a_batch_is_the_one_that_parsing_gives(payload_bytes: int, power: float) -> None:
    message = request(payload_bytes, power)
    raw = message.SerializeToString()
    item = read_item(raw)
    assert item.kind == "batch" and same(item.batch(), batch_from_proto(message.batch))
    # Where there is a payload it is a piece of what came, not a copy.
    assert not payload_bytes or item.payload.obj is raw


def test_a_batch_may_be_laid_out_in_another_way() -> None:
    message = request()
    raw = columns_first(message.batch)
    assert link_pb2.SendRequest.FromString(raw) == message and raw != message.SerializeToString()
    assert same(read_item(raw).batch(), batch_from_proto(message.batch))
    # Of two payloads, as of two items, the later one counts.
    emptied = raw_with(message, b"\x0a\x00")
    assert link_pb2.SendRequest.FromString(emptied).batch.payload == bytes(read_item(emptied).payload) == b""
    other = link_pb2.PacketBatch(payload=bytes(len(message.batch.payload))).SerializeToString()
    twice = message.SerializeToString() + link_pb2.SendRequest(batch=link_pb2.PacketBatch()).SerializeToString()
    twice += as_batch(other)
    assert not read_item(twice).batch().payload.any()
    ended = message.SerializeToString() + ITEMS["end"].SerializeToString()
    assert read_item(ended).kind == "end"


@pytest.mark.parametrize("payload_bytes", [0, 300, 3000])
@pytest.mark.parametrize("power", [1.0, 2.0])
@pytest.mark.parametrize("gone", [(), (0,), (19,), (3, 4, 5, 11), tuple(range(1, 20))])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_changed_batch_is_what_serialising_it_gives(
    payload_bytes: int, power: float, gone: tuple[int, ...], damaged: bool
) -> None:
    raw = request(payload_bytes, power).SerializeToString()
    item = read_item(raw)
    arrived = item.batch()
    left = replace(arrived, erased=np.isin(np.arange(COUNT), gone))
    if len(gone) % 2:
        left = arrived.erase(left.erased)  # columns are decoded when they are written
    if damaged:
        left = replace(left, payload=arrived.payload ^ 255, checksum=arrived.checksum + 1, power=arrived.power * 3)
    changed = item.serialize_with(arrived, left, np.flatnonzero(left.erased))
    assert link_pb2.SendRequest.FromString(changed) == link_pb2.SendRequest(batch=batch_to_proto(left))
    assert (changed is raw) == (not gone and not damaged)


@pytest.mark.parametrize("decoded", [False, True])
def test_many_erasures_among_many_packets(decoded: bool) -> None:
    """So many that columns are written anew, from a batch that has or has not decoded them before."""
    index = np.arange(3000, dtype=np.int64)
    batch = PacketBatch(
        np.zeros(6000, np.uint8), index * 0 + 2, index, index, index, index.astype(np.uint32),
        np.ones(3000, np.float32), np.zeros(3000, bool),
    )  # fmt: skip
    item = read_item(link_pb2.SendRequest(batch=batch_to_proto(batch)).SerializeToString())
    arrived = item.batch()
    left = replace(arrived, erased=index % 2 == 0) if decoded else arrived.erase(index % 2 == 0)
    changed = link_pb2.SendRequest.FromString(item.serialize_with(arrived, left, np.flatnonzero(left.erased)))
    assert list(changed.batch.sequence) == list(range(1, 3000, 2)) and len(changed.batch.payload) == 3000
    assert same(batch_from_proto(changed.batch), batch.select(index % 2 == 1))


def test_columns_that_do_not_fit_are_named() -> None:
    columns = {"length_bytes": 19, "first_element": 20, "element_count": 20, "checksum": 20, "power": 20}
    for field, count in columns.items():
        message = request(power=2)
        del getattr(message.batch, field)[3]
        with pytest.raises(InvalidInput, match=rf"^batch.{field}: {count - 1} entries for 20 packets"):
            read_item(message.SerializeToString()).batch()
    message = request()
    del message.batch.sequence[3]
    with pytest.raises(InvalidInput, match=r"^batch.length_bytes: 19 entries for 19 packets"):
        read_item(message.SerializeToString()).batch()
    message = request()
    message.batch.ClearField("sequence")
    with pytest.raises(InvalidInput, match=r"^batch.length_bytes: 19 entries for 0 packets"):
        read_item(message.SerializeToString()).batch()


def test_the_last_packet_has_the_rest_of_the_payload() -> None:
    message = request(300)
    assert len(message.batch.length_bytes) == COUNT - 1
    message.batch.payload += b"xyz"
    assert read_item(message.SerializeToString()).batch().length.tolist() == [*range(300, 319), 322]
    lengths = sum(range(300, 319))
    message.batch.payload = message.batch.payload[:lengths]
    assert read_item(message.SerializeToString()).batch().length.tolist()[-2:] == [318, 0]
    message.batch.payload = message.batch.payload[:-1]
    for read in (lambda: read_item(message.SerializeToString()).batch(), lambda: batch_from_proto(message.batch)):
        with pytest.raises(InvalidInput, match=f"^batch.length_bytes: add up to {lengths}, payload has {lengths - 1}"):
            read()
    nothing = link_pb2.SendRequest(batch=link_pb2.PacketBatch(payload=b"x"))
    with pytest.raises(InvalidInput, match=r"^batch.sequence: no packets, payload has 1 bytes"):
        read_item(nothing.SerializeToString()).batch()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_of_few_packets_any_may_be_erased(count: int) -> None:
    """The column of lengths has an entry less than there are packets, whichever are left."""
    sent = batch_from_proto(request(5).batch).select(np.arange(COUNT) < count)
    raw = link_pb2.SendRequest(batch=batch_to_proto(sent)).SerializeToString()
    for kept in range(1, 1 << count):
        keep = np.array([kept >> i & 1 for i in range(count)], bool)
        item = read_item(raw)
        arrived = item.batch()
        changed = item.serialize_with(arrived, arrived.erase(~keep), np.flatnonzero(~keep))
        got = link_pb2.SendRequest.FromString(changed).batch
        assert len(got.length_bytes) == keep.sum() - 1
        assert same(batch_from_proto(got), sent.select(keep))


def test_columns_of_nothing_are_left_out() -> None:
    """Those of repair packets and of the only packet of a segment, and those that all packets have alike."""
    whole = batch_from_proto(request(5).batch)
    empty = replace(whole, first_element=whole.sequence * 0, element_count=whole.sequence * 0)
    message = batch_to_proto(empty)
    assert not message.first_element and not message.element_count and not message.power
    assert same(batch_from_proto(message), empty)
    assert message.ByteSize() == batch_to_proto(whole).ByteSize() - 2 * (2 + COUNT) - (whole.first_element > 127).sum()
    one = batch_to_proto(replace(empty, element_count=(np.arange(COUNT) == 7).astype(np.int64)))
    assert not one.first_element and list(one.element_count) == [int(i == 7) for i in range(COUNT)]


@given(st.binary(max_size=60), st.integers(0, 400), st.integers(0, 400))
def test_any_bytes_are_what_parsing_makes_of_them(noise: bytes, place: int, cut: int) -> None:
    """Noise of its own, and noise over a batch that is cut short."""
    raw = request(10).SerializeToString()
    for data in (noise, b"\x1a" + noise, raw[:place] + noise + raw[place + len(noise) :], raw[:cut], raw + noise):
        try:
            expected = link_pb2.SendRequest.FromString(data)
        except DecodeError:
            with pytest.raises(DecodeError):
                read_item(data)
            continue
        item = read_item(data)
        assert item.kind == expected.WhichOneof("item")
        if item.kind == "batch":
            whole = link_pb2.PacketBatch()
            whole.CopyFrom(item.columns)
            whole.payload = bytes(item.payload)
            # As bytes: a power may be NaN.
            assert whole.SerializeToString(deterministic=True) == expected.batch.SerializeToString(deterministic=True)
        else:
            assert item.message == expected


@pytest.mark.parametrize(
    ("lengths", "longest", "same"), [((), 0, True), ((5,), 5, True), ((5, 5, 5), 5, True), ((0, 7, 3), 7, False)]
)
def test_where_payloads_lie(lengths: tuple[int, ...], longest: int, same: bool) -> None:
    layout = PayloadLayout.of(np.array(lengths, np.int64))
    assert layout.ends == tuple(accumulate(lengths)) and (layout.longest, layout.equal_lengths) == (longest, same)
    assert [end - begin for begin, end in zip(layout.starts.tolist(), layout.ends, strict=True)] == list(lengths)
    assert PayloadLayout.of(np.tile(np.array(lengths, np.int64), 1000)).ends[-1:] == (
        () if not lengths else (1000 * sum(lengths),)
    )


@pytest.mark.parametrize(
    ("sequence", "span"),
    [
        ((), SequenceRange(0, -1, True)),
        ((7,), SequenceRange(7, 7, True)),
        ((3, 4, 5), SequenceRange(3, 5, True)),
        ((3, 5, 4), SequenceRange(3, 5, False)),
        ((3, 3, 5), SequenceRange(3, 5, False)),
        ((5, 4, 3), SequenceRange(3, 5, False)),
    ],
)
def test_where_sequence_numbers_lie(sequence: tuple[int, ...], span: SequenceRange) -> None:
    assert SequenceRange.of(np.array(sequence, np.int64)) == span
