"""Conversion of frame headers and of what a session's opening says about them.

A header holds only what differs from the defaults of its session:

    SessionOpen.defaults -> FrameDefaults --+
                                            +-- header_from_proto --> FrameHeader
    link_pb2.FrameHeader -------------------+

The frame index of a first round is left out if it is one more than that of the frame before it on the stream.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from gocom.common.entropy.element_set_code import pack_spans, unpack_spans
from gocom.common.errors import InvalidInput, Mismatch
from gocom.common.number_checks import UINT32_MAX
from gocom.common.packetizer import MAX_ELEMENTS, MAX_PACKET_ELEMENTS, MAX_PACKETS
from gocom.common.systems import SYSTEMS, spec_of
from gocom.common.types import (
    ElementCoding,
    FrameDefaults,
    FrameHeader,
    FrameView,
    Ints,
    SegmentForm,
    SegmentHeader,
    StreamPosition,
)
from gocom.common.wire.enums import enum_from_name, enum_to_name
from gocom.common.wire.frame_messages import (
    check_side,
    codec_from_proto,
    codec_to_proto,
    rounds_from_proto,
    rounds_to_proto,
)
from gocom.v1 import codecs_pb2, link_pb2

WIRE_VERSION = 2
"""Version of the protocol, SessionOpen.wire_version."""
_CODING = codecs_pb2.ElementCoding.DESCRIPTOR


def check_version(opening: link_pb2.SessionOpen) -> None:
    """Raise Mismatch unless the session's opening is of this version of the protocol."""
    if opening.wire_version != WIRE_VERSION:
        raise Mismatch(
            f"wire_version: the transmitter speaks 0.{opening.wire_version or 1}, this end 0.{WIRE_VERSION}; "
            "run the same version of gocom at all places"
        )


def stream_position(frame: FrameView) -> StreamPosition:
    """Return what the header of a round can rely on.

    A frame without a position opens a session of its own. Then the defaults are those of the frame, except that the
    codec's header has all of its fields at their defaults, and the frame's index follows by itself.
    """
    if frame.position is not None:
        return frame.position
    header = SYSTEMS.get(frame.codec).header()
    forms = tuple(segment.form for segment in frame.segments)
    defaults = FrameDefaults(frame.codec, header, frame.width_px, frame.height_px, forms, frame.rounds)
    return StreamPosition(defaults, frame.frame_index - 1)


def defaults_to_proto(defaults: FrameDefaults) -> link_pb2.FrameDefaults:
    """Return the defaults of a session as a message."""
    message = link_pb2.FrameDefaults(width_px=defaults.width_px, height_px=defaults.height_px)
    codec_to_proto(defaults.codec, defaults.header, message.codec)
    rounds = rounds_to_proto(defaults.rounds)
    if rounds.ByteSize():
        message.rounds.CopyFrom(rounds)
    for form in defaults.segments:
        _form_to_proto(form, message.segments.add())
    return message


def defaults_from_proto(message: link_pb2.FrameDefaults) -> FrameDefaults:
    """Return the defaults of a session, with every value checked against its limits.

    Raises:
        InvalidInput: a value is out of range; the message names the field.
        UnknownName: the codec is not registered.
    """
    codec, parameters = codec_from_proto(message.codec)
    for name in ("width_px", "height_px"):
        check_side(getattr(message, name), name)
    forms = _forms(codec, message.segments)
    if any(s.resent or s.as_requested or s.withheld_count for s in message.segments):
        raise InvalidInput("defaults.segments: hold kind, coding and damage_tolerant only")
    rounds = rounds_from_proto(message.rounds)
    return FrameDefaults(codec, parameters, message.width_px, message.height_px, forms, rounds)


def header_to_proto(header: FrameHeader) -> link_pb2.FrameHeader:
    """Return a frame header as a message, without what the defaults of its session say (see `stream_position`).

    Raises:
        InvalidInput: the header has no segments, but the session's frames have.
    """
    position = stream_position(header)
    defaults = position.defaults
    message = link_pb2.FrameHeader(round=header.round)
    if header.round or header.frame_index != position.last_frame + 1:
        message.frame_index = header.frame_index
    if header.width_px != defaults.width_px:
        message.width_px = header.width_px
    if header.height_px != defaults.height_px:
        message.height_px = header.height_px
    if (header.codec, header.header) != (defaults.codec, defaults.header):  # codecs may share a type of header
        codec_to_proto(header.codec, header.header, message.codec)
    if header.rounds != defaults.rounds:
        message.rounds.CopyFrom(rounds_to_proto(header.rounds))
        message.rounds.SetInParent()
    segments = header.segments
    other_codec = header.codec != defaults.codec
    if not segments and (defaults.segments or other_codec):
        raise InvalidInput("segments: none, which a header cannot say in a session whose frames have some")
    special = any(s.spans is not None or s.as_requested or s.withheld_count for s in segments)
    if special or other_codec or tuple(s.form for s in segments) != defaults.segments:
        for segment in segments:
            item = message.segments.add(as_requested=segment.as_requested, withheld_count=segment.withheld_count)
            _form_to_proto(segment.form, item)
            if segment.spans is not None and not segment.as_requested:
                item.resent = pack_spans(segment.spans)
    for segment in segments:
        if _count_is_sent(header.codec, segment.kind, segment.as_requested, segment.spans is not None):
            message.element_count.append(segment.element_count)
    if any(segment.source_packets != 1 for segment in segments):
        message.source_packets.extend(segment.source_packets for segment in segments)
    if any(segment.repair_packets for segment in segments):
        message.repair_packets.extend(segment.repair_packets for segment in segments)
    return message


def frame_index_of(message: link_pb2.FrameHeader, last_frame: int) -> int:
    """Return the frame index of a header.

    Args:
        message: the header.
        last_frame: index of the frame of the last first round on the stream; -1 if there is none.

    Raises:
        InvalidInput: the header of a further round has no frame index, or the last frame had the largest index.
    """
    if message.HasField("frame_index"):
        return message.frame_index
    if message.round:
        raise InvalidInput(f"header.frame_index: missing in round {message.round}; only a first round may leave it out")
    if last_frame >= UINT32_MAX:
        raise InvalidInput(f"header.frame_index: missing after frame {last_frame}, the last that there can be")
    return last_frame + 1


def header_from_proto(message: link_pb2.FrameHeader, position: StreamPosition) -> FrameHeader:
    """Return the frame header of a message, with every value checked against its limits.

    Args:
        message: the header.
        position: defaults of the session, and the last frame before this one on the stream.

    Raises:
        InvalidInput: a value is out of range, segments repeat, or a column has a wrong number of entries.
        UnknownName: the codec is not registered.
    """
    defaults = position.defaults
    index = frame_index_of(message, position.last_frame)
    codec, parameters = defaults.codec, defaults.header
    if message.HasField("codec"):
        codec, parameters = codec_from_proto(message.codec)
    width_px, height_px = message.width_px or defaults.width_px, message.height_px or defaults.height_px
    check_side(width_px, "width_px")
    check_side(height_px, "height_px")
    rounds = rounds_from_proto(message.rounds) if message.HasField("rounds") else defaults.rounds
    if message.round >= rounds.max_rounds:
        raise InvalidInput(f"header.round: {message.round} is not below max_rounds ({rounds.max_rounds})")
    forms = _forms(codec, message.segments) if message.segments else defaults.segments
    if codec != defaults.codec and not message.segments:
        raise InvalidInput(f"header.segments: missing, and the session's are those of {defaults.codec}, not of {codec}")
    items = list(message.segments) or [link_pb2.SegmentHeader()] * len(forms)
    source = _column(message, "source_packets", len(forms), 1, MAX_ELEMENTS)
    repair = _column(message, "repair_packets", len(forms), 0, MAX_PACKETS)
    counts = iter(message.element_count)
    segments = tuple(
        _segment_from_proto(codec, form, item, counts, (width_px, height_px), packets)
        for form, item, *packets in zip(forms, items, source, repair, strict=True)
    )
    if next(counts, None) is not None:
        raise InvalidInput("header.element_count: more entries than segments that need one")
    return FrameHeader(codec, parameters, width_px, height_px, segments, index, message.round, rounds, position)


def _count_is_sent(codec: str, kind: int, as_requested: bool, named: bool) -> bool:
    """Return whether the number of elements of a segment is in the header.

    Args:
        codec: name of the codec.
        kind: the segment.
        as_requested: the round brings some of the requested elements.
        named: the header names the elements.
    """
    return as_requested or (not named and spec_of(codec, kind).count is None)


def _form_to_proto(form: SegmentForm, message: link_pb2.SegmentHeader) -> None:
    message.kind, message.damage_tolerant = form.kind, form.damage_tolerant
    if form.coding is not ElementCoding.FIXED:
        message.coding = codecs_pb2.ElementCoding.ValueType(enum_from_name(_CODING, form.coding.value, "coding"))


def _forms(codec: str, messages: Sequence[link_pb2.SegmentHeader]) -> tuple[SegmentForm, ...]:
    """Return the forms of segments. Raises InvalidInput if kinds repeat, or if the codec does not have them."""
    known = len(SYSTEMS.get(codec).segments)
    if len(messages) > known:
        raise InvalidInput(f"segments: {len(messages)}, {codec} has {known}")
    kinds = [message.kind for message in messages]
    if len(set(kinds)) != len(kinds) or any(kind >= known for kind in kinds):
        raise InvalidInput(f"segments.kind: {kinds} repeats, or is more than {codec} has")
    forms = []
    for message in messages:
        coding = ElementCoding(enum_to_name(_CODING, message.coding, "segments.coding") or ElementCoding.FIXED)
        spec = spec_of(codec, message.kind)
        if coding not in spec.codings:
            raise InvalidInput(f"segments.coding: segment {spec.name!r} has no {coding.value!r}")
        forms.append(SegmentForm(message.kind, coding, message.damage_tolerant))
    return tuple(forms)


def _column(message: link_pb2.FrameHeader, name: str, count: int, absent: int, limit: int) -> list[int]:
    """Return a column of the header with one entry for each segment; an empty one stands for `absent` everywhere."""
    column = getattr(message, name)
    if column and len(column) != count:
        raise InvalidInput(f"header.{name}: {len(column)} entries for {count} segments")
    values = list(column) or [absent] * count
    if max(values, default=0) > limit:
        raise InvalidInput(f"header.{name}: {max(values)} is more than {limit}")
    return values


def _segment_from_proto(
    codec: str, form: SegmentForm, message: link_pb2.SegmentHeader, counts: Iterator[int], size_px: tuple[int, int],
    packets: Sequence[int],
) -> SegmentHeader:  # fmt: skip
    spec = spec_of(codec, form.kind)
    whole = spec.count(*size_px) if spec.count else spec.max_elements or MAX_ELEMENTS
    spans: Ints | None = unpack_spans(message.resent, whole) if message.resent else None
    if spans is not None and message.as_requested:
        raise InvalidInput("segments.resent: set, and as_requested too")
    source, repair = packets
    # A few bytes must not announce more elements than the packets can bring. A number that follows from the size of the
    # image may: of a segment that is withheld as a whole no packet is sent.
    limit = min(whole, source * MAX_PACKET_ELEMENTS)
    if _count_is_sent(codec, form.kind, message.as_requested, spans is not None):
        count = next(counts, -1)
        if count < 0:
            raise InvalidInput(f"header.element_count: too few entries, none for {spec.name!r}")
    elif spans is not None:
        count = int(spans[:, 1].sum())
    else:
        count = limit = whole
    for name, value, most in (("element_count", count, limit), ("source_packets", source, count)):
        if value > most:
            raise InvalidInput(f"header.{name}: {value} of {spec.name!r} is more than {most}")
    if message.withheld_count and message.withheld_count >= count:
        raise InvalidInput(f"segments.withheld_count: {message.withheld_count} of {count} elements")
    return SegmentHeader(
        form.kind, count, form.coding, source, repair, form.damage_tolerant, spans, message.as_requested,
        message.withheld_count,
    )  # fmt: skip
