"""Between Python types and protobuf messages: the only file that knows both.

Codec headers and options are pydantic models whose field names are those of the protobuf message of the codec's
oneof case; a codec without a case of its own travels in the extension case. Enum values convert by name:
`range` <-> ELEMENT_CODING_RANGE.
"""

from __future__ import annotations

import re
import reprlib
from enum import Enum
from typing import Any

from google.protobuf import json_format, struct_pb2
from google.protobuf.message import Message
from pydantic import ValidationError

from gocom.common.entropy.element_positions import pack_spans, unpack_spans
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.packetizer import MAX_ELEMENTS, MAX_PACKETS, MAX_RUN
from gocom.common.systems import SYSTEMS
from gocom.common.types import (
    MAX_PAYLOAD_BYTES,
    MAX_SIDE_PX,
    MIN_SIDE_PX,
    ElementCoding,
    FeedbackPolicy,
    FrameHeader,
    LinkSettings,
    Parameters,
    RoundSettings,
    SegmentFrame,
)
from gocom.common.wire.enums import enum_choices, enum_from_name, enum_to_name
from gocom.v1 import codecs_pb2, link_pb2

EXTENSION = "extension"
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_QUOTED = 80
"""Characters of a name from the wire that an error repeats: a status has to fit into HTTP/2 headers."""
MAX_ROUNDS = 64
"""Rounds of a frame, feedback or not."""
MIN_UNCERTAIN_BYTES = 64
"""Of a further round for the least certain elements: below it hardly any would fit."""


def parameters_to_proto(values: Parameters, target: Message) -> None:
    """Copy the set fields of a pydantic model into a message with fields of the same names."""
    for name, value in values.model_dump(exclude_none=True).items():
        field = target.DESCRIPTOR.fields_by_name[name]
        if isinstance(value, Enum):
            value = value.value
        if field.enum_type is not None:
            value = enum_from_name(field.enum_type, str(value), name)
        setattr(target, name, value)


def parameters_from_proto(source: Message, model: type[Parameters]) -> Parameters:
    """The other way. Raises InvalidInput naming the field."""
    values: dict[str, Any] = {}
    for field, value in source.ListFields():
        if field.enum_type is not None:
            value = enum_to_name(field.enum_type, value, field.name)
        values[field.name] = value
    return make_parameters(model, values)


def make_parameters(model: type[Parameters], values: dict[str, Any]) -> Parameters:
    """Validate values for a header or options. Raises InvalidInput naming the field and what it allows."""
    unknown = sorted(set(values) - set(model.model_fields))
    if unknown:
        choices = ", ".join(sorted(model.model_fields)) or "none"
        raise InvalidInput(f"{unknown[0][:_QUOTED]}: no such option; there are {choices}")
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or model.__name__
        raise InvalidInput(f"{name}: {first['msg']}, got {reprlib.repr(first['input'])}") from None


def codec_to_proto(codec: str, values: Parameters, target: Message) -> None:
    """Set the codec oneof of a FrameHeader or TransmitRequest."""
    if codec != EXTENSION and codec in {f.name for f in target.DESCRIPTOR.oneofs_by_name["codec"].fields}:
        case = getattr(target, codec)
        case.SetInParent()
        parameters_to_proto(values, case)
        return
    extension = getattr(target, EXTENSION)
    extension.codec = codec
    extension.fields.update(values.model_dump(exclude_none=True, mode="json"))


def codec_from_proto(source: Message, *, options: bool) -> tuple[str, Parameters]:
    """Read the codec oneof: (codec name, its header or options). Raises UnknownName and InvalidInput."""
    case = source.WhichOneof("codec")
    if case is None:
        raise UnknownName("codec", "(none)", SYSTEMS)
    inner = getattr(source, case)
    if case != EXTENSION:
        system = SYSTEMS.get(case)
        return case, parameters_from_proto(inner, system.options if options else system.header)
    if inner.codec not in SYSTEMS:
        raise UnknownName("codec", inner.codec[:_QUOTED], SYSTEMS)
    system = SYSTEMS.get(inner.codec)
    try:
        values = json_format.MessageToDict(inner.fields) if isinstance(inner.fields, struct_pb2.Struct) else {}
    except ValueError as error:  # of numbers that JSON has not: NaN and infinity
        raise InvalidInput(f"extension.fields: {error}") from None
    return system.name, make_parameters(system.options if options else system.header, values)


def link_to_proto(link: LinkSettings) -> link_pb2.LinkSettings:
    """LinkSettings -> message."""
    return link_pb2.LinkSettings(
        max_payload_bytes=link.max_payload_bytes,
        interleave=link.interleave,
        interleave_seed=link.interleave_seed,
        batch_packets=link.batch_packets,
    )


def link_from_proto(message: link_pb2.LinkSettings) -> LinkSettings:
    """Message -> LinkSettings. Raises InvalidInput."""
    return LinkSettings(message.max_payload_bytes, message.interleave, message.interleave_seed, message.batch_packets)


_CODING = codecs_pb2.ElementCoding.DESCRIPTOR


def header_to_proto(header: FrameHeader) -> link_pb2.FrameHeader:
    """FrameHeader -> message."""
    message = link_pb2.FrameHeader(
        frame_index=header.frame_index,
        round=header.round,
        width_px=header.width_px,
        height_px=header.height_px,
    )
    if header.rounds.max_rounds > 1:
        set_rounds(message, header.rounds)
    for segment in header.segments:
        item = message.segments.add(
            kind=segment.kind,
            element_count=segment.element_count,
            coding=enum_from_name(_CODING, segment.coding.value, "coding"),
            source_packets=segment.source_packets,
            repair_packets=segment.repair_packets,
            symbol_bytes=segment.symbol_bytes,
            damage_tolerant=segment.damage_tolerant,
        )
        item.as_requested, item.withheld_count = segment.as_requested, segment.withheld_count
        if segment.spans is not None and not segment.as_requested:
            item.resent = pack_spans(segment.spans)
    codec_to_proto(header.codec, header.header, message)
    return message


def header_from_proto(message: link_pb2.FrameHeader) -> FrameHeader:
    """Message -> FrameHeader, everything bounded. Raises InvalidInput and UnknownName."""
    codec, parameters = codec_from_proto(message, options=False)
    for name in ("width_px", "height_px"):
        check_side(getattr(message, name), name)
    rounds = get_rounds(message)
    if message.round >= rounds.max_rounds:
        raise InvalidInput(f"header.round: {message.round} is not below max_rounds ({rounds.max_rounds})")
    known = len(SYSTEMS.get(codec).segments)
    if len(message.segments) > known:
        raise InvalidInput(f"segments: {len(message.segments)}, {codec} has {known}")
    kinds = [s.kind for s in message.segments]
    if len(set(kinds)) != len(kinds) or any(k >= known for k in kinds):
        raise InvalidInput(f"segments.kind: {kinds} repeats, or is more than {codec} has")
    segments = tuple(_segment_from_proto(s) for s in message.segments)
    return FrameHeader(
        codec, parameters, message.width_px, message.height_px, segments,
        message.frame_index, message.round, rounds,
    )  # fmt: skip


_POLICY = link_pb2.FeedbackPolicy.DESCRIPTOR


def set_rounds(message: Any, rounds: RoundSettings) -> None:
    """Fill the fields of a FrameHeader or TransmitRequest that say how further rounds come about."""
    message.max_rounds, message.round_budget_bytes = rounds.max_rounds, rounds.round_budget_bytes
    if rounds.feedback_policy is not FeedbackPolicy.ERASED:
        message.feedback_policy = enum_from_name(_POLICY, rounds.feedback_policy.value, "feedback_policy")
    message.quality_target_permille = round(rounds.quality_target * 1000)


def get_rounds(message: Any) -> RoundSettings:
    """Read them. Raises InvalidInput."""
    if message.max_rounds > MAX_ROUNDS:
        raise InvalidInput(f"max_rounds: {message.max_rounds} is more than {MAX_ROUNDS}")
    policy = FeedbackPolicy(enum_to_name(_POLICY, message.feedback_policy, "feedback_policy") or FeedbackPolicy.ERASED)
    if message.quality_target_permille > 1000:
        raise InvalidInput(f"quality_target_permille: {message.quality_target_permille} is more than 1000")
    target = message.quality_target_permille / 1000
    return check_rounds(RoundSettings(max(1, message.max_rounds), message.round_budget_bytes, policy, target))


def check_rounds(rounds: RoundSettings) -> RoundSettings:
    """The same. Raises InvalidInput for settings that would do nothing, or ask for everything."""
    if rounds != RoundSettings() and rounds.max_rounds < 2:
        raise InvalidInput("max_rounds: 1; round_budget_bytes, feedback_policy and quality_target need 2 or more")
    if rounds.feedback_policy is FeedbackPolicy.UNCERTAIN and rounds.round_budget_bytes < MIN_UNCERTAIN_BYTES:
        given = rounds.round_budget_bytes or "not set"
        raise InvalidInput(f"round_budget_bytes: {given}; policy uncertain needs {MIN_UNCERTAIN_BYTES} or more")
    return rounds


def check_session_id(session_id: str) -> None:
    """Raises InvalidInput unless it is 1 to 64 characters of [A-Za-z0-9_-]."""
    if not _SESSION_ID.fullmatch(session_id):
        raise InvalidInput(f"session_id: {session_id[:80]!r} is not 1 to 64 characters of A-Z, a-z, 0-9, _ and -")


def check_side(value: int, field: str) -> None:
    """Raises InvalidInput for an image side outside 64 to 1024."""
    if not MIN_SIDE_PX <= value <= MAX_SIDE_PX:
        raise InvalidInput(f"{field}: {value} is not in {MIN_SIDE_PX} to {MAX_SIDE_PX}")


def _segment_from_proto(message: link_pb2.SegmentHeader) -> SegmentFrame:
    limits = {
        "element_count": min(MAX_ELEMENTS, message.source_packets * MAX_RUN),
        "source_packets": min(MAX_ELEMENTS, message.element_count),
        "repair_packets": MAX_PACKETS,
        "symbol_bytes": MAX_PAYLOAD_BYTES,
    }
    for name, limit in limits.items():
        if getattr(message, name) > limit:
            raise InvalidInput(f"segments.{name}: {getattr(message, name)} is more than {limit}")
    coding = enum_to_name(_CODING, message.coding, "segments.coding")
    if coding is None:
        raise InvalidInput(f"segments.coding: not set; choose {', '.join(enum_choices(_CODING))}")
    spans = unpack_spans(message.resent, MAX_ELEMENTS) if message.resent else None
    if spans is not None and (message.as_requested or int(spans[:, 1].sum()) != message.element_count):
        raise InvalidInput("segments.resent: does not hold element_count elements, or as_requested is set too")
    if message.withheld_count and message.withheld_count >= message.element_count:
        raise InvalidInput(f"segments.withheld_count: {message.withheld_count} of {message.element_count} elements")
    return SegmentFrame(
        message.kind, message.element_count, ElementCoding(coding), message.source_packets, message.repair_packets,
        message.symbol_bytes, message.damage_tolerant, spans, message.as_requested, message.withheld_count,
    )  # fmt: skip
