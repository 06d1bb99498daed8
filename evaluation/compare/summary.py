"""Rows to statistics: the unit is the picture (measure/statistics.py), and who is better than whom.

One metric of one set is a family: whatever the page says of it, over all rates and channels, is corrected together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np

from gocom.common.systems.classical import CLASSICAL_CODECS
from gocom.evaluation.compare.axes import Axis, Kind, axis_of
from gocom.evaluation.compare.cells import SEGMENT, Cell, averaged
from gocom.evaluation.compare.methods import Protection
from gocom.evaluation.compare.rows import Row
from gocom.evaluation.measure.metrics import METRICS, Metric
from gocom.evaluation.measure.statistics import Interval, holm, interval, p_value, paired

OVERSPENT = 1.05
"""A method that takes more than so many times the bytes of the semantic one does not compete with it: at equal bytes it
has nothing to show. (Retransmissions meet their bytes in the mean over losses that did not happen, not exactly.)"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A method's codec and protection, and whether its file must arrive whole."""

    codec: str
    protection: str
    classical: bool


class Results:
    """Rows of results.csv and of timings.csv, averaged over seeds.

    Attributes:
        rows: as they were given.
        methods, sets, rates, channels: in the order of tables.
        semantic, classical: methods that degrade, and those whose file must arrive whole.
        axes: where each channel lies.
    """

    def __init__(self, rows: Sequence[Row], timings: Sequence[Row] = (), order: Sequence[str] = ()) -> None:
        self.rows = list(rows)
        self.methods: dict[str, Kept] = {}
        for row in sorted(self.rows, key=lambda row: _place(order, row["method"])):
            codec, protection = row["codec"], row["protection"]
            self.methods.setdefault(row["method"], Kept(codec, protection, codec in CLASSICAL_CODECS))
        self.semantic = [name for name, kept in self.methods.items() if not kept.classical]
        self.classical = [name for name, kept in self.methods.items() if kept.classical]
        self.sets: list[str] = list(dict.fromkeys(row["set"] for row in self.rows))
        self.rates: list[float | None] = sorted(
            {row["rate_bpp"] for row in self.rows}, key=lambda r: (r is None, r or 0)
        )
        losses = {row["channel"]: row["packet_erasure_rate"] for row in self.rows}
        self.axes: dict[str, Axis] = {channel: axis_of(channel, loss) for channel, loss in losses.items()}
        self.channels: list[str] = sorted(self.axes, key=lambda channel: _order(self.axes[channel]))
        self._values = averaged(self.rows, timings)
        self._families: dict[tuple[str, str], dict[tuple[Cell, Cell], int]] = {}

    def channels_of(self, *kinds: Kind) -> list[str]:
        """Channels of these kinds, those of one family together and by their place on the axis."""
        return [channel for channel in self.channels if self.axes[channel].kind in kinds]

    def metrics(self, set_name: str) -> list[Metric]:
        """Those that a row of the set has."""
        there = {field for cell, fields in self._values.items() if cell.set == set_name for field in fields}
        return [metric for metric in METRICS if metric.field in there]

    def rates_of(self, set_name: str) -> list[float | None]:
        """Rates at which the set was sent."""
        return [rate for rate in self.rates if any(c.set == set_name and c.rate_bpp == rate for c in self._values)]

    def pictures(self, cell: Cell, field: str) -> dict[str, float]:
        """Picture -> mean over seeds; empty: nothing there."""
        return self._values.get(cell, {}).get(field, {})

    def segments(self, cell: Cell) -> list[str]:
        """Names of the segments that a cell's frames had, in the order they came."""
        return [field.removeprefix(SEGMENT) for field in self._values.get(cell, {}) if field.startswith(SEGMENT)]

    def average(self, cell: Cell, field: str) -> Interval | None:
        """Mean over pictures with its interval; None: no row has it."""
        values = self.pictures(cell, field)
        return interval(list(values.values())) if values else None

    def mean(self, cell: Cell, field: str) -> float:
        """Mean over pictures; 0: no row has it."""
        return found[0] if (found := self.average(cell, field)) else 0.0

    def difference(self, a: Cell, b: Cell, field: str) -> Interval | None:
        """a minus b over the pictures that both have; None: there is none."""
        first, second = self._both(a, b, field)
        return paired(first, second) if first else None

    def _both(self, a: Cell, b: Cell, field: str) -> tuple[list[float], list[float]]:
        first, second = self.pictures(a, field), self.pictures(b, field)
        both = [picture for picture in first if picture in second]
        return [first[picture] for picture in both], [second[picture] for picture in both]

    def overspent(self, cell: Cell) -> bool:
        """Whether a method took more than 1.05 times its bytes, those of the first semantic codec if there is one; and
        not by luck: clearly so, or because even the least that it can do is too much.

        Retransmissions meet their bytes in expectation: luck alone, of a few pictures, is not held against them.
        """
        if not self.semantic or cell.method == self.semantic[0]:
            return False
        theirs, base = self._both(cell, cell._replace(method=self.semantic[0]), "bytes_total")
        over = np.subtract(theirs, np.multiply(OVERSPENT, base))
        if not len(over) or over.mean() <= 0:
            return False
        return any(self.pictures(cell, "at_floor").values()) or interval(over)[1] > 0

    def better(self, a: Cell, b: Cell, metric: Metric) -> int:
        """1: a is better, -1: b is; 0: they cannot be told apart (or the page does not ask).

        By the paired t test over pictures with Holm's correction within the family: the metric in this set. What is
        asked there, at each rate and channel: the best against each other, with and without those that need a way
        back, and a semantic codec against each classical method.
        """
        key = (a.set, metric.field)
        if key not in self._families:
            pairs = list(dict.fromkeys(self._asked(a.set, metric)))
            counts = holm([p_value(*self._both(*pair, metric.field)) for pair in pairs])
            self._families[key] = {
                pair: self._sign(*pair, metric) if counted else 0 for pair, counted in zip(pairs, counts, strict=True)
            }
        family = self._families[key]
        return family[a, b] if (a, b) in family else -family.get((b, a), 0)

    def _asked(self, set_name: str, metric: Metric) -> Iterator[tuple[Cell, Cell]]:
        order = list(self.methods)
        for rate, channel, once in product(self.rates_of(set_name), self.channels, (False, True)):
            ranked = self._ranked(Cell(set_name, "", rate, channel), metric, once)
            leading = [*ranked[:1], *(cell for cell in ranked if cell.method in self.semantic)]
            for a, b in product(leading, ranked):
                if a != b:  # in one order, so that a pair is counted once
                    yield (a, b) if order.index(a.method) < order.index(b.method) else (b, a)

    def _sign(self, a: Cell, b: Cell, metric: Metric) -> int:
        found = self.difference(a, b, metric.field)
        return 1 if found and (found[0] > 0) == metric.higher else -1

    def _ranked(self, place: Cell, metric: Metric, once: bool) -> list[Cell]:
        """Who competes at a place (its method does not matter), the best mean first: methods that are within their
        bytes, and if `once` need no way back. One that is an earlier one again is left out: where nothing is lost,
        protection changes nothing."""
        if not self.semantic and place.rate_bpp is None:
            return []  # nobody set the bytes
        seen: dict[tuple[Any, ...], Cell] = {}
        for name, kept in self.methods.items():
            cell = place._replace(method=name)
            values = [tuple(self.pictures(cell, field).items()) for field in (metric.field, "bytes_total")]
            if values[0] and not (once and kept.protection == Protection.ARQ) and not self.overspent(cell):
                seen.setdefault((kept.codec, *values), cell)
        return sorted(seen.values(), key=lambda c: self.mean(c, metric.field) * (-1 if metric.higher else 1))

    def leaders(self, place: Cell, metric: Metric, once: bool = False) -> list[str]:
        """The best at a place and what cannot be told from it, if there is another to win against."""
        ranked = self._ranked(place, metric, once)
        best = ranked[:1] if len(ranked) > 1 else []
        return [cell.method for cell in ranked if best and (cell in best or not self.better(best[0], cell, metric))]

    def _peers(self, cell: Cell, metric: Metric, once: bool) -> list[Cell]:
        """The classical methods that compete there, the best mean first."""
        return [peer for peer in self._ranked(cell, metric, once) if peer.method in self.classical]

    def rival(self, cell: Cell, metric: Metric, once: bool = False) -> tuple[Cell, Interval] | None:
        """The best of the classical methods there, and the cell minus it; None: there is none."""
        peers = self._peers(cell, metric, once)
        found = self.difference(cell, peers[0], metric.field) if peers else None
        return None if found is None else (peers[0], found)

    def standing(self, cell: Cell, metric: Metric, once: bool = False) -> str | None:
        """A semantic codec against the classical methods there: "won" (better than each), "lost" (at least one is
        better) or "level"; None: a side is missing."""
        peers = self._peers(cell, metric, once)
        if not peers or not self.pictures(cell, metric.field):
            return None
        outcomes = [self.better(cell, peer, metric) for peer in peers]
        return "lost" if min(outcomes) < 0 else "won" if min(outcomes) > 0 else "level"


def _order(axis: Axis) -> tuple[int, str, float]:
    return list(Kind).index(axis.kind), axis.family, axis.x or 0.0


def _place(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)
