"""One file a system: its encoder. Files here register with ENCODERS, when it is first asked."""

from __future__ import annotations

from collections.abc import Callable

from common.interfaces import SemanticEncoder
from common.registry import Registry

ENCODERS: Registry[Callable[[str], SemanticEncoder]] = Registry("codec", "transmitter.encoders")
"""Codec names to factories that take a device."""
