"""Conversion of codec headers, codec options, round and link settings between Python types and protobuf messages.

Codec headers and codec options are pydantic models whose fields have the same names as those of the protobuf message
in the codec's oneof case. A codec without a case of its own uses the extension case. Enum values convert by name:
`range` <-> ELEMENT_CODING_RANGE.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Any

from google.protobuf import json_format, struct_pb2
from google.protobuf.message import Message
from pydantic import ValidationError

from gocom.common.errors import MAX_QUOTED, InvalidInput, UnknownName, abbreviate
from gocom.common.systems import SYSTEMS
from gocom.common.types import (
    MAX_SIDE_PX,
    MIN_SIDE_PX,
    FeedbackPolicy,
    LinkSettings,
    Parameters,
    RoundSettings,
)
from gocom.common.wire.enums import enum_from_name, enum_to_name
from gocom.v1 import codecs_pb2, link_pb2

EXTENSION = "extension"
_SESSION_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
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
        raise InvalidInput(f"{unknown[0][:MAX_QUOTED]}: no such option; there are {choices}")
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"]) or model.__name__
        raise InvalidInput(f"{name}: {first['msg']}, got {abbreviate(first['input'])}") from None


def codec_to_proto(codec: str, values: Parameters, target: Message) -> None:
    """Set a CodecHeader or CodecOptions to the codec's header or options."""
    if codec != EXTENSION and codec in target.DESCRIPTOR.fields_by_name:
        case = getattr(target, codec)
        case.SetInParent()
        parameters_to_proto(values, case)
        return
    extension = getattr(target, EXTENSION)
    extension.codec = codec
    extension.fields.update(values.model_dump(exclude_none=True, mode="json"))


def codec_from_proto(source: codecs_pb2.CodecHeader | codecs_pb2.CodecOptions) -> tuple[str, Parameters]:
    """Return the codec name and the codec's header or options.

    Raises:
        UnknownName: no codec is set, or it is not registered.
        InvalidInput: a value is not allowed; the error message names the field.
    """
    options = isinstance(source, codecs_pb2.CodecOptions)
    case = source.WhichOneof("codec")
    if case is None:
        raise UnknownName("codec", "(none)", SYSTEMS)
    inner = getattr(source, case)
    if case != EXTENSION:
        system = SYSTEMS.get(case)
        return case, parameters_from_proto(inner, system.options if options else system.header)
    if inner.codec not in SYSTEMS:
        raise UnknownName("codec", inner.codec, SYSTEMS)
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


_POLICY = link_pb2.FeedbackPolicy.DESCRIPTOR


def rounds_to_proto(rounds: RoundSettings) -> link_pb2.RoundSettings:
    """Return round settings as a message, which is empty for one round."""
    message = link_pb2.RoundSettings(
        max_rounds=rounds.max_rounds if rounds.max_rounds > 1 else 0,
        round_budget_bytes=rounds.round_budget_bytes,
        quality_target_permille=round(rounds.quality_target * 1000),
    )
    if rounds.feedback_policy is not FeedbackPolicy.ERASED:
        number = enum_from_name(_POLICY, rounds.feedback_policy.value, "feedback_policy")
        message.feedback_policy = link_pb2.FeedbackPolicy.ValueType(number)
    return message


def rounds_from_proto(message: link_pb2.RoundSettings) -> RoundSettings:
    """Return the round settings of a message.

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
    if not isinstance(session_id, str) or not _SESSION_ID.fullmatch(session_id):
        quoted = str(session_id)[:MAX_QUOTED]
        raise InvalidInput(f"session_id: {quoted!r} is not 1 to 64 characters of A-Z, a-z, 0-9, _ and -")


def check_side(value: int, field: str) -> None:
    """Raise InvalidInput unless an image side is MIN_SIDE_PX to MAX_SIDE_PX pixels, 64 to 1024."""
    if not MIN_SIDE_PX <= value <= MAX_SIDE_PX:
        raise InvalidInput(f"{field}: {value} is not in {MIN_SIDE_PX} to {MAX_SIDE_PX}")
