"""Decoders, one file per system. A file registers its decoder with DECODERS when the registry is first asked for it."""

from __future__ import annotations

from collections.abc import Callable

from gocom.common.codec_interfaces import GenerativeDecoder
from gocom.common.registry import Registry
from gocom.common.systems import system_file
from gocom.common.zoo import Zoo

DECODERS: Registry[Callable[[Zoo], GenerativeDecoder]] = Registry(
    "codec", "gocom.receiver.decoders", file_of=system_file
)
"""Registry of codec names and decoder factories, which take the zoo. A codec without nets ignores it."""
