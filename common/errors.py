"""All exceptions of GO-COM, with the gRPC status that common/rpc/status_mapping.py maps each of them to.

    GoComError
    ├── InvalidInput           INVALID_ARGUMENT    a field is wrong; the message names it and the choices
    │   └── BudgetTooSmall     INVALID_ARGUMENT    a byte budget below the codec's floor; the message gives the floor
    ├── UnknownName            UNIMPLEMENTED       an unregistered codec or fault; the message lists the choices
    ├── TooLarge               RESOURCE_EXHAUSTED  a limit of this service is exceeded
    ├── Busy                   RESOURCE_EXHAUSTED  every slot is taken; try again later
    ├── NotReady               UNAVAILABLE         models are still loading, or the peer cannot be reached
    ├── Unauthenticated        UNAUTHENTICATED     the call carries no token, or a wrong one
    ├── Mismatch               FAILED_PRECONDITION the two ends hold different models, codebooks or tables
    └── DecodeFailed           DATA_LOSS           no picture can be decoded from what arrived (classical codecs)

A packet erasure is data, never an exception.
"""

from __future__ import annotations

import reprlib
from collections.abc import Iterable

MAX_QUOTED = 80
"""Limit on the characters of a value that an error message quotes: a status must fit in HTTP/2 headers."""


def abbreviate(value: object) -> str:
    """Return what Python prints for a value, in at most MAX_QUOTED characters: lists in lists can make gigabytes."""
    try:
        words = reprlib.repr(value)
    except ValueError:  # Python prints no whole number of more than 4300 digits
        return f"a {type(value).__name__} of thousands of digits"
    return words if len(words) <= MAX_QUOTED else f"{words[: MAX_QUOTED - 3]}..."


class GoComError(Exception):
    """Base class of all exceptions that GO-COM raises on purpose."""


class InvalidInput(GoComError):
    """A value from a caller that is not allowed."""


class BudgetTooSmall(InvalidInput):
    """A byte budget that this codec cannot meet.

    Attributes:
        codec: name of the codec.
        budget_bytes: the byte budget that was given.
        floor_bytes: fewest bytes that the codec needs for this image on this link.
    """

    def __init__(self, codec: str, budget_bytes: int, floor_bytes: int) -> None:
        super().__init__(f"budget_bytes: {codec} needs at least {floor_bytes} bytes for this image, got {budget_bytes}")
        self.codec, self.budget_bytes, self.floor_bytes = codec, budget_bytes, floor_bytes

    def __reduce__(self) -> tuple[type, tuple[str, int, int]]:
        """Pickle the constructor's arguments: by default the message would be passed to the constructor."""
        return type(self), (self.codec, self.budget_bytes, self.floor_bytes)


class UnknownName(GoComError):
    """A name that is not in the registry. `note`: what else to say, such as which plug-ins could not be imported."""

    def __init__(self, kind: str, name: str, choices: Iterable[str], note: str = "") -> None:
        self._arguments = kind, name, sorted(choices), note
        words = f"{kind}: no {name[:MAX_QUOTED]!r}; there are {', '.join(self._arguments[2])}"
        super().__init__(f"{words}; {note}" if note else words)

    def __reduce__(self) -> tuple[type, tuple[str, str, list[str], str]]:
        """Pickle the constructor's arguments: by default the message would be passed to the constructor."""
        return type(self), self._arguments


class TooLarge(GoComError):
    """A request that exceeds an explicit limit of this service."""


class Busy(GoComError):
    """A request for which no slot is free."""


class NotReady(GoComError):
    """A request that this service or its peer cannot serve yet."""


class Unauthenticated(GoComError):
    """A call without the bearer token that the service asks for."""


class Mismatch(GoComError):
    """Shared knowledge (models, codebooks, tables) that differs between transmitter and receiver, or is malformed."""


class DecodeFailed(GoComError):
    """Received data from which no picture can be decoded."""
