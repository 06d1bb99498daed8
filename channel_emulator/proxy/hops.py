"""Emulators in a row: each tells the next in the call's metadata how many came before.

Two of them with the same seed must not lose the same packets, and in a circle a call would go on for ever.
"""

from __future__ import annotations

from typing import Any

import grpc

from gocom.common.errors import InvalidInput

HOP = "gocom-hop"
"""Metadata of a call: how many emulators it has passed; none from a transmitter or a receiver."""
MAX_HOPS = 16


def hop_of(context: grpc.aio.ServicerContext[Any, Any]) -> int:
    """How many emulators a call has passed. Raises InvalidInput: in a circle it would go on for ever."""
    for key, value in context.invocation_metadata() or ():
        if key == HOP:
            text = str(value)
            if not (len(text) <= 2 and text.isascii() and text.isdigit() and int(text) <= MAX_HOPS):
                raise InvalidInput(f"{HOP}: {text[:20]!r} is not a whole number in 0 to {MAX_HOPS}")
            return int(text)
    return 0


def hop_stream(hop: int) -> str:
    """How the names of the random streams of an emulator behind so many others begin."""
    return f"hop {hop}/" if hop else ""


def hop_metadata(hop: int) -> tuple[tuple[str, str], ...]:
    """What a call to the next hop carries."""
    return ((HOP, str(hop + 1)),)
