"""Encoders, one file per system. A file registers its encoder with ENCODERS when the registry is first asked for it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from gocom.common.codec_interfaces import SemanticEncoder
from gocom.common.registry import Registry
from gocom.common.systems import system_file
from gocom.common.zoo import Zoo

ENCODERS: Registry[Callable[[Zoo], SemanticEncoder[Any]]] = Registry(
    "codec", "gocom.transmitter.encoders", file_of=system_file
)
"""Registry of codec names and encoder factories, which take the zoo. A codec without nets ignores it."""
