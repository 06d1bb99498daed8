"""Rows to statistics: the unit is the picture. Mean over seeds first, then 95 % bootstrap over pictures.

Two methods are compared by the interval of their difference over the pictures that both have.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np

from gocom.common.systems.classical import CLASSICAL_CODECS
from gocom.evaluation.compare.axes import Axis, Kind, axis_of
from gocom.evaluation.compare.cells import SEGMENT, Cell, averaged
from gocom.evaluation.compare.decide import LEVEL, holm, p_value
from gocom.evaluation.compare.methods import Protection
from gocom.evaluation.compare.metrics import METRICS, Metric
from gocom.evaluation.compare.rows import Row
from gocom.evaluation.measure.judge import RESAMPLES, Interval, interval, paired

OVERSPENT = 1.05
"""A method that takes more than so many times the bytes of the semantic one does not compete with it: at equal bytes it
has nothing to show. (Retransmissions meet their bytes in the mean over losses that did not happen, not exactly.)"""


@dataclass(frozen=True, slots=True)
class Kept:
    """A method's codec and protection, and whether its file must arrive whole."""

    codec: str
    protection: str
    classical: bool

    @property
    def group(self) -> str:
        """Methods of a group belong in one panel."""
        return self.protection if self.classical else ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Who is best.

    Attributes:
        best: the best mean.
        runner_up: the second; None: there is no other.
        difference: best minus runner-up, paired; None: there is no other, or no picture that both have.
        level: the best and all that cannot be told from it; empty: the best has won against all others.
    """

    best: str
    runner_up: str | None
    difference: Interval | None
    level: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Standing:
    """A semantic codec against the classical methods: "won" against each, "lost" to some (margins: theirs minus its;
    Holm's correction for how many they are) or "level"."""

    outcome: str
    beaten_by: tuple[tuple[str, Interval], ...] = ()


@dataclass(frozen=True, slots=True)
class Step:
    """From one rate of a method to the next: paired differences, and bytes per unit of gain; None: no clear gain."""

    start: Cell
    end: Cell
    more_bytes: Interval
    gain: Interval
    price: Interval | None


class Results:
    """Rows of results.csv and of timings.csv, averaged over seeds.

    Attributes:
        rows: as they were given.
        capped: how many had an infinite PSNR, taken as 100 dB.
        methods, sets, rates, channels: in the order of tables.
        promised: packet erasure rate by channel, closed form.
    """

    def __init__(self, rows: Sequence[Row], timings: Sequence[Row] = (), order: Sequence[str] = ()) -> None:
        self.rows, self.timings = list(rows), list(timings)
        self.capped = sum(row["psnr_db"] == float("inf") for row in self.rows)
        self.methods: dict[str, Kept] = {}
        for row in sorted(self.rows, key=lambda row: _place(order, row["method"])):
            codec, protection = row["codec"], row["protection"]
            self.methods.setdefault(row["method"], Kept(codec, protection, codec in CLASSICAL_CODECS))
        self.sets: list[str] = list(dict.fromkeys(row["set"] for row in self.rows))
        self.rates: list[float | None] = sorted(
            {row["rate_bpp"] for row in self.rows}, key=lambda r: (r is None, r or 0)
        )
        self.promised: dict[str, float] = {row["channel"]: row["packet_erasure_rate"] for row in self.rows}
        self.axes: dict[str, Axis] = {channel: axis_of(channel, loss) for channel, loss in self.promised.items()}
        self.channels: list[str] = sorted(self.promised, key=lambda channel: _order(self.axes[channel]))
        self._values = averaged(self.rows, self.timings)
        self._intervals: dict[tuple[Any, ...], Interval | None] = {}

    @cached_property
    def semantic(self) -> list[str]:
        """Methods that degrade."""
        return [name for name, kept in self.methods.items() if not kept.classical]

    @cached_property
    def classical(self) -> list[str]:
        """Methods whose file must arrive whole."""
        return [name for name, kept in self.methods.items() if kept.classical]

    @cached_property
    def one_transmission(self) -> list[str]:
        """Methods that need no way back: all but those with retransmissions."""
        return [name for name, kept in self.methods.items() if kept.protection != Protection.ARQ]

    def channels_of(self, *kinds: Kind) -> list[str]:
        """Channels of these kinds, those of one family together and by their place on the axis."""
        return [channel for channel in self.channels if self.axes[channel].kind in kinds]

    def has(self, set_name: str, field: str) -> bool:
        """Whether a row of the set has the field."""
        return any(field in fields for cell, fields in self._values.items() if cell.set == set_name)

    def metrics(self, set_name: str) -> list[Metric]:
        """Those that the set has."""
        return [metric for metric in METRICS if self.has(set_name, metric.field)]

    def rates_of(self, set_name: str) -> list[float | None]:
        """Rates at which the set was sent."""
        return [rate for rate in self.rates if any(c.set == set_name and c.rate_bpp == rate for c in self._values)]

    @property
    def cells(self) -> list[Cell]:
        """All that there are."""
        return list(self._values)

    def packets(self, channel: str) -> tuple[int, int]:
        """(sent, lost) over a channel, everything together."""
        rows = [row for row in self.rows if row["channel"] == channel]
        return sum(row["packets_sent"] for row in rows), sum(row["packets_lost"] for row in rows)

    def pictures(self, cell: Cell, field: str) -> dict[str, float]:
        """Picture -> mean over seeds; empty: nothing there."""
        return self._values.get(cell, {}).get(field, {})

    def segments(self, cell: Cell) -> list[str]:
        """Names of the segments that a cell's frames had, in the order they came."""
        return [field.removeprefix(SEGMENT) for field in self._values.get(cell, {}) if field.startswith(SEGMENT)]

    def average(self, cell: Cell, field: str) -> Interval | None:
        """Mean over pictures with its interval; None: no row has it."""
        key = (cell, field)
        if key not in self._intervals:
            values = self.pictures(*key)
            self._intervals[key] = interval(list(values.values())) if values else None
        return self._intervals[key]

    def difference(self, a: Cell, b: Cell, field: str) -> Interval | None:
        """a minus b over the pictures that both have; None: there is none."""
        key = (a, b, field)
        if key not in self._intervals:
            first, second = self._both(a, b, field)
            self._intervals[key] = paired(first, second) if first else None
        return self._intervals[key]

    def _both(self, a: Cell, b: Cell, field: str) -> tuple[list[float], list[float]]:
        first, second = self.pictures(a, field), self.pictures(b, field)
        both = [picture for picture in first if picture in second]
        return [first[picture] for picture in both], [second[picture] for picture in both]

    def better(self, a: Cell, b: Cell, metric: Metric) -> int:
        """1: a is better, -1: b is, by both tests of the difference; 0: they cannot be told apart.

        The bootstrap's is too narrow for a dozen pictures: it tells one in ten equals apart, with Student's one in 20.
        """
        found = self.difference(a, b, metric.field)
        if found is None or found[1] <= 0 <= found[2] or self.p_value(a, b, metric) >= LEVEL:
            return 0
        return 1 if (found[0] > 0) == metric.higher else -1

    def p_value(self, a: Cell, b: Cell, metric: Metric) -> float:
        """Student's, of no difference."""
        return p_value(np.subtract(*self._both(a, b, metric.field)))

    def byte_ratio(self, cell: Cell, other: str) -> float | None:
        """Mean bytes of a cell over those of another method there; None: one is missing."""
        theirs, base = self.average(cell, "bytes_total"), self.average(cell._replace(method=other), "bytes_total")
        return theirs[0] / base[0] if theirs and base and base[0] else None

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

    def verdict(self, place: Cell, metric: Metric, among: Sequence[str] = ()) -> Verdict | None:
        """Who is best at a place (its method does not matter) of all methods (or those `among`) that are within their
        bytes; None: nobody was there."""
        if not self.semantic and place.rate_bpp is None:
            return None  # nobody set the bytes
        everybody = [place._replace(method=name) for name in self.methods if not among or name in among]
        cells = self._different([cell for cell in everybody if not self.overspent(cell)], metric)
        means = {cell: found[0] for cell in cells if (found := self.average(cell, metric.field))}
        if not means:
            return None
        best, *others = sorted(means, key=lambda cell: -means[cell] if metric.higher else means[cell])
        if not others:
            return Verdict(best.method, None, None)
        difference = self.difference(best, others[0], metric.field)
        level = [other.method for other in others if not self.better(best, other, metric)]
        return Verdict(best.method, others[0].method, difference, (best.method, *level) if level else ())

    def _different(self, cells: Sequence[Cell], metric: Metric) -> list[Cell]:
        """Without those that are an earlier one again: where nothing is lost, protection changes nothing."""
        seen: dict[tuple[Any, ...], Cell] = {}
        for cell in cells:
            values = [tuple(self.pictures(cell, field).items()) for field in (metric.field, "bytes_total")]
            seen.setdefault((self.methods[cell.method].codec, *values), cell)
        return list(seen.values())

    def standing(self, cell: Cell, metric: Metric, among: Sequence[str] = ()) -> Standing | None:
        """A semantic codec's cell against the classical methods there (or those `among`) that are within their bytes;
        None: a side is missing."""
        named = [cell._replace(method=name) for name in self.classical if not among or name in among]
        peers = [peer for peer in named if self.pictures(peer, metric.field) and not self.overspent(peer)]
        if not peers or not self.pictures(cell, metric.field):
            return None
        outcomes = {peer: self.better(cell, peer, metric) for peer in peers}
        counts = holm([self.p_value(cell, peer, metric) for peer in peers])
        beat = [peer for peer, counted in zip(peers, counts, strict=True) if counted and outcomes[peer] < 0]
        lost = [(peer.method, self.difference(peer, cell, metric.field)) for peer in beat]
        if lost:
            by_margin = sorted(((m, d) for m, d in lost if d is not None), key=lambda pair: -abs(pair[1][0]))
            return Standing("lost", tuple(by_margin))
        return Standing("won" if all(outcome > 0 for outcome in outcomes.values()) else "level")

    def steps(self, place: Cell, metric: Metric) -> list[Step]:
        """Between neighbouring rates of a method on a channel, by its mean bytes (the place's rate does not matter)."""
        cells = [cell for rate in self.rates if self.pictures(cell := place._replace(rate_bpp=rate), metric.field)]
        cells.sort(key=lambda cell: np.mean(list(self.pictures(cell, "bytes_total").values())))
        found = []
        for start, end in pairwise(cells):
            more, gain = self.difference(end, start, "bytes_total"), self.difference(end, start, metric.field)
            if more is not None and gain is not None:
                clear = self.better(end, start, metric) == 1
                price = self.price(start, end, metric, "bytes_total") if clear else None
                found.append(Step(start, end, more, gain, price))
        return found

    def price(self, start: Cell, end: Cell, metric: Metric, field: str) -> Interval | None:
        """More of a field (bytes, seconds) over better quality, ratio of means, with a bootstrap interval; None: it is
        not there."""
        kept = [self.pictures(cell, f) for f in (metric.field, field) for cell in (start, end)]
        names = [name for name in kept[0] if all(name in values for values in kept)]
        if not names:
            return None
        values = np.array([[one[name] for name in names] for one in kept])
        gain, cost = values[1] - values[0], values[3] - values[2]
        draws = np.random.default_rng(0).integers(len(gain), size=(RESAMPLES, len(gain)))
        costs, gains = cost[draws].mean(1), gain[draws].mean(1)
        # A draw without a gain has no price; of a clear gain they are fewer than those above the interval.
        prices = np.divide(costs, gains, out=np.full(RESAMPLES, np.inf), where=gains > 0)
        low, high = np.quantile(prices, [0.025, 0.975], method="lower")
        return float(cost.mean() / gain.mean()), float(low), float(high)


def _order(axis: Axis) -> tuple[int, str, float]:
    return list(Kind).index(axis.kind), axis.family, axis.x or 0.0


def _place(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)
