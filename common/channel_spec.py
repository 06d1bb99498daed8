"""Conversion between channel profiles and SPECs, the text that people write for them.

A SPEC is one of

    a preset        lossy
    a chain         gilbert_elliott:p=0.02,r=0.25+bit_flip:rate=1e-4,damage=deliver
    a YAML file     its path; content such as {seed: 7, impairments: [{packet_erasure: {rate: 0.2}}]}

The impairments of a chain are applied in their order, and a preset may be a part of a chain. Two impairments have a
syntax of their own. `trace_replay:file=run.trace` names a file, see packet_trace_file.py, which is read here; in a YAML
file its path is relative to the folder of the YAML file. `netem:loss 5%`, see netem_spec.py, is converted to other
impairments.

Names and parameters are those of `Impairment` in channel.proto. Any other name becomes the extension case of its oneof,
for faults of plug-ins. Only the form is checked here; the emulator checks ranges.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from gocom.common.errors import InvalidInput, abbreviate
from gocom.common.netem_spec import NETEM, parse_netem
from gocom.common.number_checks import UINT32_MAX, UINT64_MAX, whole_number
from gocom.common.packet_trace_file import read_trace_file
from gocom.common.wire.enums import enum_from_name, enum_to_name
from gocom.common.wire.frame_messages import EXTENSION
from gocom.common.yaml_files import MAX_QUOTED, read_yaml
from gocom.v1 import channel_pb2

MAX_IMPAIRMENTS = 32
"""Largest number of impairments in a profile."""
TRACE_REPLAY = "trace_replay"
AUTO = "auto"
_AUTO_PARAMETERS = {("coded_fading", "code_rate")}
"""Parameters that the word `auto` leaves unset on the wire, so that the channel chooses them. Otherwise they are
required."""

PRESETS: dict[str, str] = {
    "clean": "",
    "light": "packet_erasure:rate=0.05",
    "lossy": "packet_erasure:rate=0.2",
    "heavy": "packet_erasure:rate=0.5",
    "outage": "packet_erasure:rate=1",
    "bursty": "gilbert_elliott:p=0.02,r=0.2",
    "noisy": "bit_flip:rate=1e-3,damage=deliver",
}
"""Chain that each preset stands for."""

# A plus sign that separates impairments is followed by a name; one within a number (1e+3) by a digit.
_CHAIN_SEPARATOR = re.compile(r"\s*\+\s*(?=[A-Za-z_])")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_WITH_UNIT = re.compile(f"({_DECIMAL.pattern})\\s*(?P<unit>%|[a-z]+)", re.IGNORECASE)
_NOT_FINITE = re.compile(r"[+-]?\.?(nan|inf)", re.IGNORECASE)
_KIND_FIELDS = channel_pb2.Impairment.DESCRIPTOR.oneofs_by_name["kind"].fields


def parse_spec(text: str, seed: int | None = None) -> channel_pb2.ChannelProfile:
    """Parse a SPEC, and return its profile.

    Args:
        text: preset name, chain, or path of a .yml or .yaml file.
        seed: seed of the channel's randomness, 0 to 2**64 - 1; None: the seed in the YAML file, else 0.

    Raises:
        InvalidInput: the SPEC is invalid; the message names the impairment, the field and the choices.
    """
    if not isinstance(text, str):
        raise InvalidInput(f"profile: {_abbreviate(text)} is not text such as 'packet_erasure:rate=0.2'")
    text = text.strip()
    if text.lower().endswith((".yml", ".yaml")):
        profile = _parse_yaml(Path(text))
    else:
        profile = channel_pb2.ChannelProfile()
        for part in _split_chain(text):
            name, _, words = (piece.strip() for piece in part.partition(":"))
            where = f"impairments[{len(profile.impairments)}]"
            parameters = words if name == NETEM else _parse_parameters(words, f"{where}.{name}")
            _add_impairment(profile, name, parameters, Path())
    if seed is not None:
        profile.seed = whole_number("seed", seed, 0, UINT64_MAX)
    return profile


def _split_chain(text: str) -> list[str]:
    """Split a chain into its impairments, with each preset replaced by the impairments that it stands for."""
    parts: list[str] = []
    for part in _CHAIN_SEPARATOR.split(text) if text else []:
        name, colon, _ = part.partition(":")
        if (name := name.strip()) not in PRESETS:
            parts.append(part)
        elif colon:
            raise InvalidInput(f"{name}: is a preset and has no parameters; it stands for {PRESETS[name] or 'nothing'}")
        else:
            parts += _CHAIN_SEPARATOR.split(PRESETS[name]) if PRESETS[name] else []
    return parts


def format_spec(profile: channel_pb2.ChannelProfile) -> str:
    """Return the chain of a profile, without the seed, so that parse_spec(format_spec(p), p.seed) == p.

    The exception is trace_replay: only the size of the trace is given, and parse_spec refuses that.

    Raises:
        InvalidInput: an impairment has no kind, or an enum value that is unknown.
    """
    return "+".join(_format_impairment(impairment) for impairment in profile.impairments)


def _format_impairment(impairment: channel_pb2.Impairment) -> str:
    """Return the text of one impairment in a chain."""
    case = impairment.WhichOneof("kind")
    if case is None:
        raise InvalidInput(f"impairments: one has no kind; choose {', '.join(_case_names())}")
    if case == EXTENSION:
        name = impairment.extension.name
        words = [f"{key}={value!r}" for key, value in sorted(impairment.extension.parameters.items())]
    elif case == TRACE_REPLAY:
        name, rounds = case, impairment.trace_replay.rounds
        words = [f"rounds={len(rounds)}", f"packets={sum(r.packets for r in rounds)}"]
    else:
        name = case
        fault: Message = getattr(impairment, case)
        given = {field.name for field, _ in fault.ListFields()}
        fields = [field for field in fault.DESCRIPTOR.fields if field.name in given or _is_required(field)]
        words = [f"{field.name}={_format_value(field, getattr(fault, field.name))}" for field in fields]
        words += [
            f"{field}={AUTO}" for fault_name, field in _AUTO_PARAMETERS if fault_name == case and field not in given
        ]
    return f"{name}:{','.join(words)}" if words else name


def _format_value(field: Any, value: Any) -> str:
    """Return the text of a parameter: the name of an enum value, or a number."""
    return str(enum_to_name(field.enum_type, value, field.name)) if field.enum_type is not None else repr(value)


def _case_names() -> list[str]:
    """Return the names of the impairments that have a case of their own in the oneof."""
    return [field.name for field in _KIND_FIELDS if field.name != EXTENSION]


def _parse_parameters(text: str, where: str) -> dict[str, str]:
    """Return the parameters in text such as "a=1,b=2" as {"a": "1", "b": "2"}."""
    values: dict[str, str] = {}
    for part in text.split(",") if text.strip() else []:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals or not key:
            raise InvalidInput(f"{where}: {part.strip()!r} is not of the form parameter=value")
        if key in values:
            raise InvalidInput(f"{where}.{key}: given twice")
        values[key] = value
    return values


def _parse_yaml(path: Path) -> channel_pb2.ChannelProfile:
    """Read the profile in a YAML file. Raises InvalidInput if the file cannot be read or has another form."""
    try:
        document = read_yaml(path)
    except InvalidInput as error:
        raise InvalidInput(f"profile: {error}") from None
    if not isinstance(document, dict) or set(document) - {"seed", "impairments"}:
        script = isinstance(document, dict) and "steps" in document
        hint = "; a script of steps is for `gocom channel play`" if script else ""
        raise InvalidInput(f"profile: {str(path)!r} must be a mapping of seed and impairments, and nothing else{hint}")
    profile = channel_pb2.ChannelProfile(seed=whole_number("seed", document.get("seed", 0), 0, UINT64_MAX))
    items = document.get("impairments") or []
    if not isinstance(items, list):
        raise InvalidInput("impairments: must be a list, such as [{packet_erasure: {rate: 0.2}}]")
    for item in items:
        where = f"impairments[{len(profile.impairments)}]"
        if not isinstance(item, dict) or len(item) != 1:
            raise InvalidInput(f"{where}: must be a name with parameters, such as {{packet_erasure: {{rate: 0.2}}}}")
        ((name, parameters),) = item.items()
        if not (isinstance(parameters, dict | None) or (name == NETEM and isinstance(parameters, str))):
            got = _abbreviate(parameters)
            raise InvalidInput(f"{where}.{_abbreviate(name)}: must be a mapping of parameters, got {got}")
        _add_impairment(profile, str(name), parameters or {}, path.parent)
    return profile


def _abbreviate(value: Any) -> str:
    """Return a value as text of at most MAX_QUOTED characters, text without quotes."""
    return str(value)[:MAX_QUOTED] if isinstance(value, Exception | str) else abbreviate(value)


def _add_impairment(
    profile: channel_pb2.ChannelProfile, name: str, parameters: Mapping[Any, Any] | str, folder: Path
) -> None:
    """Append an impairment to the profile; netem, whose parameters are text, becomes one or more impairments.

    Args:
        profile: the profile to append to.
        name: name of the impairment.
        parameters: values by name; text for netem.
        folder: folder that the path of a trace is relative to.

    Raises:
        InvalidInput: the name or a parameter is invalid, or there are too many impairments.
    """
    position = len(profile.impairments)
    if position >= MAX_IMPAIRMENTS:
        raise InvalidInput(f"impairments: more than {MAX_IMPAIRMENTS}")
    if name == NETEM:
        _add_netem(profile, parameters)
        return
    assert not isinstance(parameters, str)
    if not _NAME.fullmatch(name):
        choices = ", ".join(_case_names())
        raise InvalidInput(f"impairments[{position}]: {name!r} is no name; choose {choices}, or a plug-in's")
    impairment = profile.impairments.add()
    where = f"impairments[{position}].{name}"
    if name not in _case_names():
        impairment.extension.name = name
        for key, value in parameters.items():
            if str(key) in impairment.extension.parameters:  # in a YAML file, 1 and "1"
                raise InvalidInput(f"{where}.{key}: given twice")
            impairment.extension.parameters[str(key)] = _parse_number(value, f"{where}.{key}")
        return
    if name == TRACE_REPLAY:
        impairment.trace_replay.rounds.extend(_read_trace(parameters, folder, where))
        return
    target: Message = getattr(impairment, name)
    target.SetInParent()
    fields = target.DESCRIPTOR.fields_by_name
    for key, value in parameters.items():
        if key not in fields:
            raise InvalidInput(f"{where}.{key}: no such parameter; there are {', '.join(fields)}")
        if value == AUTO and (name, key) in _AUTO_PARAMETERS:
            continue
        setattr(target, key, _parse_value(fields[key], value, f"{where}.{key}"))
    for field in fields.values():
        if (_is_required(field) or (name, field.name) in _AUTO_PARAMETERS) and field.name not in parameters:
            raise InvalidInput(f"{where}.{field.name}: not set")


def _is_required(field: Any) -> bool:
    """Return whether a parameter must be given: a number without presence, which would be 0 on the wire if omitted."""
    return field.enum_type is None and not bool(field.has_presence)


def _add_netem(profile: channel_pb2.ChannelProfile, text: Mapping[Any, Any] | str) -> None:
    """Append the impairments that netem text stands for. Raises InvalidInput for other text, or too many of them."""
    where = f"impairments[{len(profile.impairments)}].{NETEM}"
    if not isinstance(text, str):
        raise InvalidInput(f"{where}: must be text as tc takes it, such as `netem:loss 5%`")
    try:
        impairments = parse_netem(text)
    except InvalidInput as error:
        raise InvalidInput(f"{where}: {error}") from None
    if len(profile.impairments) + len(impairments) > MAX_IMPAIRMENTS:
        raise InvalidInput(f"impairments: more than {MAX_IMPAIRMENTS}")
    profile.impairments.extend(impairments)


def _read_trace(parameters: Mapping[Any, Any], folder: Path, where: str) -> list[channel_pb2.TraceRound]:
    """Return the rounds in the trace file that the parameter `file` names, a path relative to the folder."""
    hint = f"name the file of the trace: {TRACE_REPLAY}:file=run.trace"
    for key in parameters:
        if key != "file":
            raise InvalidInput(f"{where}.{_abbreviate(key)}: no such parameter; {hint}")
    file = parameters.get("file")
    if not isinstance(file, str) or not file:
        raise InvalidInput(f"{where}.file: {'not set' if not file else _abbreviate(file)}; {hint}")
    try:
        return read_trace_file(folder / file)
    except InvalidInput as error:
        raise InvalidInput(f"{where}.file: {error}") from None


def _parse_value(field: Any, value: Any, path: str) -> float:
    """Return the value that the field of a parameter takes: the number of an enum value, an integer, or a float.

    Raises:
        InvalidInput: the value does not fit the field.
    """
    if field.enum_type is not None:
        return enum_from_name(field.enum_type, str(value), path)
    number = _parse_number(value, path)
    if field.cpp_type != FieldDescriptor.CPPTYPE_UINT32:
        return number
    # Only the range of uint32 is checked here; the emulator checks which of these numbers it allows.
    if not number.is_integer():
        raise InvalidInput(f"{path}: {value!r} is not a whole number")
    if not 0 <= number <= UINT32_MAX:
        raise InvalidInput(f"{path}: {value!r} is {'less than 0' if number < 0 else 'more than 2**32 - 1'}")
    return int(number)


def _parse_number(value: Any, path: str) -> float:
    """Return a number in a SPEC (text) or in a YAML file (any type) as a float. Raises InvalidInput unless finite."""
    text = str(value).strip()
    # float() would also accept 0_1, and digits of other scripts.
    if not _DECIMAL.fullmatch(text) and not _NOT_FINITE.fullmatch(text):
        raise InvalidInput(f"{path}: {value!r} is not a number{_unit_hint(text)}")
    number = float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    if not math.isfinite(number):
        raise InvalidInput(f"{path}: {value!r} is not finite")
    return number


def _unit_hint(text: str) -> str:
    """Return a hint how to write a number that was given with a unit; "" for any other text."""
    match = _WITH_UNIT.fullmatch(text)
    if match is None:
        return ""
    plain = f"{float(match[1]) / 100:.12g}" if match["unit"] == "%" else match[1]
    return f"; give a number without a unit, such as {plain}"
