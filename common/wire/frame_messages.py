"""Conversion of frame headers, codec options and link settings between Python types and protobuf messages.

Codec headers and codec options are pydantic models whose fields have the same names as those of the protobuf message
in the codec's oneof case. A codec without a case of its own uses the extension case. Enum values convert by name:
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

from gocom.common.entropy.element_set_code import pack_spans, unpack_spans
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.packetizer import MAX_ELEMENTS, MAX_PACKET_ELEMENTS, MAX_PACKETS
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
    SegmentHeader,
)
from gocom.common.wire.enums import enum_choices, enum_from_name, enum_to_name
from gocom.v1 import codecs_pb2, link_pb2

EXTENSION = "extension"
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_QUOTED = 80
"""Limit on the characters of a name from the wire that an error message quotes: a status must fit in HTTP/2 headers."""
MAX_ROUNDS = 64
"""Limit on the rounds of a frame, the first one included."""
MIN_UNCERTAIN_BYTES = 64
"""Smallest budget in bytes of a later round under policy `uncertain`; hardly any element fits in less."""


def parameters_to_proto(values: Parameters, target: Message) -> None:
    """Copy the fields of a pydantic model that are not None to the fields of the same names in a message."""
    for name, value in values.model_dump(exclude_none=True).items():
        field = target.DESCRIPTOR.fields_by_name[name]
        if isinstance(value, Enum):
            value = value.value
        if field.enum_type is not None:
            value = enum_from_name(field.enum_type, str(value), name)
        setattr(target, name, value)


def parameters_from_proto(source: Message, model: type[Parameters]) -> Parameters:
    """Return the pydantic model of a message with fields of the same names.

    Raises:
        InvalidInput: a value is not allowed; the error message names the field.
    """
    values: dict[str, Any] = {}
    for field, value in source.ListFields():
        if field.enum_type is not None:
            value = enum_to_name(field.enum_type, value, field.name)
        values[field.name] = value
    return make_parameters(model, values)


def make_parameters(model: type[Parameters], values: dict[str, Any]) -> Parameters:
    """Return the codec header or codec options that hold these values.

    Raises:
        InvalidInput: a name or a value is not allowed; the message names the field and what it allows.
    """
    unknown = sorted(set(values) - set(model.model_fields))
    if unknown:
        choices = ", ".join(sorted(model.model_fields)) or "none"
        raise InvalidInput(f"{unknown[0][:_MAX_QUOTED]}: no such option; there are {choices}")
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or model.__name__
        raise InvalidInput(f"{name}: {first['msg']}, got {reprlib.repr(first['input'])}") from None


def codec_to_proto(codec: str, values: Parameters, target: Message) -> None:
    """Set the codec oneof of a FrameHeader or a TransmitRequest to the codec's header or options."""
    if codec != EXTENSION and codec in {f.name for f in target.DESCRIPTOR.oneofs_by_name["codec"].fields}:
        case = getattr(target, codec)
        case.SetInParent()
        parameters_to_proto(values, case)
        return
    extension = getattr(target, EXTENSION)
    extension.codec = codec
    extension.fields.update(values.model_dump(exclude_none=True, mode="json"))


def codec_from_proto(source: Message, *, options: bool) -> tuple[str, Parameters]:
    """Return the codec name and the codec's header or options from the codec oneof of a message.

    Args:
        source: a FrameHeader or a TransmitRequest.
        options: read codec options, as a TransmitRequest has them; False: a codec header.

    Raises:
        UnknownName: no codec is set, or it is not registered.
        InvalidInput: a value is not allowed; the error message names the field.
    """
    case = source.WhichOneof("codec")
    if case is None:
        raise UnknownName("codec", "(none)", SYSTEMS)
    inner = getattr(source, case)
    if case != EXTENSION:
        system = SYSTEMS.get(case)
        return case, parameters_from_proto(inner, system.options if options else system.header)
    if inner.codec not in SYSTEMS:
        raise UnknownName("codec", inner.codec[:_MAX_QUOTED], SYSTEMS)
    system = SYSTEMS.get(inner.codec)
    try:
        values = json_format.MessageToDict(inner.fields) if isinstance(inner.fields, struct_pb2.Struct) else {}
    except ValueError as error:  # JSON has no NaN and no infinity
        raise InvalidInput(f"extension.fields: {error}") from None
    return system.name, make_parameters(system.options if options else system.header, values)


def link_to_proto(link: LinkSettings) -> link_pb2.LinkSettings:
    """Return link settings as a message."""
    return link_pb2.LinkSettings(
        max_payload_bytes=link.max_payload_bytes,
        interleave=link.interleave,
        interleave_seed=link.interleave_seed,
        batch_packets=link.batch_packets,
    )


def link_from_proto(message: link_pb2.LinkSettings) -> LinkSettings:
    """Return the link settings of a message. Raises InvalidInput if a value is out of range."""
    return LinkSettings(message.max_payload_bytes, message.interleave, message.interleave_seed, message.batch_packets)


_CODING = codecs_pb2.ElementCoding.DESCRIPTOR


def header_to_proto(header: FrameHeader) -> link_pb2.FrameHeader:
    """Return a frame header as a message."""
    message = link_pb2.FrameHeader(
        frame_index=header.frame_index,
        round=header.round,
        width_px=header.width_px,
        height_px=header.height_px,
    )
    if header.rounds.max_rounds > 1:
        rounds_to_proto(message, header.rounds)
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
    """Return the frame header of a message, with every value checked against its limits.

    Raises:
        InvalidInput: a value is out of range, or segments repeat.
        UnknownName: the codec is not registered.
    """
    codec, parameters = codec_from_proto(message, options=False)
    for name in ("width_px", "height_px"):
        check_side(getattr(message, name), name)
    rounds = rounds_from_proto(message)
    if message.round >= rounds.max_rounds:
        raise InvalidInput(f"header.round: {message.round} is not below max_rounds ({rounds.max_rounds})")
    segment_count = len(SYSTEMS.get(codec).segments)
    if len(message.segments) > segment_count:
        raise InvalidInput(f"segments: {len(message.segments)}, {codec} has {segment_count}")
    kinds = [s.kind for s in message.segments]
    if len(set(kinds)) != len(kinds) or any(k >= segment_count for k in kinds):
        raise InvalidInput(f"segments.kind: {kinds} repeats, or is more than {codec} has")
    segments = tuple(_segment_from_proto(s) for s in message.segments)
    return FrameHeader(
        codec, parameters, message.width_px, message.height_px, segments,
        message.frame_index, message.round, rounds,
    )  # fmt: skip


_POLICY = link_pb2.FeedbackPolicy.DESCRIPTOR


def rounds_to_proto(message: Any, rounds: RoundSettings) -> None:
    """Set the fields of a FrameHeader or a TransmitRequest that hold the round settings."""
    message.max_rounds, message.round_budget_bytes = rounds.max_rounds, rounds.round_budget_bytes
    if rounds.feedback_policy is not FeedbackPolicy.ERASED:
        message.feedback_policy = enum_from_name(_POLICY, rounds.feedback_policy.value, "feedback_policy")
    message.quality_target_permille = round(rounds.quality_target * 1000)


def rounds_from_proto(message: Any) -> RoundSettings:
    """Return the round settings of a FrameHeader or a TransmitRequest.

    Raises:
        InvalidInput: a value is out of range, or `check_rounds` rejects the settings.
    """
    if message.max_rounds > MAX_ROUNDS:
        raise InvalidInput(f"max_rounds: {message.max_rounds} is more than {MAX_ROUNDS}")
    policy = FeedbackPolicy(enum_to_name(_POLICY, message.feedback_policy, "feedback_policy") or FeedbackPolicy.ERASED)
    if message.quality_target_permille > 1000:
        raise InvalidInput(f"quality_target_permille: {message.quality_target_permille} is more than 1000")
    target = message.quality_target_permille / 1000
    return check_rounds(RoundSettings(max(1, message.max_rounds), message.round_budget_bytes, policy, target))


def check_rounds(rounds: RoundSettings) -> RoundSettings:
    """Return the settings unchanged if they are consistent.

    Raises:
        InvalidInput: feedback settings have no effect because max_rounds is 1, or policy `uncertain` has a budget below
            MIN_UNCERTAIN_BYTES or none, so that the receiver would ask for everything.
    """
    if rounds != RoundSettings() and rounds.max_rounds < 2:
        raise InvalidInput("max_rounds: 1; round_budget_bytes, feedback_policy and quality_target need 2 or more")
    if rounds.feedback_policy is FeedbackPolicy.UNCERTAIN and rounds.round_budget_bytes < MIN_UNCERTAIN_BYTES:
        given = rounds.round_budget_bytes or "not set"
        raise InvalidInput(f"round_budget_bytes: {given}; policy uncertain needs {MIN_UNCERTAIN_BYTES} or more")
    return rounds


def check_session_id(session_id: str) -> None:
    """Raise InvalidInput unless the session ID is 1 to 64 characters of [A-Za-z0-9_-]."""
    if not _SESSION_ID.fullmatch(session_id):
        raise InvalidInput(f"session_id: {session_id[:80]!r} is not 1 to 64 characters of A-Z, a-z, 0-9, _ and -")


def check_side(value: int, field: str) -> None:
    """Raise InvalidInput unless an image side is MIN_SIDE_PX to MAX_SIDE_PX pixels, 64 to 1024."""
    if not MIN_SIDE_PX <= value <= MAX_SIDE_PX:
        raise InvalidInput(f"{field}: {value} is not in {MIN_SIDE_PX} to {MAX_SIDE_PX}")


def _segment_from_proto(message: link_pb2.SegmentHeader) -> SegmentHeader:
    limits = {
        "element_count": min(MAX_ELEMENTS, message.source_packets * MAX_PACKET_ELEMENTS),
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
    return SegmentHeader(
        message.kind, message.element_count, ElementCoding(coding), message.source_packets, message.repair_packets,
        message.symbol_bytes, message.damage_tolerant, spans, message.as_requested, message.withheld_count,
    )  # fmt: skip
