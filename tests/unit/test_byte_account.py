"""The account of a round: every byte once, packets with the columns that they really take, repair beside payload."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gocom.common.byte_account import ByteAccount, count_bytes, frame_items, handshake_bytes, varint_bytes
from gocom.common.packetizer import packetize
from gocom.common.systems.lami_go import CAPTION, TOKENS, LamiGoHeader
from gocom.common.types import ElementCoding, GoMessage, LinkSettings, Segment
from gocom.v1 import link_pb2

NAMES = ("caption", "tokens")


def packed(caption, tokens, repair=(0, 0), payload_bytes=64, batch_packets=7, power=None):
    """A round of so many letters and tokens; header, batch, items."""
    rng = np.random.default_rng(1)
    segments = tuple(
        Segment(
            kind, rng.integers(0, size, count), np.ones(count, np.float32), ElementCoding.FIXED, repair_packets=more
        )
        for kind, size, count, more in ((CAPTION, 256, caption, repair[0]), (TOKENS, 1024, tokens, repair[1]))
        if count
    )
    message = GoMessage("lami_go", LamiGoHeader(), 128, 128, segments, power=power)
    header, batch = packetize(message, LinkSettings(payload_bytes, batch_packets=batch_packets))
    return header, batch, frame_items(header, batch, batch_packets)


def varint(value):
    return max(1, -(-int(value).bit_length() // 7))


def packet_bytes(batch, batch_packets):
    """What each packet takes, from what the message of its batch would lose without its entries."""
    found = []
    for part in batch.slices(batch_packets):
        columns = [column for column in (part.first_element, part.element_count) if column.any()]
        for i in range(len(part)):
            size = int(part.length[i]) + varint(part.sequence[i]) + 4
            size += sum(varint(column[i]) for column in columns)
            found.append(size + (varint(part.length[i]) if i < len(part) - 1 else 0))
    return np.array(found)


@given(
    st.integers(0, 300), st.sampled_from([0, 256]), st.integers(0, 40), st.integers(0, 40), st.integers(32, 900),
    st.integers(1, 60), st.booleans(),
)  # fmt: skip
@settings(max_examples=80, deadline=None)
def test_every_byte_is_counted_once(caption, tokens, first, second, payload_bytes, batch_packets, powered):
    power = (lambda worth: np.full_like(worth, 2)) if powered else None
    header, batch, items = packed(caption, tokens, (first, second), payload_bytes, batch_packets, power)
    account = count_bytes(header, batch, items)
    sizes = [len(item.SerializeToString()) for item in items]
    assert account.total_bytes == sum(sizes) and account.header_bytes == sizes[0] + sizes[-1]
    assert sizes[-1] == 2, "the end mark has nothing to say"
    assert account.payload_bytes == len(batch.payload) == sum(len(item.batch.payload) for item in items)
    assert account.overhead_bytes == account.total_bytes - account.payload_bytes > 0
    cost, at, rest = packet_bytes(batch, batch_packets), 0, 0
    for segment in header.segments:
        name = NAMES[segment.kind]
        mine = cost[at : at + segment.packets]
        rest += account.by_segment[name] - int(mine.sum())
        assert account.by_segment[name] >= mine.sum()
        assert account.repair_by_segment[name] == mine[segment.source_packets :].sum()
        at += segment.packets
    # Tags and lengths of fields, and the powers, are those of the largest segment.
    fields = sum(item.ByteSize() for item in items[1:-1]) - int(cost.sum())
    assert rest == fields and fields <= 26 * len(items) + 4 * len(batch) * powered


@pytest.mark.parametrize("repair", [1, 40, 300])
def test_copies_of_one_packet_cost_less_than_all_of_them(repair):
    """Their batches say nothing of elements; columns that nobody sent were charged to them."""
    header, batch, items = packed(3, 0, (repair, 0))
    account = count_bytes(header, batch, items)
    one = account.by_segment["caption"] - account.repair_by_segment["caption"]
    assert 0 < account.repair_by_segment["caption"] < account.by_segment["caption"]
    assert one >= 3 + 1 + 4 and account.payload_bytes == 3 * (1 + repair)
    assert account.repair_by_segment["caption"] >= repair * (3 + 1 + 4)


def test_accounts_add_up():
    one, other = (count_bytes(*packed(*counts)) for counts in ((20, 256, (1, 2)), (0, 256)))
    both = one + other
    assert both.total_bytes == one.total_bytes + other.total_bytes
    assert both.payload_bytes == one.payload_bytes + other.payload_bytes
    assert both.overhead_bytes == one.overhead_bytes + other.overhead_bytes
    assert both.by_segment == {
        "caption": one.by_segment["caption"], "tokens": one.by_segment["tokens"] + other.by_segment["tokens"],
    }  # fmt: skip
    assert both.repair_by_segment == one.repair_by_segment, "the other has none"
    nothing = ByteAccount(0, {}, {}, 0)
    assert (nothing + one) == one and nothing.total_bytes == nothing.overhead_bytes == 0
    fed_back = one + ByteAccount(0, {}, {}, 0, feedback_bytes=9)
    assert fed_back.total_bytes == one.total_bytes + 9 and fed_back.overhead_bytes == one.overhead_bytes


def test_a_round_of_nothing():
    header, batch, items = packed(0, 0)
    account = count_bytes(header, batch, items)
    assert account.total_bytes == account.header_bytes == account.overhead_bytes > 0
    assert account.by_segment == account.repair_by_segment == {} and account.payload_bytes == 0


def test_the_handshake_is_beside_the_account():
    opening = link_pb2.SessionOpen(session_id="s" * 10, wire_version=2)
    accepted = link_pb2.SessionAccepted(feedback_timeout_seconds=2.5)
    assert handshake_bytes(opening, accepted) == 2 + 12 + 2 + 2 + 9


def test_bytes_of_numbers():
    values = [0, 1, 127, 128, 16383, 16384, 2**21 - 1, 2**21, 2**28, 2**32 - 1]
    sizes = [len(link_pb2.PacketBatch(sequence=[value]).SerializeToString()) - 2 for value in values]
    assert varint_bytes(np.array(values)).tolist() == sizes == [varint(value) for value in values]
