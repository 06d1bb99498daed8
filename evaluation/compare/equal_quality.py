"""What the quality of a semantic codec costs others: the bytes at which they are as good, read off their curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gocom.evaluation.compare.cells import Cell
from gocom.evaluation.compare.methods import Protection
from gocom.evaluation.compare.metrics import Metric
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.compare.tables import NOTHING, Table, rate_words
from gocom.evaluation.measure.judge import RESAMPLES

Curve = npt.NDArray[np.float64]


def equal_quality(results: Results, set_name: str, metric: Metric, channels: Sequence[str]) -> Table | None:
    """A line a channel and rate of the first semantic codec, a column a classical method; None: nothing to compare."""
    if not results.semantic:
        return None
    anchor = results.semantic[0]
    peers = [name for name in results.classical if _best_of_its_kind(results, name)]
    lines = []
    for channel in channels:
        for rate in results.rates_of(set_name):
            cell = Cell(set_name, anchor, rate, channel)
            size, seconds = results.average(cell, "bytes_total"), results.average(cell, "total_s")
            ratios = [_cell(results, cell, peer, metric) for peer in peers]
            if size is not None and any(ratio != NOTHING for ratio in ratios):
                own = f"{size[0]:.0f} bytes" + (f", {seconds[0]:.2f} s" if seconds else "")
                lines.append((results.axes[channel].label, rate_words(rate), own, *ratios))
    if not lines:
        return None
    notes = (
        f"How many times the bytes of {anchor} another method needs for the same mean ({metric.title}), interpolated "
        "between its rates, with a 95 % bootstrap interval over pictures. Below 1: it is cheaper. With < even its "
        "fewest bytes are enough, with > even its most are not: nobody had more than the semantic codec at its own "
        f"rate. {_seconds(results, set_name, channels, peers)}",
    )
    title = f"{set_name}: bytes for equal quality ({metric.title})"
    return Table(title, notes, ("lost", "rate", anchor, *peers), tuple(lines))


def _best_of_its_kind(results: Results, name: str) -> bool:
    """Without protection only where the codec is not protected in any other way: it would say little over losses."""
    kept = results.methods[name]
    others = {other.protection for other in results.methods.values() if other.codec == kept.codec}
    return kept.protection != Protection.NONE or others == {Protection.NONE.value}


def _seconds(results: Results, set_name: str, channels: Sequence[str], peers: Sequence[str]) -> str:
    """What the others take, all together."""
    found = [
        taken[0]
        for name in peers
        for rate in results.rates_of(set_name)
        for channel in channels
        if (taken := results.average(Cell(set_name, name, rate, channel), "total_s"))
    ]
    return f"The others take {min(found):.3f} to {max(found):.3f} s a picture, round trips apart." if found else ""


def _cell(results: Results, cell: Cell, peer: str, metric: Metric) -> str:
    """ "0.42 (0.38 to 0.47)"."""
    theirs = [cell._replace(method=peer, rate_bpp=rate) for rate in results.rates_of(cell.set)]
    theirs = [one for one in theirs if results.pictures(one, metric.field)]
    own = results.pictures(cell, metric.field)
    names = [name for name in own if all(name in results.pictures(one, metric.field) for one in theirs)]
    if not theirs or not names:
        return NOTHING
    sign = 1.0 if metric.higher else -1.0
    wanted, spent = (np.array([results.pictures(cell, f)[n] for n in names]) for f in (metric.field, "bytes_total"))
    quality, size = (
        np.array([[results.pictures(one, f)[n] for n in names] for one in theirs])
        for f in (metric.field, "bytes_total")
    )
    draws = np.random.default_rng(0).integers(len(names), size=(RESAMPLES // 10, len(names)))
    rows = np.vstack([np.arange(len(names)), draws])
    means = zip(sign * wanted[rows].mean(1), sign * quality[:, rows].mean(2).T, size[:, rows].mean(2).T, strict=True)
    found = [bytes_at(*each) for each in means] / spent[rows].mean(1)
    low, high = np.quantile(found[1:], [0.025, 0.975], method="nearest")
    return words_of(found[0], float(low), float(high), size.mean(1) / spent.mean())


def bytes_at(wanted: float, quality: Curve, size: Curve) -> float:
    """Bytes at which a curve reaches a quality, along a line between its points; 0: below its first, inf: above all.

    Args:
        wanted: the quality, more being better.
        quality: float64 [R], of its points; what is worse than a cheaper point does not count.
        size: float64 [R], their bytes.
    """
    order = np.argsort(size, kind="stable")
    size, quality = size[order], np.maximum.accumulate(quality[order])
    if wanted <= quality[0]:
        return 0.0
    if wanted > quality[-1]:
        return float("inf")
    right = int(np.searchsorted(quality, wanted))
    share = (wanted - quality[right - 1]) / (quality[right] - quality[right - 1])
    return float(size[right - 1] + share * (size[right] - size[right - 1]))


def words_of(ratio: float, low: float, high: float, ends: Curve) -> str:
    """A ratio and its interval; beyond the curve the end of it."""

    def one(value: float) -> str:
        if value == 0:
            return f"<{ends.min():.2f}"
        return f">{ends.max():.2f}" if value == float("inf") else f"{value:.2f}"

    if ratio in (0, float("inf")):
        return one(ratio)
    return f"{one(ratio)} ({one(low)} to {one(high)})"
