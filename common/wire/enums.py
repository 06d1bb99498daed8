"""Enum values of the wire by name: ELEMENT_CODING_RANGE <-> "range"."""

from __future__ import annotations

from typing import Any

from gocom.common.errors import InvalidInput


def enum_to_name(descriptor: Any, number: int, field: str) -> str | None:
    """ELEMENT_CODING_RANGE -> "range"; the zero value -> None. Raises InvalidInput for an unknown number."""
    if number == 0:
        return None
    if number not in descriptor.values_by_number:
        raise InvalidInput(f"{field}: no value {number}; choose {', '.join(enum_choices(descriptor))}")
    name: str = descriptor.values_by_number[number].name
    return name.removeprefix(_enum_prefix(descriptor)).lower()


def enum_from_name(descriptor: Any, name: str, field: str) -> int:
    """ "range" -> ELEMENT_CODING_RANGE. Raises InvalidInput naming the choices."""
    value = descriptor.values_by_name.get(_enum_prefix(descriptor) + name.upper())
    if value is None or value.number == 0:
        raise InvalidInput(f"{field}: {name!r} is none of {', '.join(enum_choices(descriptor))}")
    return int(value.number)


def enum_choices(descriptor: Any) -> list[str]:
    """Names of all values but the zero one."""
    return [v.name.removeprefix(_enum_prefix(descriptor)).lower() for v in descriptor.values if v.number]


def _enum_prefix(descriptor: Any) -> str:
    zero: str = descriptor.values_by_number[0].name
    return zero.removesuffix("UNSPECIFIED")
