"""The receiver: a packet counts once, however often it comes, and the order of packets is no matter."""

from dataclasses import replace

import numpy as np
import pytest

from gocom.channel_emulator.chain import Chain
from gocom.common.channel_spec import parse_spec
from gocom.common.crc32c import checksums
from gocom.common.packet_batch import gather
from gocom.common.packetizer import depacketize, packetize
from gocom.common.pipeline import transmit
from gocom.common.systems.classical import ClassicalHeader
from gocom.common.types import ElementCoding, GoMessage, LinkSettings, Segment, StreamPosition
from gocom.common.wire.frame_headers import header_to_proto, stream_position
from gocom.common.wire.packet_batches import batch_to_proto
from gocom.receiver.round_assembly import RoundAssembler

LINK = LinkSettings(max_payload_bytes=64, batch_packets=16)


def message(overhead=0.0, count=3000):
    elements = np.random.default_rng(1).integers(0, 256, count)
    segment = Segment(0, elements, np.ones(count, np.float32), ElementCoding.FIXED, overhead)
    return GoMessage("jpeg", ClassicalHeader(), 256, 256, (segment,), 4)


def shuffled(batch, seed, copies=1):
    """The packets in another order, each so often."""
    rows = np.repeat(np.arange(len(batch)), copies)
    return gather([(batch, np.random.default_rng(seed).permutation(rows))])


def same(one, other):
    assert (one.packets_sent, one.packets_received) == (other.packets_sent, other.packets_received)
    for a, b in zip(one.segments, other.segments, strict=True):
        assert np.array_equal(a.elements, b.elements) and np.array_equal(a.received, b.received)


@pytest.mark.parametrize("overhead", [0.0, 0.4])
@pytest.mark.parametrize("copies", [1, 4])
def test_order_and_copies_make_no_difference(overhead, copies):
    header, batch = packetize(message(overhead), LINK)
    kept = batch.select(np.random.default_rng(2).random(len(batch)) > 0.28)
    expected = depacketize(header, kept, LINK)
    assert expected.packets_received == len(kept) < len(batch)
    for seed in range(5):
        same(depacketize(header, shuffled(kept, seed, copies), LINK), expected)


def test_the_good_one_of_copies_counts_whichever_came_first():
    header, batch = packetize(message(), LINK)
    damaged = replace(batch, payload=batch.payload ^ 1)
    for order in ([damaged, batch], [batch, damaged]):
        got = depacketize(header, gather([(part, np.arange(len(batch))) for part in order]), LINK)
        assert got.segments[0].received.all() and got.packets_received == len(batch)


def assembled(header, batches, **limits):
    defaults = stream_position(header).defaults
    assembler = RoundAssembler(defaults, **{"max_bytes": 1 << 20, "max_packets": 1 << 10, **limits})
    wire = header_to_proto(replace(header, position=StreamPosition(defaults)))
    index, position = assembler.advance(wire)
    assert index == header.frame_index
    assembler.begin(wire, position, {})
    for batch in batches:
        assembler.add(batch_to_proto(batch))
    return assembler.end()


def test_copies_take_no_room_in_a_round():
    """Ninefold, of a round as large as the receiver takes."""
    header, batch = packetize(message(), LINK)
    limits = {"max_bytes": len(batch.payload), "max_packets": len(batch)}
    ninefold = shuffled(batch, 3, 9)
    arrived = assembled(header, [*ninefold.slices(100), *9 * [batch]], **limits)
    assert sorted(arrived.packets.sequence.tolist()) == list(range(len(batch)))
    got = depacketize(arrived.header, arrived.packets, LINK)
    same(got, depacketize(header, batch, LINK))


def test_packets_that_contradict_others_are_kept_for_their_checksums_to_decide():
    header, batch = packetize(message(), LINK)
    other = replace(batch, payload=batch.payload ^ 1, checksum=batch.checksum ^ 1)
    arrived = assembled(header, [other, batch, other, batch])
    assert len(arrived.packets) >= 2 * len(batch)
    assert depacketize(arrived.header, arrived.packets, LINK).segments[0].received.all()


def test_a_pipeline_meets_order_copies_and_a_queue_over_the_whole_round():
    def send(spec):
        channel = Chain.from_profile(parse_spec(spec, 3))
        return transmit(message(), channel, LINK)[0]

    same(send("reorder:rate=0.3,distance=40+duplicate:rate=0.5,copies=8+delay:delay_ms=9,jitter_ms=9"), send("clean"))
    lost = "packet_erasure:rate=0.3"
    same(send(f"{lost}+reorder:rate=1+duplicate:rate=1"), send(lost))
    # Of 3000 bytes in packets of 64 with 28 of overhead each 10 wait no longer than 66.24 ms at 100 kbit/s.
    assert send("rate_limit:rate_kbps=100,queue_ms=66.24").packets_received == 10


def test_checksums_of_gathered_packets_are_still_theirs():
    header, batch = packetize(message(), LINK)
    mixed = shuffled(batch, 1, 2)
    assert np.array_equal(checksums(mixed, header.frame_index, header.round), mixed.checksum)
