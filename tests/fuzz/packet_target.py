"""What the fuzzer of packets.py drives, and the corpus replays: a session on the link, played to the parsers.

Whatever its items are, what comes out is a typed error, or elements in range and masks that fit.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import numpy as np
from google.protobuf import proto
from google.protobuf.message import DecodeError

from gocom.channel_emulator.chain import frame_info
from gocom.channel_emulator.proxy.header_reader import HeaderReader
from gocom.common.crc32c import checksums
from gocom.common.errors import GoComError
from gocom.common.packetizer import MAX_ELEMENTS, MAX_PACKETS, depacketize
from gocom.common.rounds import merge_rounds, spans_to_positions
from gocom.common.systems import SYSTEMS, spec_of
from gocom.common.systems.classical import ClassicalHeader
from gocom.common.types import FrameDefaults, FrameHeader, LinkSettings, ReceivedMessage, ReceivedSegment
from gocom.common.wire.feedback import wanted_from_proto
from gocom.common.wire.frame_headers import check_version, defaults_from_proto, defaults_to_proto
from gocom.common.wire.frame_messages import check_session_id, link_from_proto
from gocom.receiver.round_assembly import ArrivedRound, RoundAssembler
from gocom.v1 import feedback_pb2, link_pb2

SYSTEMS.load()  # codecs are imported when first asked for, which is too late to be instrumented

MAX_ROUND_BYTES, MAX_ROUND_PACKETS = 1 << 16, 1 << 10
"""What a receiver takes is more, and nothing but slower here."""
NOTHING = FrameDefaults("jpeg", ClassicalHeader(), 64, 64)
"""What headers go by before a session was opened."""
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
    assembler, reader = open_session(link_pb2.SessionOpen(wire_version=2, defaults=defaults_to_proto(NOTHING)))
    for item in items:
        try:
            match item.WhichOneof("item"):
                case "open":
                    check_session_id(item.open.session_id)
                    new_link = link_from_proto(item.open.link)
                    assembler, reader = open_session(item.open)
                    link = new_link
                case "header":
                    read = read_header(reader, item.header)
                    _, position = assembler.advance(item.header)
                    header = assembler.begin(item.header, position, ASKED if item.header.round else {})
                    assert header.packets > MAX_PACKETS if read is None else read == frame_info(header)
                    check_sets(item.header, header, link)
                case "batch":
                    assembler.add(item.batch)
                case "end":
                    rounds.append(receive_round(assembler.end(), link))
        except GoComError:
            continue
    # A receiver merges rounds of one frame, whose codec and size do not change.
    kinds = {(received.frame.codec, received.frame.width_px, received.frame.height_px) for received in rounds[:8]}
    for kind in kinds:
        check_merged([r for r in rounds[:8] if (r.frame.codec, r.frame.width_px, r.frame.height_px) == kind])
    return rounds


def check_merged(rounds: list[ReceivedMessage]) -> None:
    """Every element that arrived is there, and none of those that did not."""
    merged = merge_rounds(rounds)
    assert set(merged) == {s.kind for r in rounds for s in r.segments if s.located}
    for kind, segment in merged.items():
        header = rounds[0].frame
        assert segment.spans is None and segment.elements.shape == segment.received.shape == segment.erased.shape
        assert len(segment.elements) <= grid_limit(header, kind)
        assert not segment.elements[~segment.received].any()
        assert ((segment.elements >= 0) & (segment.elements < spec_of(header.codec, kind).alphabet_size)).all()
        arrived = max(int(s.received.sum()) for r in rounds for s in r.segments if s.kind == kind and s.located)
        assert arrived <= segment.received.sum()


def open_session(opening: link_pb2.SessionOpen) -> tuple[RoundAssembler, HeaderReader]:
    """What the receiver and the emulator go by, if both take the opening."""
    check_version(opening)
    defaults = defaults_from_proto(opening.defaults)
    assert defaults_from_proto(defaults_to_proto(defaults)) == defaults
    return RoundAssembler(defaults, MAX_ROUND_BYTES, MAX_ROUND_PACKETS), HeaderReader(opening)


def read_header(reader: HeaderReader, message: link_pb2.FrameHeader):
    """What the emulator makes of a header; None if it refuses it."""
    reader.codec(message)
    reader.max_rounds(message)
    try:
        return reader.read(message)
    except GoComError:
        return None


def receive_round(arrived: ArrivedRound, link: LinkSettings) -> ReceivedMessage:
    """Unpack a round whose checksums fit: whoever means harm makes them fit."""
    header, packets = arrived.header, arrived.packets
    packets.checksum = checksums(packets, header.frame_index, header.round)
    received = depacketize(header, packets, link)
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
                spans = wanted_from_proto(item, [header], link)
            except GoComError:
                continue
            positions = spans_to_positions(spans)
            assert (np.diff(positions) > 0).all()
            assert not len(positions) or 0 <= positions[0] <= positions[-1] < grid_limit(header, segment.kind)


def grid_limit(header: FrameHeader, kind: int) -> int:
    """One more than the last element that a segment can have."""
    spec = spec_of(header.codec, kind)
    return spec.count(header.width_px, header.height_px) if spec.count else spec.max_elements or MAX_ELEMENTS
