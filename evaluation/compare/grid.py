"""The grid of an evaluation: sets of pictures, methods, rates, channels, seeds; and the cases it comes to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from gocom.channel_emulator.chain import Chain
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import InvalidInput
from gocom.common.image_files import read_samples
from gocom.common.types import MAX_SIDE_PX, MIN_SIDE_PX, LinkSettings
from gocom.evaluation.compare.methods import Method, parse_methods, split_specs
from gocom.evaluation.experiment.pictures import spread
from gocom.evaluation.measure.judge import IMAGENETTE

LABELLED = "labelled"
"""The set whose pictures have a class of imagenette's."""
OWN = "own"
"""The rate that a codec's options come to, no budget being set."""
MAX_BPP = 24.0
_CLASSICAL_WEIGHT = 0.1
"""What a case of a classical codec takes beside one of a net."""


@dataclass(frozen=True, slots=True)
class PictureSet:
    """Pictures with what they are sent over. Raises InvalidInput naming the option.

    Attributes:
        name: "images" or "labelled".
        source: folder, picture or tar.
        limit: the first so many, spread evenly over the source; None: all.
        rates_bpp: in bits a pixel, all bytes counted; None: the codec's own choice.
        channels: specs as `gocom send --channel` takes them.
        seeds: of the channel; a channel that leaves nothing to chance gets the first one only.
    """

    name: str
    source: Path
    limit: int | None
    rates_bpp: tuple[float | None, ...]
    channels: tuple[str, ...]
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        for name, values in (("rates", self.rates_bpp), ("channels", self.channels), ("repeat", self.seeds)):
            if not values:
                raise InvalidInput(f"{name}: none given for {self.name}")
        if self.limit is not None and self.limit < 1:
            raise InvalidInput(f"count: {self.limit} pictures of {self.name}; at least 1")
        if len(set(self.channels)) < len(self.channels):
            raise InvalidInput("channels: one is given twice")
        for spec in map(parse_spec, self.channels):
            Chain.from_profile(spec)  # says what is wrong with it
            if any(fault.WhichOneof("kind") == "trace_replay" for fault in spec.impairments):
                raise InvalidInput("channels: trace_replay: who plans for it knows its losses, and not only their rate")

    def seeds_of(self, channel: str) -> tuple[int, ...]:
        """The seeds that a channel needs."""
        return self.seeds if parse_spec(channel).impairments else self.seeds[:1]

    @property
    def cases(self) -> int:
        """Cases of one picture and method."""
        return len(self.rates_bpp) * sum(len(self.seeds_of(channel)) for channel in self.channels)


@dataclass(frozen=True, slots=True)
class Task:
    """All cases of one picture by one method: what a worker does in one go.

    Attributes:
        index: of the picture in its set's source; its frame index, which keys the channel's randomness.
    """

    set: PictureSet
    index: int
    picture: str
    method: Method

    @property
    def name(self) -> str:
        """Unique in a grid, and fit for a file's name."""
        readable = "".join(c if c.isascii() and (c.isalnum() or c in "+-._") else "_" for c in self.method.name)[:60]
        digest = hashlib.blake2b(self.method.name.encode(), digest_size=4).hexdigest()
        return f"{self.set.name}-{self.index:05d}-{readable}-{digest}"

    @property
    def cases(self) -> int:
        """Rows of the results."""
        return self.set.cases

    @property
    def weight(self) -> float:
        """In cases of a net."""
        return self.cases * (_CLASSICAL_WEIGHT if self.method.classical else 1.0)


@dataclass(frozen=True, slots=True)
class Grid:
    """What is to be measured. Raises InvalidInput naming the option and its choices.

    Attributes:
        sets: of pictures.
        methods: the first one that is not classical sets the bytes that the classical ones are to match.
        size_px: pictures are cut to a centre square of this side.
        link: how packets are cut, for every method.
    """

    sets: tuple[PictureSet, ...]
    methods: tuple[Method, ...]
    size_px: int = 256
    link: LinkSettings = field(default_factory=LinkSettings)

    def __post_init__(self) -> None:
        if not self.sets:
            raise InvalidInput("images: nothing to send; give --images, --labelled or both")
        if not self.methods:
            raise InvalidInput("codecs: none given")
        if not MIN_SIDE_PX <= self.size_px <= MAX_SIDE_PX:
            raise InvalidInput(f"size: {self.size_px} is not in {MIN_SIDE_PX} to {MAX_SIDE_PX} px")

    @property
    def anchor(self) -> Method | None:
        """The method whose bytes classical ones match; None: there are only classical ones."""
        return next((method for method in self.methods if not method.classical), None)

    @property
    def cases(self) -> int:
        """Rows of the results."""
        return sum(len(chosen(pictures)) * pictures.cases for pictures in self.sets) * len(self.methods)

    @property
    def unreadable(self) -> list[str]:
        """Names of the pictures that cannot be read, and why. They are left out."""
        return [reason for pictures in self.sets for reason in _listed(pictures.source)[1]]

    @property
    def listed(self) -> int:
        """Pictures of all sources, whether they can be read or not."""
        return len(self.unreadable) + sum(len(_listed(pictures.source)[0]) for pictures in self.sets)

    def tasks(self) -> Iterator[Task]:
        """In the order of the results: set, picture, method."""
        for pictures in self.sets:
            for index, name in chosen(pictures):
                for method in self.methods:
                    yield Task(pictures, index, name, method)

    def as_record(self) -> dict[str, Any]:
        """Plain JSON types; two grids with the same one measure the same."""
        sets = [{**asdict(s), "source": s.source.name, "pictures": len(chosen(s))} for s in self.sets]
        methods = [method.name for method in self.methods]
        return {"sets": sets, "methods": methods, "size_px": self.size_px, "link": asdict(self.link)}


@cache
def chosen(pictures: PictureSet) -> list[tuple[int, str]]:
    """Index and name of each picture that is sent.

    Raises:
        InvalidInput: there is none, or two of one name; a name that is no line of text; where labels count, one that
            is not imagenette's.
    """
    samples, unreadable = _listed(pictures.source)
    if not samples:
        raise InvalidInput(f"{pictures.name}: none of {len(unreadable)} pictures can be read; {unreadable[0]}")
    names = [name for name, _ in samples]
    for name, label in samples:
        if not name.isprintable():
            raise InvalidInput(f"{pictures.name}: {name!a} cannot be a picture's name in a table")
        if pictures.name == LABELLED and label not in range(len(IMAGENETTE)):
            raise InvalidInput(f"labelled: {name!r} has class {label}; it must be 0 to {len(IMAGENETTE) - 1}")
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"{pictures.name}: two pictures are called {doubled[0]!r}")
    return [(index, names[index]) for index in spread(len(names), pictures.limit or len(names))]


@cache
def _listed(source: Path) -> tuple[list[tuple[str, int | None]], list[str]]:
    """Name and label of each picture of a source, and why which others cannot be read."""
    unreadable: list[str] = []
    return [(sample.key, sample.label) for sample in read_samples(source, unreadable.append)], unreadable


def parse_rates(text: str) -> tuple[float | None, ...]:
    """ "0.06,0.1,own" -> (0.06, 0.1, None). Raises InvalidInput."""
    found: list[float | None] = []
    for part in (p.strip() for p in text.split(",")):
        if part == OWN:
            found.append(None)
            continue
        try:
            rate = float(part)
        except ValueError:
            raise InvalidInput(f"rates: {part!r} is neither bits a pixel nor {OWN!r}") from None
        if not 0 < rate <= MAX_BPP:
            raise InvalidInput(f"rates: {rate:g} is not above 0 and at most {MAX_BPP:g} bits a pixel")
        found.append(rate)
    if len(set(found)) < len(found):
        raise InvalidInput(f"rates: {text!r} has one twice")
    return tuple(found)


def erasure_rate(channel: str, payload_bytes: int) -> float:
    """Long-run share of full packets that a channel erases."""
    return Chain.from_profile(parse_spec(channel)).csi(payload_bytes).packet_erasure_rate


def picture_set(
    name: str, source: Path, limit: int | None, rates: str, channels: str, first_seed: int, repeat: int
) -> PictureSet:
    """From what a user typed. Raises InvalidInput, UnknownName."""
    seeds = tuple(range(first_seed, first_seed + repeat))
    if seeds[-1] >= 1 << 32:  # beyond are those that operating points are chosen by
        raise InvalidInput(f"seed: {seeds[-1]} is not below 2**32")
    # Absolute: other processes may be in other folders.
    return PictureSet(name, source.absolute(), limit, parse_rates(rates), tuple(split_specs(channels)), seeds)


def make_grid(sets: Sequence[PictureSet], codecs: str, size_px: int, link: LinkSettings) -> Grid:
    """From what a user typed. Raises InvalidInput, UnknownName."""
    return Grid(tuple(sets), tuple(parse_methods(split_specs(codecs))), size_px, link)
