"""What a dB or a point of accuracy costs, in bytes and in seconds."""

from __future__ import annotations

from collections.abc import Sequence

from gocom.evaluation.compare.cells import Cell
from gocom.evaluation.compare.metrics import METRIC, Metric
from gocom.evaluation.compare.summary import Results, Step
from gocom.evaluation.compare.tables import NOTHING, Table, rate_words, words
from gocom.evaluation.measure.judge import Interval


def costs(results: Results, set_name: str, channels: Sequence[str], field: str) -> Table | None:
    """A line a channel, method and step from one rate to the next; None: the set has no such metric.

    Args:
        field: "psnr_db", "correct", "correct_10" or "agrees".
    """
    metric = METRIC[field]
    lines = [
        line
        for channel in channels
        for name in results.methods
        for line in _lines(results, Cell(set_name, name, None, channel), metric)
    ]
    if not lines:
        return None
    one = "dB" if metric.unit == "dB" else "point"
    notes = (
        f"From one rate of a method to its next: more bytes over more {one}s, ratio of means over the same pictures. A "
        "method that begins badly has cheap steps: what equal quality costs is in the table above. "
        f"{NOTHING}: one rate only, or no gain, or no more seconds, whose interval excludes 0. Seconds are of frames "
        "that brought a picture; a semantic decoder takes fewer where more arrives and less has to be made up. Round "
        "trips are those for retransmission.",
    )
    head = (
        "lost", "method", "rate", "bytes", f"{one}s gained", f"bytes for a {one}", f"seconds for a {one}",
        "seconds a picture", "round trips",
    )  # fmt: skip
    return Table(f"{set_name}: what the next {one} costs ({metric.title})", notes, head, tuple(lines))


def _lines(results: Results, place: Cell, metric: Metric) -> list[tuple[str, ...]]:
    label = results.axes[place.channel].label
    steps = results.steps(place, metric)
    if steps:
        return [(label, place.method, *_step_cells(results, step, metric)) for step in steps]
    cells = [cell for rate in results.rates if results.pictures(cell := place._replace(rate_bpp=rate), metric.field)]
    return [
        (label, place.method, rate_words(cell.rate_bpp), words(results.average(cell, "bytes_total"), 0),
         NOTHING, NOTHING, NOTHING, *_end_cells(results, cell))
        for cell in cells
    ]  # fmt: skip


def _step_cells(results: Results, step: Step, metric: Metric) -> tuple[str, ...]:
    rates = f"{rate_words(step.start.rate_bpp)} to {rate_words(step.end.rate_bpp)}"
    before, after = (results.average(cell, "bytes_total") for cell in (step.start, step.end))
    sizes = f"{before[0]:.0f} to {after[0]:.0f}" if before and after else NOTHING
    price = words(step.price, 0 if step.price and abs(step.price[0]) >= 10 else 1)
    gain = words(step.gain, metric.digits, sign=True)
    return (rates, sizes, gain, price, _seconds_for(results, step, metric), *_end_cells(results, step.end))


def _seconds_for(results: Results, step: Step, metric: Metric) -> str:
    """Where it is clear that there are more, or fewer."""
    more: Interval | None = results.difference(step.end, step.start, "total_s")
    if more is None or step.price is None or more[1] <= 0 <= more[2]:
        return NOTHING
    return words(results.price(step.start, step.end, metric, "total_s"), 3, sign=True)


def _end_cells(results: Results, cell: Cell) -> tuple[str, str]:
    rounds = results.average(cell, "rounds")
    trips = NOTHING if rounds is None else f"{max(0.0, rounds[0] - 1):.2f}"
    return words(results.average(cell, "total_s"), 3), trips
