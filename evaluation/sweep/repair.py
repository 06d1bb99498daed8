"""The best RaptorQ redundancy for a file on a channel: how good a file, and how many repair packets, within a budget.

    numbers of repair packets x file sizes --> chance to decode (fates.py) --> score to expect --> the best

Lower qualities are weighed also where a higher one fits: fewer packets can get lost.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from common.types import Bools
from evaluation.sweep.fates import Fates
from evaluation.sweep.ladder import Ladder, Sizes

MAX_OVERHEAD = 8
"""Repair packets for each source packet; no codec takes more."""
_NOT_SOLVED = 1 / 256
"""Chance that RaptorQ fails with K packets; with each one more 256 times less (RFC 6330, transmitter/recovery.py)."""
_REPAIRS, _SIZES = 64, 24
"""Numbers of repair packets, and of source packets, that are weighed at most; of more an even choice."""


@dataclass(frozen=True, slots=True)
class Protected:
    """A file with repair packets.

    Attributes:
        quality: of the file.
        source_packets, repair_packets: how many.
        decodes: chance that the file arrives, 0 to 1.
        score: to expect, a grey picture taken where it does not.
    """

    quality: int
    source_packets: int
    repair_packets: int
    decodes: float
    score: float

    @property
    def settings(self) -> dict[str, Any]:
        """Options of the codec that make it send exactly so many repair packets."""
        if not self.repair_packets:
            return {"quality": self.quality}
        return {"quality": self.quality, "repair_overhead": self.repair_packets / self.source_packets}


@dataclass(frozen=True, slots=True)
class _Option:
    quality: int
    file_bytes: int
    source_packets: int
    repair_packets: int


def best_protection(ladder: Ladder, fates: Fates, budget_bytes: int | None, grey: float) -> Protected | None:
    """Quality and number of repair packets with the best score to expect; None: not even the lowest quality fits.

    Of equals the one with the fewest repair packets, and of these the highest quality. Scores are taken to rise with
    quality: of files of as many packets the best is weighed, and what cannot be the best of all is neither decoded nor
    scored. PSNR does nearly so; what that misses are hundredths of a dB. It is never worse than no repair packets.

    Args:
        ladder: the files.
        fates: the channel.
        budget_bytes: every byte counted; None: no limit, and the codec's own quality.
        grey: score where the file does not arrive.
    """
    options = _options(ladder, budget_bytes)
    if not options:
        return None
    chance = _chances(options, ladder.sizes(), fates)
    quality = np.array([option.quality for option in options])
    # The score itself where it is known, else that of the next better file that is.
    score, known = np.full(len(options), np.inf), np.zeros(len(options), bool)
    best = int(quality.argmax())
    while not known[best]:
        same = quality == quality[best]
        found = ladder.score(int(quality[best]))
        score = np.where(same, found, np.where(quality < quality[best], np.minimum(score, found), score))
        known |= same
        expected = chance * score + (1 - chance) * grey
        best = int(expected.argmax())
    chosen = options[best]
    return Protected(
        chosen.quality, chosen.source_packets, chosen.repair_packets, float(chance[best]), float(expected[best])
    )


def _chances(options: list[_Option], sizes: Sizes, fates: Fates) -> npt.NDArray[np.float64]:
    """float64 [n]: that the file arrives, were every packet as large as it is."""
    files = sorted({(option.file_bytes, option.repair_packets > 0) for option in options})
    full = np.array([sizes.payload_bytes(protected) for _, protected in files])
    length = np.array([file_bytes for file_bytes, _ in files])
    number = (length - 1) // full
    last = dict(zip(files, fates.alone(number, length - number * full, full).T, strict=True))
    most = max(option.source_packets + option.repair_packets for option in options)
    return np.array([_chance(o, sizes, fates, last[o.file_bytes, o.repair_packets > 0], most) for o in options])


def _chance(option: _Option, sizes: Sizes, fates: Fates, last: Bools, most: int) -> float:
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


def _options(ladder: Ladder, budget_bytes: int | None) -> list[_Option]:
    """By number of repair packets, then from the best file down."""
    sizes = ladder.sizes()
    lowest = ladder.file_bytes(ladder.default if budget_bytes is None else ladder.lowest)
    most = MAX_OVERHEAD * sizes.source_packets(lowest, True)
    if budget_bytes is not None:
        most = budget_bytes // sizes.repair_bytes(lowest)
    found: list[_Option] = []
    for repair in _spread(0, most, _REPAIRS):
        top = ladder.plain(budget_bytes, repair)
        if top is None:
            break
        files = [top] if budget_bytes is None else _files(ladder, top, repair > 0)
        for quality in files:
            file_bytes = ladder.file_bytes(quality)
            source = sizes.source_packets(file_bytes, repair > 0)
            if repair <= MAX_OVERHEAD * source:
                found.append(_Option(quality, file_bytes, source, repair))
    return found


def _files(ladder: Ladder, top: int, protected: bool) -> list[int]:
    """This quality, and those of the best files that are some packets shorter, downwards."""
    sizes, full = ladder.sizes(), ladder.sizes().payload_bytes(protected)
    fewest, most = (sizes.source_packets(ladder.file_bytes(q), protected) for q in (ladder.lowest, top))
    found = {top}
    for count in _spread(fewest, most - 1, _SIZES):
        quality = ladder.best(partial(operator.ge, count * full))
        if quality is not None and quality < top:
            found.add(quality)
    return sorted(found, reverse=True)


def _spread(first: int, last: int, most: int) -> list[int]:
    """first, first + 1, ... last; evenly thinned where they are more than `most`."""
    if last < first:
        return []
    return [int(n) for n in np.unique(np.linspace(first, last, min(last - first + 1, most)).round())]
