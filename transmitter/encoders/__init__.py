"""One file a system: its encoder. Files here register with ENCODERS, when it is first asked for them."""

from __future__ import annotations

from collections.abc import Callable

from gocom.common.interfaces import SemanticEncoder
from gocom.common.registry import Registry
from gocom.common.systems import system_file

ENCODERS: Registry[Callable[[str], SemanticEncoder]] = Registry(
    "codec", "gocom.transmitter.encoders", file_of=system_file
)
"""Codec names to factories that take a device."""
