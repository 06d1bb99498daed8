"""One tree of exceptions; each leaf says which gRPC status it becomes (common/rpc/status_mapping.py does the mapping).

    GoComError
    ├── InvalidInput           INVALID_ARGUMENT    a field is wrong; the message names it and the choices
    │   └── BudgetTooSmall     INVALID_ARGUMENT    a byte budget below the codec's floor; the message says the floor
    ├── UnknownName            UNIMPLEMENTED       a codec or fault nobody registered; the message lists the choices
    ├── TooLarge               RESOURCE_EXHAUSTED  over a limit that is set on this end
    ├── Busy                   RESOURCE_EXHAUSTED  every slot is taken; try again later
    ├── NotReady               UNAVAILABLE         models are still loading, or the peer is not there
    ├── Unauthenticated        UNAUTHENTICATED     the call carries no token, or a wrong one
    ├── Mismatch               FAILED_PRECONDITION the two ends hold different models, codebooks or tables
    └── DecodeFailed           DATA_LOSS           the receiver cannot make a picture of what arrived (classical codecs)

Erasure is data, never an exception.
"""

from __future__ import annotations

from collections.abc import Iterable


class GoComError(Exception):
    """Base of everything GO-COM raises on purpose."""


class InvalidInput(GoComError):
    """A value a caller gave is outside what is allowed."""


class BudgetTooSmall(InvalidInput):
    """A byte budget that this codec cannot meet.

    Attributes:
        codec: which one.
        floor_bytes: the fewest bytes the codec can do with for this image and link.
    """

    def __init__(self, codec: str, budget_bytes: int, floor_bytes: int) -> None:
        super().__init__(f"budget_bytes: {codec} needs at least {floor_bytes} bytes for this image, got {budget_bytes}")
        self.codec, self.budget_bytes, self.floor_bytes = codec, budget_bytes, floor_bytes

    def __reduce__(self) -> tuple[type, tuple[str, int, int]]:
        """From one process to another: what it is made of, not its words."""
        return type(self), (self.codec, self.budget_bytes, self.floor_bytes)


class UnknownName(GoComError):
    """A name that no registry entry answers to."""

    def __init__(self, kind: str, name: str, choices: Iterable[str]) -> None:
        self._made_of = kind, name, sorted(choices)
        super().__init__(f"{kind}: no {name!r}; there are {', '.join(self._made_of[2])}")

    def __reduce__(self) -> tuple[type, tuple[str, str, list[str]]]:
        """From one process to another: what it is made of, not its words."""
        return type(self), self._made_of


class TooLarge(GoComError):
    """Over an explicit limit of this end."""


class Busy(GoComError):
    """All slots are in use."""


class NotReady(GoComError):
    """The other end, or this one, cannot serve yet."""


class Unauthenticated(GoComError):
    """A call without the bearer token that the service asks for."""


class Mismatch(GoComError):
    """Transmitter and receiver do not share the same knowledge."""


class DecodeFailed(GoComError):
    """What arrived does not make a picture."""
