"""One file a system: its generative decoder. Files here register with DECODERS, when it is first asked for them."""

from __future__ import annotations

from collections.abc import Callable

from gocom.common.interfaces import GenerativeDecoder
from gocom.common.registry import Registry
from gocom.common.systems import system_file

DECODERS: Registry[Callable[[str], GenerativeDecoder]] = Registry(
    "codec", "gocom.receiver.decoders", file_of=system_file
)
"""Codec names to factories that take a device."""
