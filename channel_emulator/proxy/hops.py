"""Chains of emulators: each tells the next in the metadata of the call how many emulators came before.

Two emulators with the same seed must not lose the same packets, and a call in a loop of emulators must end.
"""

from __future__ import annotations

from typing import Any

import grpc

from gocom.common.errors import InvalidInput

HOP = "gocom-hop"
"""Metadata key with the number of emulators that a call has passed; transmitters and receivers do not set it."""
MAX_HOPS = 16


def hop_of(context: grpc.aio.ServicerContext[Any, Any]) -> int:
    """Return the number of emulators that a call has passed.

    Raises:
        InvalidInput: the number is not valid, or too large, as in a loop of emulators.
    """
    for key, value in context.invocation_metadata() or ():
        if key == HOP:
            text = str(value)
            if not (len(text) <= 2 and text.isascii() and text.isdigit() and int(text) <= MAX_HOPS):
                raise InvalidInput(f"{HOP}: {text[:20]!r} is not a whole number in 0 to {MAX_HOPS}")
            return int(text)
    return 0


def hop_stream(hop: int) -> str:
    """Return the prefix of the random streams of the emulator behind `hop` others."""
    return f"hop {hop}/" if hop else ""


def hop_metadata(hop: int) -> tuple[tuple[str, str], ...]:
    """Return the metadata of a call to the next hop."""
    return ((HOP, str(hop + 1)),)
