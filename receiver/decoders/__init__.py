"""One file a system: its generative decoder. Files here register with DECODERS, when it is first asked."""

from __future__ import annotations

from collections.abc import Callable

from common.interfaces import GenerativeDecoder
from common.registry import Registry

DECODERS: Registry[Callable[[str], GenerativeDecoder]] = Registry("codec", "receiver.decoders")
"""Codec names to factories that take a device."""
