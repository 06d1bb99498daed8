"""One file a system: its header, its options, its segments, its paper. Files here register with SYSTEMS."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from gocom.common.entropy.coders import ElementCoder, FixedCoder, HuffmanCoder, RangeCoder
from gocom.common.entropy.context_coder import ContextCoder
from gocom.common.entropy.frequency_tables import FrequencyTable, NeighbourTables
from gocom.common.entropy.keep_mask_coder import EscapeCoder, MaskedFixedCoder
from gocom.common.errors import InvalidInput
from gocom.common.registry import Registry
from gocom.common.types import Bools, ElementCoding, Parameters


@dataclass(frozen=True, slots=True)
class SegmentSpec:
    """One of the segments a system sends.

    Attributes:
        name: for people and byte accounts.
        alphabet_size: elements are in [0, alphabet_size).
        table: loads the static integer table that Huffman and range coding use; None: fixed length only.
        neighbours: loads the tables that context coding uses; None: there is no context coding.
        columns: (width_px, height_px) -> elements in a row, where the segment is a grid; None: it is a sequence.
        count: (width_px, height_px) -> elements of a first round, where the picture's size says that, and the most of
            a further one; None: it may announce any number.
        keep: (header, width_px, height_px) -> bool [N], the elements that are sent, where both ends know that from
            the frame header; None, or a None from it: all of them.
        unit: (header, width_px, height_px) -> how many neighbouring elements belong together: in a first round the
            interleaver moves them as one, and a packet that can hold a unit ends with a whole one; None: 1.
        limit: most elements it may announce; None: what the receiver's settings allow.
        whole: it is of no use unless all of it arrives.
    """

    name: str
    alphabet_size: int
    table: Callable[[], FrequencyTable] | None = None
    neighbours: Callable[[], NeighbourTables] | None = None
    columns: Callable[[int, int], int] | None = None
    count: Callable[[int, int], int] | None = None
    keep: Callable[[Parameters, int, int], Bools | None] | None = None
    unit: Callable[[Parameters, int, int], int] | None = None
    limit: int | None = None
    whole: bool = False

    @property
    def codings(self) -> tuple[ElementCoding, ...]:
        """The codings this segment can be sent with."""
        more = {
            ElementCoding.HUFFMAN: self.table,
            ElementCoding.RANGE: self.table,
            ElementCoding.CONTEXT: self.neighbours,
        }
        return (ElementCoding.FIXED, *(coding for coding, needed in more.items() if needed is not None))

    def coder(
        self, coding: ElementCoding, width_px: int, height_px: int, withheld: tuple[int, int] | None = None
    ) -> ElementCoder:
        """The coder of a segment of an image of this size; made once.

        Args:
            withheld: (withheld, all) elements where each packet carries its slice of the mask, as -1 elements.

        Raises:
            InvalidInput: a coding that the segment does not have.
        """
        if coding not in self.codings:
            choices = ", ".join(c.value for c in self.codings)
            raise InvalidInput(f"coding: segment {self.name!r} has no {coding.value!r}; choose {choices}")
        if withheld is not None:
            # In 256ths: both ends round alike, and a peer cannot have a table made for every number it thinks of.
            withheld = min(255, max(1, round(256 * withheld[0] / withheld[1]))), 256
        columns = self.columns(width_px, height_px) if self.columns and coding is ElementCoding.CONTEXT else None
        return _make_coder(self, coding, columns, withheld)


@lru_cache(maxsize=16)  # one of context tables takes 7 MiB once all of them were used
def _make_coder(
    spec: SegmentSpec, coding: ElementCoding, columns: int | None, withheld: tuple[int, int] | None
) -> ElementCoder:
    coder: ElementCoder
    if coding is ElementCoding.FIXED:
        return FixedCoder(spec.alphabet_size) if withheld is None else MaskedFixedCoder(spec.alphabet_size)
    if coding is ElementCoding.CONTEXT:
        assert spec.neighbours is not None
        coder = ContextCoder(spec.neighbours(), columns, withheld)
    else:
        assert spec.table is not None
        table = spec.table()
        if len(table.frequencies) != spec.alphabet_size:
            raise InvalidInput(f"table: {len(table.frequencies)} symbols, the alphabet has {spec.alphabet_size}")
        table = table if withheld is None else table.with_escape(*withheld)
        coder = HuffmanCoder(table) if coding is ElementCoding.HUFFMAN else RangeCoder(table)
    return coder if withheld is None else EscapeCoder(coder, spec.alphabet_size)


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


SYSTEMS: Registry[System] = Registry("codec", "gocom.common.systems")


def spec_of(codec: str, kind: int) -> SegmentSpec:
    """A codec's segment. Raises InvalidInput for an index it does not have."""
    segments = SYSTEMS.get(codec).segments
    if not 0 <= kind < len(segments):
        names = ", ".join(f"{i} ({s.name})" for i, s in enumerate(segments))
        raise InvalidInput(f"segments.kind: {codec} has no segment {kind}; it has {names}")
    return segments[kind]


def system_file(name: str) -> str:
    """The file that a codec's encoder and decoder are in, without its ending; "" for a codec nobody knows.

    That of its header here: the three files of a system have one name.
    """
    return SYSTEMS.get(name).header.__module__.rpartition(".")[2] if name in SYSTEMS else ""
