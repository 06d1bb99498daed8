"""What the fuzzer of packets.py drives, and the corpus replays: a session on the link, played to the parsers.

Whatever its items are, what comes out is a typed error, or elements in range and masks that fit.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import numpy as np
from google.protobuf import proto
from google.protobuf.message import DecodeError

from gocom.common.crc32c import checksums
from gocom.common.errors import GoComError
from gocom.common.packetizer import depacketize
from gocom.common.rounds import merge_rounds, spans_to_positions
from gocom.common.systems import SYSTEMS, spec_of
from gocom.common.types import FrameHeader, LinkSettings, ReceivedMessage, ReceivedSegment
from gocom.common.wire.feedback import wanted_from_proto
from gocom.common.wire.frame_messages import check_session_id, link_from_proto
from gocom.receiver.round_assembly import ArrivedRound, RoundAssembler
from gocom.v1 import feedback_pb2, link_pb2

SYSTEMS.load()  # codecs are imported when first asked for, which is too late to be instrumented

MAX_BYTES, MAX_PACKETS = 1 << 16, 1 << 10
"""Of a round. What a receiver takes is more, and nothing but slower here."""
ASKED = {kind: np.array([[1, 2], [5, 9]]) for kind in (0, 1)}
"""What the feedback asked for that further rounds answer; the recordings go by it."""


def pack_items(items: list[link_pb2.SendRequest]) -> bytes:
    """A session as one input."""
    out = io.BytesIO()
    for item in items:
        proto.serialize_length_prefixed(item, out)
    return out.getvalue()


def unpack_items(data: bytes) -> Iterator[link_pb2.SendRequest]:
    """Items up to the first that is none."""
    stream = io.BytesIO(data)
    while True:
        try:
            item = proto.parse_length_prefixed(link_pb2.SendRequest, stream)
        except (DecodeError, ValueError, OverflowError):  # the last one for a length beyond any
            return
        if item is None:
            return
        yield item


def one_input(data: bytes) -> None:
    """Play an input to the parsers; raises AssertionError, and what they should not raise."""
    play(unpack_items(data))


def play(items: Iterable[link_pb2.SendRequest]) -> list[ReceivedMessage]:
    """Play a session to the parsers, whatever the order of its items; returns the rounds that got through."""
    link, rounds = LinkSettings(), []
    assembler = RoundAssembler(MAX_BYTES, MAX_PACKETS)
    for item in items:
        try:
            match item.WhichOneof("item"):
                case "open":
                    check_session_id(item.open.session_id)
                    link = link_from_proto(item.open.link)
                case "header":
                    header = assembler.begin(item.header, ASKED if item.header.round else {})
                    check_sets(item.header, header, link)
                case "batch":
                    assembler.add(item.batch)
                case "end":
                    rounds.append(receive_round(assembler.end(item.end), link))
        except GoComError:
            continue
    for segment in merge_rounds(rounds[:8]).values():
        assert segment.spans is None and len(segment.elements) == len(segment.received)
    return rounds


def receive_round(arrived: ArrivedRound, link: LinkSettings) -> ReceivedMessage:
    """Unpack a round whose checksums fit: whoever means harm makes them fit."""
    header, packets = arrived.header, arrived.packets
    packets.checksum = checksums(packets, header.frame_index, header.round)
    received = depacketize(header, packets, arrived.packets_sent, link)
    assert len(received.segments) == len(header.segments)
    assert 0 <= received.packets_received <= received.packets_sent
    for segment in received.segments:
        check_segment(header, segment)
    return received


def check_segment(header: FrameHeader, segment: ReceivedSegment) -> None:
    """Elements in range, masks that fit them."""
    announced = next(s for s in header.segments if s.kind == segment.kind)
    size = spec_of(header.codec, segment.kind).alphabet_size
    assert segment.elements.shape == segment.received.shape == (announced.element_count,)
    assert ((segment.elements >= 0) & (segment.elements < size)).all()
    assert not segment.elements[~segment.received].any()
    assert segment.withheld is None or not (segment.received & segment.withheld).any()


def check_sets(message: link_pb2.FrameHeader, header: FrameHeader, link: LinkSettings) -> None:
    """Element sets of a header, read as feedback for its frame too."""
    for segment in message.segments:
        for in_order in (False, True):
            item = feedback_pb2.ElementSet(kind=segment.kind, elements=segment.resent, in_packet_order=in_order)
            try:
                spans = wanted_from_proto(item, header, link)
            except GoComError:
                continue
            positions = spans_to_positions(spans)
            assert (np.diff(positions) > 0).all()
            assert not len(positions) or 0 <= positions[0] <= positions[-1] < segment.element_count
