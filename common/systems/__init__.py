"""What both ends of each codec agree on: header, options and segments. Each file here registers one system or more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from gocom.common.entropy.coders import ElementCoder, FixedCoder, HuffmanCoder, RangeCoder
from gocom.common.entropy.context_coder import ContextCoder
from gocom.common.entropy.frequency_tables import FrequencyTable, NeighbourTables
from gocom.common.entropy.keep_mask_coders import EscapeCoder, MaskedFixedCoder
from gocom.common.errors import InvalidInput
from gocom.common.registry import Registry
from gocom.common.types import (
    Bools,
    ElementCoding,
    FrameDefaults,
    FrameView,
    Goal,
    GoMessage,
    Parameters,
    Segment,
    StreamPosition,
)


@dataclass(frozen=True, slots=True)
class SegmentSpec:
    """Specification of one of the segments that a system sends.

    Attributes:
        name: name for people and for byte accounts.
        alphabet: size of the alphabet, or a function that reads it from the config of a net.
        table: function that loads the static integer table of Huffman and range coding; None: the segment has neither.
        neighbours: function that loads the tables of context coding; None: the segment has no context coding.
        columns: function (width_px, height_px) -> number of elements in a row, if the segment is a grid; None: it is a
            sequence.
        count: function (width_px, height_px) -> number of elements in the full grid of the segment, if the size of the
            picture determines it; None: a frame may announce any number.
        keep: function (frame) -> bool [N], True for elements that are sent, if both ends know the mask from the frame
            header; None, or a function that returns None: all elements are sent. It holds in every round whose segment
            does not name its elements by spans.
        unit: function (frame) -> number of adjacent elements of the grid that belong together. The interleaver moves a
            unit as a whole, and a packet that can hold a unit ends at the end of one. None: 1.
        max_elements: limit on the number of elements that a frame may announce; None: only the receiver's settings
            limit it.
        all_or_nothing: the segment is useless unless all of its elements arrive.
    """

    name: str
    alphabet: int | Callable[[], int]
    table: Callable[[], FrequencyTable] | None = None
    neighbours: Callable[[], NeighbourTables] | None = None
    columns: Callable[[int, int], int] | None = None
    count: Callable[[int, int], int] | None = None
    keep: Callable[[FrameView], Bools | None] | None = None
    unit: Callable[[FrameView], int] | None = None
    max_elements: int | None = None
    all_or_nothing: bool = False

    @property
    def alphabet_size(self) -> int:
        """Size of the alphabet; elements are in [0, alphabet_size). Raises NotReady if a net is missing."""
        return self.alphabet if isinstance(self.alphabet, int) else self.alphabet()

    @property
    def codings(self) -> tuple[ElementCoding, ...]:
        """Codings with which the segment can be sent."""
        loaders = {
            ElementCoding.HUFFMAN: self.table,
            ElementCoding.RANGE: self.table,
            ElementCoding.CONTEXT: self.neighbours,
        }
        return (ElementCoding.FIXED, *(coding for coding, loader in loaders.items() if loader is not None))

    def coder(
        self, coding: ElementCoding, width_px: int, height_px: int, withheld: tuple[int, int] | None = None
    ) -> ElementCoder:
        """Return the coder of the segment for an image. Coders are cached.

        Args:
            coding: coding of the elements.
            width_px: width of the image.
            height_px: height of the image.
            withheld: (withheld elements, all elements) if each packet carries its part of the keep mask, with withheld
                elements as -1; None: packets carry no mask.

        Raises:
            InvalidInput: the segment does not have this coding.
        """
        if coding not in self.codings:
            choices = ", ".join(c.value for c in self.codings)
            raise InvalidInput(f"coding: segment {self.name!r} has no {coding.value!r}; choose {choices}")
        if withheld is not None:
            # Rounded to 1/256, alike at both ends, so that a peer can make this end build only a few tables.
            withheld = min(255, max(1, round(256 * withheld[0] / withheld[1]))), 256
        columns = self.columns(width_px, height_px) if self.columns and coding is ElementCoding.CONTEXT else None
        return _make_coder(self, self.alphabet_size, coding, columns, withheld)


@lru_cache(maxsize=16)  # a context coder takes 7 MiB once all of its contexts were used
def _make_coder(
    spec: SegmentSpec, size: int, coding: ElementCoding, columns: int | None, withheld: tuple[int, int] | None
) -> ElementCoder:
    coder: ElementCoder
    if coding is ElementCoding.FIXED:
        return FixedCoder(size) if withheld is None else MaskedFixedCoder(size)
    if coding is ElementCoding.CONTEXT:
        assert spec.neighbours is not None
        coder = ContextCoder(spec.neighbours(), columns, withheld)
    else:
        assert spec.table is not None
        table = spec.table()
        if len(table.frequencies) != size:
            raise InvalidInput(f"table: {len(table.frequencies)} symbols, the alphabet has {size}")
        table = table if withheld is None else table.with_escape(*withheld)
        coder = HuffmanCoder(table) if coding is ElementCoding.HUFFMAN else RangeCoder(table)
    return coder if withheld is None else EscapeCoder(coder, size)


@dataclass(frozen=True, slots=True)
class System:
    """What both ends of one codec agree on.

    Attributes:
        name: codec name, and the oneof case on the wire.
        header: type of the codec's part of the frame header.
        options: type of the codec's options, which a user may set.
        segments: segments that are sent; the index of a segment is its `kind` on the wire.
        knowledge: names of the model folders that must be identical at both ends. A codec that names any has nets: the
            receiver warms it up with a frame of which nothing arrived, and must get a picture.
        summary: description in one line for `gocom codecs`.
        header_fields: function from the options to those header fields that follow from them, but are not copies of
            options of the same name; None: there are none.
    """

    name: str
    header: type[Parameters]
    options: type[Parameters]
    segments: tuple[SegmentSpec, ...]
    knowledge: tuple[str, ...] = ()
    summary: str = ""
    header_fields: Callable[[Any], dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        """Raise InvalidInput if a field of the header or of the options has no default."""
        for kind in (self.header, self.options):
            if needy := [name for name, field in kind.model_fields.items() if field.is_required()]:
                raise InvalidInput(f"{self.name}: {kind.__name__}.{needy[0]} has no default; all fields need one")

    def header_template(self, options: Parameters) -> Parameters:
        """Return the codec header as far as the codec's options determine it.

        Fields that both have are copied, unless the option is None. `header_fields` gives others that follow from the
        options, and the rest have their defaults.
        """
        derived = self.header_fields(options) if self.header_fields else {}
        return self.header(**shared_values(options, self.header.model_fields) | derived)


def shared_values(source: Parameters, names: Collection[str]) -> dict[str, Any]:
    """Return the values of those fields of a header or of options that have one of the names, and are not None."""
    return {name: value for name, value in source if name in names and value is not None}


SYSTEMS: Registry[System] = Registry("codec", "gocom.common.systems")


def first_message(
    goal: Goal, codec: str, header: Parameters, size_px: tuple[int, int], segments: Sequence[Segment]
) -> GoMessage:
    """Return the message of a first round.

    Args:
        goal: options and limits of the frame.
        codec: name of the codec.
        header: the codec's header.
        size_px: width and height of the image.
        segments: the segments, in wire order.
    """
    position = _own_position(goal, codec, size_px, segments)
    return GoMessage(codec, header, *size_px, tuple(segments), goal.frame_index, 0, goal.rounds, position=position)


def first_position(goal: Goal, message: GoMessage) -> StreamPosition:
    """Return what the header of a first round can rely on: the message's own position, or that of its goal."""
    size_px = message.width_px, message.height_px
    return message.position or _own_position(goal, message.codec, size_px, message.segments)


def _own_position(goal: Goal, codec: str, size_px: tuple[int, int], segments: Sequence[Segment]) -> StreamPosition:
    last_frame = goal.frame_index - 1 if goal.last_frame is None else goal.last_frame
    if goal.defaults is not None:
        return StreamPosition(goal.defaults, last_frame)
    forms = tuple(segment.form for segment in segments)
    template = SYSTEMS.get(codec).header_template(goal.options)
    return StreamPosition(FrameDefaults(codec, template, *size_px, forms, goal.rounds), last_frame)


def spec_of(codec: str, kind: int) -> SegmentSpec:
    """Return the specification of a codec's segment. Raise InvalidInput if the codec has no segment of this kind."""
    segments = SYSTEMS.get(codec).segments
    if not 0 <= kind < len(segments):
        names = ", ".join(f"{i} ({s.name})" for i, s in enumerate(segments))
        raise InvalidInput(f"segments.kind: {codec} has no segment {kind}; it has {names}")
    return segments[kind]


def system_file(name: str) -> str:
    """Return the name, without suffix, of the files that define a codec's system, encoder and decoder; "" if unknown.

    The three files have the same name, so it is that of the module which defines the codec's header.
    """
    return SYSTEMS.get(name).header.__module__.rpartition(".")[2] if name in SYSTEMS else ""
