"""Packets: sizes, independence, interleaving, checksums, repair, masks, and the byte account."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gocom.common.byte_account import count_bytes, frame_items
from gocom.common.crc32c import checksums
from gocom.common.errors import TooLarge
from gocom.common.packet_batch import join_batches
from gocom.common.packetizer import depacketize, packetize
from gocom.common.systems.classical import ClassicalHeader
from gocom.common.types import ElementCoding, GoMessage, LinkSettings, Segment
from gocom.common.wire.frame_headers import header_from_proto, stream_position
from gocom.common.wire.packet_batches import batch_from_proto

RNG = np.random.default_rng(3)


def message(count=3000, overhead=0.0, frame_index=5):
    elements = RNG.integers(0, 256, count)
    segment = Segment(0, elements, np.ones(count, np.float32), ElementCoding.FIXED, overhead)
    return GoMessage("jpeg", ClassicalHeader(), 256, 256, (segment,), frame_index)


@given(
    count=st.integers(1, 4000),
    payload=st.integers(32, 1400),
    interleave=st.booleans(),
    overhead=st.sampled_from([0.0, 0.3, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_clean_round_trip_through_the_wire(count, payload, interleave, overhead):
    sent, link = message(count, overhead), LinkSettings(payload, interleave, 9, 16)
    header, batch = packetize(sent, link)
    assert int(batch.length.max()) <= payload
    items = frame_items(header, batch, link.batch_packets)
    back = join_batches([batch_from_proto(i.batch) for i in items[1:-1]])
    got = depacketize(header_from_proto(items[0].header, stream_position(header)), back, link)
    assert got.segments[0].received.all()
    assert (got.segments[0].elements == sent.segments[0].elements).all()
    assert got.packets_received == got.packets_sent == len(batch)


@given(seed=st.integers(0, 1000), rate=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_a_lost_packet_costs_its_own_elements_only(seed, rate):
    sent, link = message(), LinkSettings()
    header, batch = packetize(sent, link)
    kept = np.random.default_rng(seed).random(len(batch)) >= rate
    got = depacketize(header, batch.select(kept), link)
    assert int((~got.segments[0].received).sum()) == int(batch.element_count[~kept].sum())
    present = got.segments[0].received
    assert (got.segments[0].elements[present] == sent.segments[0].elements[present]).all()


def test_interleaver_scatters_a_burst_and_raster_order_does_not():
    sent = message(1050)
    for interleave, longest in ((True, 5), (False, 105)):
        link = LinkSettings(interleave=interleave)
        header, batch = packetize(sent, link)
        kept = np.ones(len(batch), bool)
        kept[4] = False
        lost = ~depacketize(header, batch.select(kept), link).segments[0].received
        runs = np.diff(np.flatnonzero(np.diff(np.concatenate(([0], lost, [0])))))[::2]
        assert lost.sum() == 105
        assert runs.max() <= longest
        assert interleave or runs.max() == 105


def test_damage_and_splicing_become_erasures():
    link = LinkSettings()
    header, batch = packetize(message(), link)
    payload = batch.payload.copy()
    payload[0] ^= 1
    batch.payload = payload
    batch.first_element[3], batch.first_element[4] = batch.first_element[4], batch.first_element[3]
    got = depacketize(header, batch, link)
    assert got.packets_received == len(batch) - 3
    assert int((~got.segments[0].received).sum()) == 3 * 105


def test_a_packet_of_another_frame_is_refused():
    link = LinkSettings()
    header, _ = packetize(message(frame_index=1), link)
    _, other = packetize(message(frame_index=2), link)
    assert not depacketize(header, other, link).segments[0].received.any()


@pytest.mark.parametrize("lost", [1, 5, 8])
def test_repair_brings_back_what_was_lost(lost):
    link, sent = LinkSettings(), message(3000, 0.3)
    header, batch = packetize(sent, link)
    repair = int((batch.element_count == 0).sum())
    assert repair == header.segments[0].repair_packets >= lost + 2
    kept = np.ones(len(batch), bool)
    kept[RNG.choice(header.segments[0].source_packets, lost, replace=False)] = False
    got = depacketize(header, batch.select(kept), link)
    assert got.segments[0].received.all()
    assert (got.segments[0].elements == sent.segments[0].elements).all()


def test_a_segment_of_one_packet_is_repeated():
    link, sent = LinkSettings(), message(20, 1.0)
    header, batch = packetize(sent, link)
    assert len(batch) == 2 and batch.payloads()[0] == batch.payloads()[1]
    assert not batch.first_element.any() and not batch.element_count.any()
    got = depacketize(header, batch.select(np.array([False, True])), link)
    assert (got.segments[0].elements == sent.segments[0].elements).all() and got.segments[0].received.all()


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_any_packets_give_a_mask(data):
    """Packets with random fields and valid checksums: never an exception, never an element out of range."""
    link = LinkSettings()
    header, batch = packetize(message(500, data.draw(st.sampled_from([0.0, 0.5]))), link)
    for name in ("sequence", "first_element", "element_count"):
        column = getattr(batch, name).copy()
        at = data.draw(st.integers(0, len(batch) - 1))
        column[at] = data.draw(st.integers(0, 2**32 - 1))
        setattr(batch, name, column)
    payload = batch.payload.copy()
    payload[data.draw(st.integers(0, len(payload) - 1))] ^= data.draw(st.integers(0, 255))
    batch.payload = payload
    batch.checksum = checksums(batch, header.frame_index, header.round)
    got = depacketize(header, batch, link)
    assert len(got.segments[0].elements) == 500
    assert got.segments[0].elements.min() >= 0 and got.segments[0].elements.max() < 256


def test_the_account_is_the_sum_of_serialized_sizes():
    link = LinkSettings(batch_packets=7)
    header, batch = packetize(message(3000, 0.2), link)
    items = frame_items(header, batch, link.batch_packets)
    counted = count_bytes(header, batch, items)
    assert counted.total_bytes == sum(len(i.SerializeToString()) for i in items)
    assert 0 < counted.repair_by_segment["file"] < counted.by_segment["file"]
    assert (counted + counted).total_bytes == 2 * counted.total_bytes


def test_overlapping_runs_cost_nothing_and_change_nothing():
    """A peer that claims the same elements in every packet has one of them decoded."""
    link, sent = LinkSettings(), message(2000)
    header, batch = packetize(sent, link)
    batch.first_element[1:] = 0
    batch.element_count[1:] = 2000
    batch.checksum = checksums(batch, header.frame_index, header.round)
    got = depacketize(header, batch, link).segments[0]
    assert got.received.sum() == batch.element_count[0]
    assert (got.elements[got.received] == sent.segments[0].elements[got.received]).all()


def test_what_no_receiver_takes_is_not_sent():
    with pytest.raises(TooLarge, match="packets, more than 65536 a round"):
        packetize(message(33 * 65537), LinkSettings(32))
    with pytest.raises(TooLarge, match="repair_overhead: .* RaptorQ block"):
        packetize(message(17 * 8193, 0.05), LinkSettings(32))


@pytest.mark.parametrize("payload_bytes", [65000, 113, 121])
def test_repair_survives_an_opening_that_lies(payload_bytes):
    """The size of a repair symbol follows from the largest payload that the session's opening says."""
    header, batch = packetize(message(3000, 0.3), LinkSettings())
    kept = np.arange(len(batch)) != 2
    got = depacketize(header, batch.select(kept), LinkSettings(payload_bytes))
    assert int((~got.segments[0].received).sum()) == int(batch.element_count[2]) > 0


def test_repair_survives_a_header_that_lies():
    """Which packets are repair packets follows from the number of those that carry elements."""
    link = LinkSettings()
    header, batch = packetize(message(3000, 0.3), link)
    (segment,) = header.segments
    for more in (-9, -1, 1, 9):
        lying = replace(
            segment, source_packets=segment.source_packets + more, repair_packets=segment.repair_packets - more
        )
        got = depacketize(replace(header, segments=(lying,)), batch.select(np.arange(len(batch)) != 2), link)
        assert len(got.segments[0].elements) == 3000 and got.segments[0].elements.min() >= 0
        assert got.segments[0].elements.max() < 256
