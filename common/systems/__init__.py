"""One file a system: its header, its options, its segments, its paper. Files here register with SYSTEMS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from common.entropy.tables import FrequencyTable
from common.registry import Registry
from common.types import ElementCoding, Parameters


@dataclass(frozen=True, slots=True)
class SegmentSpec:
    """One of the segments a system sends.

    Attributes:
        name: for people and byte accounts.
        alphabet_size: elements are in [0, alphabet_size).
        table: loads the static integer table that Huffman and range coding use; None: fixed length only.
    """

    name: str
    alphabet_size: int
    table: Callable[[], FrequencyTable] | None = None

    @property
    def codings(self) -> tuple[ElementCoding, ...]:
        """The codings this segment can be sent with."""
        return tuple(ElementCoding) if self.table else (ElementCoding.FIXED,)


@dataclass(frozen=True, slots=True)
class System:
    """What both ends of one codec agree on.

    Attributes:
        name: codec id, and the oneof case on the wire.
        header: what the receiver must know beyond the common header.
        options: what a user may set.
        segments: what is sent, in wire order.
        knowledge: names of the model folders both ends must hold alike.
        summary: one line for `gocom codecs`.
    """

    name: str
    header: type[Parameters]
    options: type[Parameters]
    segments: tuple[SegmentSpec, ...]
    knowledge: tuple[str, ...] = ()
    summary: str = ""


SYSTEMS: Registry[System] = Registry("codec", "common.systems")
