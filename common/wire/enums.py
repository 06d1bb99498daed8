"""Conversion between the enum values of the wire and their names: ELEMENT_CODING_RANGE <-> "range"."""

from __future__ import annotations

from typing import Any

from gocom.common.errors import InvalidInput


def enum_to_name(descriptor: Any, number: int, field: str) -> str | None:
    """Return the name of an enum value, such as "range" for ELEMENT_CODING_RANGE; None for the zero value.

    Args:
        descriptor: protobuf descriptor of the enum.
        number: value to convert.
        field: name of the field that holds the value, for the error message.

    Raises:
        InvalidInput: the enum has no such value; the message lists the choices.
    """
    if number == 0:
        return None
    if number not in descriptor.values_by_number:
        raise InvalidInput(f"{field}: no value {number}; choose {', '.join(enum_choices(descriptor))}")
    name: str = descriptor.values_by_number[number].name
    return name.removeprefix(_enum_prefix(descriptor)).lower()


def enum_from_name(descriptor: Any, name: str, field: str) -> int:
    """Return the enum value of a name, such as ELEMENT_CODING_RANGE for "range".

    Args:
        descriptor: protobuf descriptor of the enum.
        name: name to convert.
        field: name of the field that holds the name, for the error message.

    Raises:
        InvalidInput: the enum has no such name; the message lists the choices.
    """
    value = descriptor.values_by_name.get(_enum_prefix(descriptor) + name.upper())
    if value is None or value.number == 0:
        raise InvalidInput(f"{field}: {name!r} is none of {', '.join(enum_choices(descriptor))}")
    return int(value.number)


def enum_choices(descriptor: Any) -> list[str]:
    """Return the names of all values of an enum except the zero value."""
    return [v.name.removeprefix(_enum_prefix(descriptor)).lower() for v in descriptor.values if v.number]


def _enum_prefix(descriptor: Any) -> str:
    zero: str = descriptor.values_by_number[0].name
    return zero.removesuffix("UNSPECIFIED")
