"""Sets of pictures: which of them an experiment takes, cut to one size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from gocom.common.errors import InvalidInput
from gocom.common.image_files import Sample, read_samples, square_crop
from gocom.evaluation.experiment.experiment import Experiment

SIDE_PX = 256
_MOST = 5000
"""Pictures of a set that are kept at hand: 1 GB."""


@dataclass(frozen=True, slots=True)
class Cut:
    """A picture of a set: its name, uint8 [256, 256, 3], and its class if it has one."""

    name: str
    pixels: npt.NDArray[np.uint8]
    label: int | None


class PictureSets:
    """The sets that experiments take their pictures from.

    Args:
        sources: folder or tar by set.
        limit: at most so many pictures of a set; None: as many as an experiment wants.

    Raises:
        InvalidInput: a set has no picture that can be read, more than 5000, or two of one name.
    """

    def __init__(self, sources: Mapping[str, Path], limit: int | None = None) -> None:
        self.sources, self.limit = dict(sources), limit
        self.unreadable: list[str] = []
        self._cuts = {name: self._read(name, source) for name, source in self.sources.items()}

    def _read(self, name: str, source: Path) -> list[Cut]:
        found = [_cut(sample) for sample in read_samples(source, self.unreadable.append)]
        if not found:
            raise InvalidInput(f"{name}: no picture of {str(source)!r} can be read")
        if len(found) > _MOST:
            raise InvalidInput(f"{name}: {len(found)} pictures, at most {_MOST} can be studied")
        names = [cut.name for cut in found]
        if doubled := [one for one in set(names) if names.count(one) > 1]:
            raise InvalidInput(f"{name}: two pictures are called {min(doubled)!r}")
        return found

    def cut(self, name: str, index: int) -> Cut:
        """The picture at a place of a set."""
        return self._cuts[name][index]

    def content(self, name: str) -> str:
        """Digest of a set: of names, pixels and classes."""
        digest = hashlib.blake2b(digest_size=8)
        for cut in self._cuts[name]:
            digest.update(f"{cut.name}\0{cut.label}\0".encode(errors="surrogateescape") + cut.pixels.tobytes())
        return digest.hexdigest()

    def chosen(self, experiment: Experiment, name: str) -> list[int]:
        """Places of the pictures of a set that an experiment takes, spread evenly."""
        count = experiment.sets[name]
        return spread(len(self._cuts[name]), count if self.limit is None else min(count, self.limit))

    def opposite(self, name: str, index: int) -> int:
        """The place half-way round the set, however many of it are chosen: of another class where it is sorted so."""
        total = len(self._cuts[name])
        return (index + (total + 1) // 2) % total


def _cut(sample: Sample) -> Cut:
    return Cut(sample.key, np.ascontiguousarray(square_crop(sample.pixels, SIDE_PX)), sample.label)


def spread(total: int, count: int) -> list[int]:
    """`count` of range(total), evenly apart; all where there are fewer."""
    return list(range(total)) if count >= total else [i * total // count for i in range(count)]


def sizes(rows: Iterable[Mapping[str, object]]) -> str:
    """How many pictures and seeds: "24 pictures of images, 5 seeds"."""
    rows = list(rows)
    found: dict[object, set[object]] = {}
    for row in rows:
        found.setdefault(row["set"], set()).add(row["picture"])
    pictures = " and ".join(f"{len(names)} picture{'s' * (len(names) != 1)} of {of}" for of, names in found.items())
    seeds = len({row.get("seed") for row in rows} - {None})
    return pictures + (f", {seeds} seed{'s' * (seeds != 1)}" if seeds else "")
