"""The best RaptorQ redundancy for a file on a channel: which file, and how many repair packets, within a budget.

    numbers of repair packets x file sizes --> chance to decode (fates.py) --> score to expect --> the best

Smaller pictures and lower qualities are weighed also where better ones fit: fewer packets can get lost.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.common.types import Bools
from gocom.evaluation.compare.fates import Fates
from gocom.evaluation.compare.files import Files, Point
from gocom.evaluation.compare.sizes import Sizes

MAX_OVERHEAD = 8
"""Repair packets for each source packet; no codec takes more."""
_NOT_SOLVED = 1 / 256
"""Chance that RaptorQ fails with K packets; with each one more 256 times less (RFC 6330)."""
_REPAIRS, _SIZES = 64, 24
"""Numbers of repair packets, and of source packets, that are weighed at most; of more an even choice."""


@dataclass(frozen=True, slots=True)
class Protected:
    """A file with repair packets.

    Attributes:
        point: what the file is made with.
        file_bytes: of the file.
        source_packets, repair_packets: how many.
        decodes: chance that the file arrives, 0 to 1.
        score: to expect, a grey picture taken where it does not.
    """

    point: Point
    file_bytes: int
    source_packets: int
    repair_packets: int
    decodes: float = math.nan
    score: float = math.nan

    @property
    def settings(self) -> dict[str, Any]:
        """Options of the codec that make it send exactly so many repair packets."""
        if not self.repair_packets:
            return self.point.settings
        return {**self.point.settings, "repair_overhead": self.repair_packets / self.source_packets}


def best_protection(files: Files, fates: Fates, budget_bytes: int | None, grey: float) -> Protected | None:
    """Scale, quality and repair packets with the best score to expect; None: not even the smallest file fits.

    Of equals the one with the fewest repair packets, of these the largest picture, and then the highest quality. At one
    scale scores are taken to rise with quality: of files of as many packets the best is weighed, and what cannot be the
    best of all is neither decoded nor scored. PSNR does nearly so; what that misses are hundredths of a dB. It is never
    worse than no repair packets.

    Args:
        files: of the codec.
        fates: the channel.
        budget_bytes: every byte counted; None: no limit, and the codec's own scale and quality.
        grey: score where the file does not arrive.
    """
    options = _options(files, budget_bytes)
    if not options:
        return None
    chance = _chances(options, files.sizes(), fates)
    scale, quality = np.array([option.point for option in options]).T
    # The score itself where it is known, else that of the next better file of that scale that is.
    score, known = np.full(len(options), np.inf), np.zeros(len(options), bool)
    look_at = [int(np.where(scale == each, quality, -1).argmax()) for each in np.unique(scale)]
    while True:
        for index in look_at:
            found = files.score(options[index].point)
            below = (scale == scale[index]) & (quality <= quality[index])
            same = below & (quality == quality[index])
            score = np.where(same, found, np.where(below & ~known, np.minimum(score, found), score))
            known |= same
        expected = chance * score + (1 - chance) * grey
        best = int(expected.argmax())
        if known[best]:
            return replace(options[best], decodes=float(chance[best]), score=float(expected[best]))
        look_at = [best]


def _chances(options: list[Protected], sizes: Sizes, fates: Fates) -> npt.NDArray[np.float64]:
    """float64 [n]: that the file arrives, were every packet as large as it is."""
    lengths = sorted({(option.file_bytes, option.repair_packets > 0) for option in options})
    full = np.array([sizes.payload_bytes(protected) for _, protected in lengths])
    length = np.array([file_bytes for file_bytes, _ in lengths])
    number = (length - 1) // full
    last = dict(zip(lengths, fates.alone(number, length - number * full, full).T, strict=True))
    most = max(option.source_packets + option.repair_packets for option in options)
    return np.array([_chance(o, sizes, fates, last[o.file_bytes, o.repair_packets > 0], most) for o in options])


def _chance(option: Protected, sizes: Sizes, fates: Fates, last: Bools, most: int) -> float:
    """For one option; `last`: bool [DRAWS], whether its last source packet arrives."""
    source, repair = option.source_packets, option.repair_packets
    plain, protected, symbols = fates.undamaged(most, sizes.full_packets)
    came = (protected if repair else plain)[:, source - 1] + last
    if not repair:
        return float((came == source).mean())
    if source == 1:
        (symbols,) = fates.undamaged(most, (option.file_bytes,))
    extra = came + symbols[:, source + repair] - symbols[:, source] - source
    fails = 0.0 if source == 1 else _NOT_SOLVED ** (1.0 + np.maximum(extra, 0))
    return float(np.where(came == source, 1.0, np.where(extra < 0, 0.0, 1 - fails)).mean())


def _options(files: Files, budget_bytes: int | None) -> list[Protected]:
    """By number of repair packets, then by scale, from the best file down."""
    sizes = files.sizes()
    lowest = files.file_bytes(files.default if budget_bytes is None else files.floor)
    most = MAX_OVERHEAD * sizes.source_packets(lowest, True)
    if budget_bytes is not None:
        most = budget_bytes // sizes.repair_bytes(lowest)
    found: list[Protected] = []
    for repair in _spread(0, most, _REPAIRS):
        if budget_bytes is None:
            points = [files.default]
        else:
            tops = files.tops(sizes.fits(budget_bytes, repair))
            points = [point for top in tops for point in _shorter(files, top, repair > 0)]
        for point in points:
            file_bytes = files.file_bytes(point)
            source = sizes.source_packets(file_bytes, repair > 0)
            if repair <= MAX_OVERHEAD * source:
                found.append(Protected(point, file_bytes, source, repair))
    return found


def _shorter(files: Files, top: Point, protected: bool) -> list[Point]:
    """This one, and the best files of its scale that are some packets shorter, downwards."""
    sizes, full = files.sizes(), files.sizes().payload_bytes(protected)
    lowest = min(top, files.lowest(top.scale))
    fewest, most = (sizes.source_packets(files.file_bytes(point), protected) for point in (lowest, top))
    found = {top}
    for count in _spread(fewest, most - 1, _SIZES):
        point = files.within(top.scale, count * full)
        if point is not None and point < top:
            found.add(point)
    return sorted(found, reverse=True)


def _spread(first: int, last: int, most: int) -> list[int]:
    """first, first + 1, ... last; evenly thinned where they are more than `most`."""
    if last < first:
        return []
    return [int(n) for n in np.unique(np.linspace(first, last, min(last - first + 1, most)).round())]
