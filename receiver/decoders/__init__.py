"""One file a system: its generative decoder. Files here register with DECODERS, when it is first asked for them."""

from __future__ import annotations

from collections.abc import Callable

from common.interfaces import GenerativeDecoder
from common.registry import Registry
from common.systems import system_file

DECODERS: Registry[Callable[[str], GenerativeDecoder]] = Registry("codec", "receiver.decoders", file_of=system_file)
"""Codec names to factories that take a device."""
