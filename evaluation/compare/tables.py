"""The questions answered, a table each: who is best at each loss, what quality costs, where a semantic codec loses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gocom.evaluation.compare.axes import Kind
from gocom.evaluation.compare.cells import Cell
from gocom.evaluation.compare.metrics import Metric
from gocom.evaluation.compare.summary import Results, Standing, Verdict
from gocom.evaluation.measure.judge import Interval

NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Mark:
    """A cell that is set off: "best", or whose side won: "semantic", "classical", "even"."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class Table:
    """A title, plain sentences, and cells."""

    title: str
    notes: tuple[str, ...]
    head: tuple[str, ...]
    lines: tuple[tuple[str | Mark, ...], ...]


def words(value: Interval | None, digits: int = 2, sign: bool = False) -> str:
    """An interval as text: "21.30 (20.95 to 21.70)"."""
    if value is None:
        return NOTHING
    first, *rest = [f"{v:{'+' if sign else ''}.{digits}f}" for v in value]
    return f"{first} ({' to '.join(rest)})"


def rate_words(rate: float | None) -> str:
    """ "0.25 bpp", or that each codec sends as it does by itself."""
    return "the codec's own rate" if rate is None else f"{rate:g} bpp"


def present(results: Results, set_name: str, rate: float | None, channels: Sequence[str], field: str) -> list[str]:
    """Methods that have the field on one of these channels."""
    return [
        name
        for name in results.methods
        if any(results.pictures(Cell(set_name, name, rate, channel), field) for channel in channels)
    ]


def winners(
    results: Results, set_name: str, metric: Metric, rate: float | None, channels: Sequence[str]
) -> Table | None:
    """Who is best on each channel at one rate; None: nobody was there."""
    methods = present(results, set_name, rate, channels, metric.field)
    places = [Cell(set_name, "", rate, channel) for channel in channels]
    lines = [line for place in places if (line := _winner_line(results, place, metric, methods))]
    if not lines:
        return None
    better = "more" if metric.higher else "less"
    notes = (f"{metric.title[0].upper()}{metric.title[1:]}: {better} is better.{_brackets(lines)}",)
    title = f"{set_name}: {metric.title} at {rate_words(rate)}"
    return Table(
        title, notes, ("channel", *methods, "best, or not told apart from it", "best minus second"), tuple(lines)
    )


def _winner_line(results: Results, place: Cell, metric: Metric, methods: Sequence[str]) -> tuple[str | Mark, ...]:
    verdict = results.verdict(place, metric)
    if verdict is None:
        return ()
    cells: list[str | Mark] = []
    for name in methods:
        cell = place._replace(method=name)
        text = words(results.average(cell, metric.field), metric.digits)
        if results.overspent(cell):
            text = f"[{text}]"
        cells.append(Mark(text, "best") if name == verdict.best and verdict.runner_up else text)
    difference = words(verdict.difference, metric.digits, sign=True)
    against = f" {verdict.runner_up}" if verdict.difference is not None else ""
    label = results.axes[place.channel].label
    return (label, *cells, winner_mark(results, verdict), difference + against)


def _brackets(lines: Sequence[Sequence[str | Mark]]) -> str:
    if not any(isinstance(cell, str) and cell.startswith("[") for line in lines for cell in line):
        return ""
    return " In brackets: took more bytes than it had, and does not compete."


def winner_mark(results: Results, verdict: Verdict, most: int = 99) -> str | Mark:
    """The winner's name, or "level: a, b" with `most` names, the semantic ones always among them; set off by the side:
    both sides level is nobody's."""
    if verdict.runner_up is None:
        return NOTHING
    best, *others = verdict.level or (verdict.best,)
    names = [best, *sorted(others, key=lambda name: results.methods[name].classical)]
    sides = {results.methods[name].classical for name in names}
    kind = "even" if len(sides) > 1 else "classical" if sides.pop() else "semantic"
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return Mark(f"level: {', '.join(names[:most])}{more}" if verdict.level else verdict.best, kind)


def glances(results: Results) -> list[Table]:
    """Winners only, a table a set: of all methods, and of those that need no way back where others do."""
    found = []
    for set_name in results.sets:
        found.append(_glance(results, set_name, f"{set_name}: who is best, at a glance", list(results.methods)))
        if len(results.one_transmission) < len(results.methods):
            title = f"{set_name}: who is best in one transmission (broadcast, or no time for round trips)"
            found.append(_glance(results, set_name, title, results.one_transmission))
    return [table for table in found if table is not None]


def _glance(results: Results, set_name: str, title: str, among: Sequence[str]) -> Table | None:
    """A line a metric and rate, a column a loss; None: there is nobody to win against."""
    channels = results.channels_of(Kind.ERASURE)
    lines = []
    for metric in results.metrics(set_name):
        for rate in results.rates_of(set_name):
            verdicts = [results.verdict(Cell(set_name, "", rate, channel), metric, among) for channel in channels]
            if any(verdict and verdict.runner_up for verdict in verdicts):
                marks = (winner_mark(results, verdict, 3) if verdict else NOTHING for verdict in verdicts)
                lines.append((metric.title, rate_words(rate), *marks))
    if not lines:
        return None
    notes = (
        "Level: the best mean first, then what cannot be told apart from it, which is not to say that it is as good. "
        "Bold: a semantic codec is best. In the page also by colour: orange, a semantic codec is best; blue, a "
        "classical method; grey, they are level.",
    )
    heads = (f"{results.axes[channel].label} lost" for channel in channels)
    return Table(title, notes, ("metric", "rate", *heads), tuple(lines))


def bytes_taken(results: Results, set_name: str, rate: float | None) -> Table | None:
    """Mean bytes of each method on each channel, and where its smallest file was too large."""
    methods = present(results, set_name, rate, results.channels, "bytes_total")
    lines = []
    for channel in results.channels:
        cells = [Cell(set_name, name, rate, channel) for name in methods]
        texts = [_bytes_words(results, cell) for cell in cells]
        if set(texts) != {NOTHING}:
            lines.append((results.axes[channel].label, *texts))
    if not lines:
        return None
    notes = _equality(results, set_name, rate)
    return Table(f"{set_name}: bytes at {rate_words(rate)}", notes, ("channel", *methods), tuple(lines))


def _bytes_words(results: Results, cell: Cell) -> str:
    floor = results.average(cell, "at_floor")
    said = f", at its floor in {floor[0]:.0f} %" if floor and floor[0] else ""
    return words(results.average(cell, "bytes_total"), 0) + said


def _equality(results: Results, set_name: str, rate: float | None) -> tuple[str, ...]:
    """How equal the bytes were, in a sentence a semantic codec."""
    found = []
    for name in results.semantic:
        ratios = [
            (ratio, peer, channel)
            for channel in results.channels
            for peer in results.classical
            if (ratio := results.byte_ratio(Cell(set_name, peer, rate, channel), name)) is not None
        ]
        if ratios:
            low, high = min(ratios), max(ratios)
            least, most = (f"{r:.2f} times ({peer}, {results.axes[c].label})" for r, peer, c in (low, high))
            found.append(f"The classical methods took from {least} to {most} the bytes of {name}.")
    return tuple(found)


def shares(results: Results) -> Table | None:
    """Of the channels, how many a semantic codec wins, draws and loses, a line a set, metric and rate."""
    lines: list[tuple[str | Mark, ...]] = []
    for name in results.semantic:
        for set_name in results.sets:
            for metric in results.metrics(set_name):
                for rate in results.rates_of(set_name):
                    counts = _counts(standings(results, set_name, name, rate, metric))
                    once = _counts(standings(results, set_name, name, rate, metric, among=results.one_transmission))
                    if any(counts):
                        many = (f"{count} of {sum(counts)}" for count in counts)
                        alone = " / ".join(map(str, once)) if any(once) else NOTHING
                        lines.append((name, set_name, metric.title, rate_words(rate), *many, alone))
    if not lines:
        return None
    head = ("semantic codec", "set", "metric", "rate", "won", "level", "lost", "sent once: won / level / lost")
    notes = (
        "Of the channels: won, better than every classical method; lost, at least one is better than it; level, "
        "neither. The last column has the same three against those that send once: a retransmission needs a way "
        "back, and the time for it.",
    )
    return Table("Won, level and lost", notes, head, tuple(lines))


def _counts(found: Sequence[tuple[str, Standing]]) -> list[int]:
    """How many are won, level and lost."""
    outcomes = [standing.outcome for _, standing in found]
    return [outcomes.count(outcome) for outcome in ("won", "level", "lost")]


def standings(
    results: Results, set_name: str, method: str, rate: float | None, metric: Metric,
    channels: Sequence[str] = (), among: Sequence[str] = (),
) -> list[tuple[str, Standing]]:  # fmt: skip
    """(channel, standing) of a semantic codec, on all channels and against all where none are named."""
    cells = [Cell(set_name, method, rate, channel) for channel in channels or results.channels]
    return [(cell.channel, found) for cell in cells if (found := results.standing(cell, metric, among))]


def losses(results: Results) -> list[Table]:
    """Every channel, rate and metric at which a classical method beats a semantic codec, a table a set and metric."""
    found = []
    for name in results.semantic:
        for set_name in results.sets:
            for metric in results.metrics(set_name):
                lines = [
                    line
                    for rate in results.rates_of(set_name)
                    for channel, standing in standings(results, set_name, name, rate, metric)
                    if (line := _loss_line(results, Cell(set_name, name, rate, channel), metric, standing))
                ]
                if lines:
                    head = ("rate", "channel", name, "beaten most by", "by", "their bytes / its", "also by")
                    better = "more" if metric.higher else "less"
                    title = f"{set_name}: {name} loses in {metric.title}"
                    found.append(Table(title, (f"By: theirs minus its; {better} is better.",), head, tuple(lines)))
    return found


def _loss_line(results: Results, cell: Cell, metric: Metric, standing: Standing) -> tuple[str | Mark, ...]:
    if not standing.beaten_by:
        return ()
    (worst, margin), *others = standing.beaten_by
    ratio = results.byte_ratio(cell._replace(method=worst), cell.method)
    return (
        rate_words(cell.rate_bpp), results.axes[cell.channel].label,
        words(results.average(cell, metric.field), metric.digits), worst, words(margin, metric.digits, sign=True),
        NOTHING if ratio is None else f"{ratio:.2f}", ", ".join(name for name, _ in others) or NOTHING,
    )  # fmt: skip


def set_distances(title: str, entries: Sequence[dict[str, Any]]) -> Table | None:
    """Kernel distance or FID, as results.json has them; None: there are none."""
    if not entries:
        return None
    lines = tuple(
        (e.get("set", NOTHING), e["method"], e["channel"], rate_words(e.get("rate_bpp")),
         words((e["value"], e["low"], e["high"]), 4) if "low" in e else f"{e['value']:.2f}",
         str(e.get("pictures", NOTHING)))
        for e in entries
    )  # fmt: skip
    notes = ("Between all reconstructions with the first seed and all originals of a set: less is better.",)
    return Table(title, notes, ("set", "method", "channel", "rate", title.lower(), "pictures"), lines)
