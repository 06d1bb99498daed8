"""What the quality of a semantic codec costs others: the bytes at which they are as good, read off their curves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from gocom.evaluation.compare.cells import Cell
from gocom.evaluation.compare.methods import Protection
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.compare.tables import rate_words
from gocom.evaluation.measure.metrics import Metric
from gocom.evaluation.report.tables import NOTHING, Table

Curve = npt.NDArray[np.float64]


def equal_quality(results: Results, set_name: str, metric: Metric, channels: Sequence[str]) -> Table | None:
    """A line a channel and rate of the first semantic codec, a column a classical method; None: nothing to compare."""
    if not results.semantic:
        return None
    anchor = results.semantic[0]
    # Without protection they would say little over losses.
    protected = [name for name in results.classical if results.methods[name].protection != Protection.NONE]
    peers = protected or results.classical
    lines = []
    for channel in channels:
        for rate in results.rates_of(set_name):
            cell = Cell(set_name, anchor, rate, channel)
            ratios = [_ratio(results, cell, peer, metric) for peer in peers]
            if set(ratios) - {NOTHING}:
                size, seconds = results.mean(cell, "bytes_total"), results.mean(cell, "total_s")
                own = f"{size:.0f} bytes" + (f", {seconds:.2f} s" if seconds else "")
                lines.append((results.axes[channel].label, rate_words(rate), own, *ratios))
    if not lines:
        return None
    notes = (
        f"How many times the bytes of {anchor} another method needs for the same mean ({metric.title}), interpolated "
        "between the means at its rates; what is read off a curve has no interval. Below 1: it is cheaper. With < even "
        "its fewest bytes are enough, with > even its most are not.",
    )
    title = f"{set_name}: bytes for equal quality ({metric.title})"
    return Table(title, notes, ("lost", "rate", anchor, *peers), tuple(lines))


def _ratio(results: Results, cell: Cell, peer: str, metric: Metric) -> str:
    """ "0.42", or beyond the curve the end of it."""
    theirs = [cell._replace(method=peer, rate_bpp=rate) for rate in results.rates_of(cell.set)]
    theirs = [one for one in theirs if results.pictures(one, metric.field)]
    own = results.mean(cell, "bytes_total")
    if not theirs or not own or not results.pictures(cell, metric.field):
        return NOTHING
    sign = 1.0 if metric.higher else -1.0
    quality = np.array([sign * results.mean(one, metric.field) for one in theirs])
    size = np.array([results.mean(one, "bytes_total") for one in theirs])
    found = bytes_at(sign * results.mean(cell, metric.field), quality, size)
    if found == 0:
        return f"<{size.min() / own:.2f}"
    return f">{size.max() / own:.2f}" if found == float("inf") else f"{found / own:.2f}"


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
    return float(np.interp(wanted, quality, size)) if wanted <= quality[-1] else float("inf")
