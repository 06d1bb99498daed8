"""What the numbers of a figure say, in plain sentences. Nothing is said that no interval decides."""

from __future__ import annotations

from collections.abc import Sequence

from gocom.evaluation.compare.axes import Kind
from gocom.evaluation.compare.cells import SEGMENT, Cell
from gocom.evaluation.compare.summary import Results, Standing
from gocom.evaluation.compare.tables import rate_words, standings, words
from gocom.evaluation.measure.judge import Interval


def standing(
    results: Results, set_name: str, channels: Sequence[str], rates: Sequence[float | None], methods: Sequence[str]
) -> list[str]:
    """Of the places drawn, how many each semantic codec of the methods wins and loses, a sentence a metric."""
    found = []
    for name in (m for m in results.semantic if m in methods):
        for metric in results.metrics(set_name):
            places = [
                (rate, channel, place)
                for rate in rates
                for channel, place in standings(results, set_name, name, rate, metric, channels, methods)
            ]
            if not places:
                continue
            won, level, lost = (sum(p.outcome == o for *_, p in places) for o in ("won", "level", "lost"))
            text = (
                f"{_capital(metric.title)}, in {len(places)} place{'' if len(places) == 1 else 's'}: {name} is better "
            )
            text += f"than every classical method shown in {won}, worse than one at least in {lost}"
            found.append(f"{text}{_where(results, places)}, level in {level}.")
    return found


def _where(results: Results, places: Sequence[tuple[float | None, str, Standing]]) -> str:
    """ " (at 5 % and 0.1 bpp by jpeg+fec)", of the losses; nothing where there are none, many, or all are lost."""
    lost = [(rate, channel, place.beaten_by[0][0]) for rate, channel, place in places if place.beaten_by]
    if not lost or len(lost) == len(places) or len(lost) > 6:
        return ""
    several = len({rate for rate, *_ in places}) > 1
    texts = [
        f"at {results.axes[channel].short}{f' and {rate_words(rate)}' if several else ''} by {by}"
        for rate, channel, by in lost
    ]
    return f" ({'; '.join(texts)})"


def falls(results: Results, set_name: str, rate: float | None, channels: Sequence[str]) -> list[str]:
    """How much each method loses in the first metric from the first channel to the last: paired differences."""
    metrics = results.metrics(set_name)
    if len(channels) < 2 or not metrics:
        return []
    metric, parts = metrics[0], []
    for name in results.methods:
        cells = [Cell(set_name, name, rate, channel) for channel in (channels[0], channels[-1])]
        change = results.difference(cells[1], cells[0], metric.field)
        if change is not None:
            parts.append(f"{name} {words(change, metric.digits, sign=True)}")
    if not parts:
        return []
    first, last = (results.axes[channel].short for channel in (channels[0], channels[-1]))
    return [f"{_capital(metric.title)} changes from {first} to {last}: {'; '.join(parts)}."]


def failures(results: Results, set_name: str) -> list[str]:
    """Who failed at the greatest loss, over all rates together, and who never did."""
    channels = results.channels_of(Kind.ERASURE)
    worst, never, always = channels[-1], [], []
    for name in results.methods:
        cells = [Cell(set_name, name, rate, channel) for rate in results.rates for channel in channels]
        shares = {cell: found[0] for cell in cells if (found := results.average(cell, "failed"))}
        if not shares:
            continue
        at_worst = [share for cell, share in shares.items() if cell.channel == worst]
        if not any(shares.values()):
            never.append(name)
        elif at_worst:
            low, high = min(at_worst), max(at_worst)
            always.append(f"{name} {low:.0f} %" if round(low) == round(high) else f"{name} {low:.0f} to {high:.0f} %")
    said = [f"Always a picture: {', '.join(never)}."] if never else []
    if always:
        said.append(f"Frames without one at {results.axes[worst].label} loss, over the rates: {', '.join(always)}.")
    return said


def sizes(results: Results, cells: Sequence[Cell]) -> list[str]:
    """What the bytes of semantic codecs are, and what repair and feedback cost the others."""
    found = []
    for cell in cells:
        total = results.average(cell, "bytes_total")
        if total is None or not total[0]:
            continue
        if cell.method in results.semantic:
            parts = [(_mean(results.average(cell, SEGMENT + name)), name) for name in results.segments(cell)]
            parts.append((_mean(results.average(cell, "bytes_header")), "header"))
            text = ", ".join(
                f"{name} {100 * mean / total[0]:.0f} %" for mean, name in sorted(parts, reverse=True) if mean
            )
            found.append(f"{cell.method} over {results.axes[cell.channel].label} loss: {total[0]:.0f} bytes, {text}.")
    return found


def seconds(results: Results, cells: Sequence[Cell]) -> list[str]:
    """The quickest and the slowest of these."""
    means = [(found[0], cell.method) for cell in cells if (found := results.average(cell, "total_s"))]
    if len(means) < 2:
        return []
    (quick, first), (slow, last) = min(means), max(means)
    label = results.axes[cells[0].channel].label
    text = f"Over {label} loss, where a picture came, {first} took {quick:.3f} s, the least, and {last} {slow:.3f} s, "
    return [f"{text}the most."]


def _mean(value: Interval | None) -> float:
    return value[0] if value else 0.0


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]
