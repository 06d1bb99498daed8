"""Maps of who wins, curves of quality against rate and channel, and bars of bytes and seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from textwrap import fill

from gocom.evaluation.compare import style
from gocom.evaluation.compare.axes import Kind
from gocom.evaluation.compare.cells import SEGMENT, Cell
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.compare.tables import OUTCOMES, better_words, rate_words
from gocom.evaluation.measure.metrics import Metric
from gocom.evaluation.report.page import Figure
from gocom.evaluation.report.plots import Bars, Panel, Tiles, plot
from gocom.evaluation.report.tables import Mark

LOSSES = (0.0, 0.05, 0.2, 0.5)
"""Of the rate-quality curves: the channels nearest to these, closed form."""
_FAILED = Metric("failed", "no picture, in % of frames", 1, higher=False)
_AXES = (
    (Kind.ERASURE, "loss", "packet loss"), (Kind.BURSTS, "bursts", "bursts of losses"),
    (Kind.BIT_FLIPS, "bit_errors", "bit error rate"), (Kind.FADING, "snr", "SNR in dB"),
)  # fmt: skip
AGAINST = ("against all", "against those that send once")
_MEANS = "A point is the mean over pictures with its 95 % interval."


def few_losses(results: Results, wanted: Sequence[float] = LOSSES) -> list[str]:
    """Erasure channels nearest to the wanted rates, each once, by rising loss."""
    channels = results.channels_of(Kind.ERASURE)
    nearest = {min(channels, key=lambda c: abs((results.axes[c].x or 0.0) - rate)) for rate in wanted if channels}
    return [channel for channel in channels if channel in nearest]


def outcome_map(
    results: Results, place: Cell, metric: Metric, channels: Sequence[str], once: bool, title: str
) -> Tiles:
    """Where a semantic codec wins: losses across, rates down, a colour an outcome (the place's rate and channel do not
    matter), and in a field its mean minus that of its best rival."""
    rates, fields = results.rates_of(place.set), []
    for rate in rates:
        line: list[Mark | None] = []
        for channel in channels:
            cell = place._replace(rate_bpp=rate, channel=channel)
            outcome, rival = results.standing(cell, metric, once), results.rival(cell, metric, once)
            text = f"{rival[1][0]:+.{metric.digits}f}" if rival else ""
            line.append(Mark(text, OUTCOMES[outcome]) if outcome else None)
        fields.append(line)
    heads = [f"{results.axes[channel].label} lost" for channel in channels]
    return Tiles(heads, ["own rate" if rate is None else rate_words(rate) for rate in rates], fields, title)


def outcome_maps(results: Results, folder: Path) -> Iterator[Figure]:
    """A figure a set and semantic codec."""
    channels = results.channels_of(Kind.ERASURE)
    for set_name in results.sets:
        for number, name in enumerate(results.semantic):
            rows = [
                [
                    outcome_map(
                        results, Cell(set_name, name, None, ""), metric, channels, once,
                        f"{metric.title} ({better_words(metric)}),\n{AGAINST[once]}",
                    )
                    for once in (False, True)
                ]
                for metric in results.metrics(set_name)
            ]  # fmt: skip
            rows = [row for row in rows if any(mark for tiles in row for line in tiles.fields for mark in line)]
            if not rows or len(channels) < 2:
                continue
            path, title = folder / f"{set_name}_outcomes{f'_{number + 1}' if number else ''}.png", f"{set_name}: {name}"
            plot(rows, f"{title}: wins (orange), is level (grey), loses (blue)", path)
            said = (
                "In each field: its mean minus that of the best rival within the same bytes. Orange: better than every "
                "rival; blue: at least one rival is better; grey: neither can be said.",
            )
            yield Figure(path, f"{title}: where it wins and where it loses", said)


def curves(results: Results, folder: Path) -> Iterator[Figure]:
    """Quality against rate, and against each kind of channel with two places or more."""
    for set_name in results.sets:
        yield from _against_rate(results, set_name, folder)
        for kind, stem, title in _AXES:
            families: dict[str, list[str]] = {}
            for channel in results.channels_of(kind):
                families.setdefault(results.axes[channel].family, []).append(channel)
            several = [(family, channels) for family, channels in families.items() if len(channels) > 1]
            for number, (family, channels) in enumerate(several):
                suffix = f"_{number + 1}" if len(several) > 1 else ""
                said = f"{title} ({family})" if suffix else title
                yield from _against_channel(results, set_name, channels, said, folder / f"{set_name}_{stem}{suffix}")


def _against_rate(results: Results, set_name: str, folder: Path) -> Iterator[Figure]:
    channels, rates, metrics = few_losses(results), results.rates_of(set_name), results.metrics(set_name)
    if len(rates) < 2 or not channels:
        return
    for number, (group, methods) in enumerate(style.groups(results)):
        rows = []
        for metric in metrics:
            panels = []
            for channel in channels:
                lines = []
                for name in methods:
                    cells = [Cell(set_name, name, rate, channel) for rate in rates]
                    found = [(results.mean(cell, "bpp"), results.average(cell, metric.field)) for cell in cells]
                    lines.append(style.line(results, name, sorted((x, y) for x, y in found if x and y)))
                title = f"{results.axes[channel].label} of packets lost"
                panels.append(Panel("bits per pixel", _y_title(metric), lines, title))
            rows.append(panels)
        title = f"{set_name}: quality against rate{f', {group}' if group else ''}"
        path = folder / f"{set_name}_rate_quality{f'_{number + 1}' if group else ''}.png"
        plot(rows, title, path)
        yield Figure(path, title, (f"{_MEANS} Bits are those that were sent.",))


def _against_channel(
    results: Results, set_name: str, channels: Sequence[str], x_title: str, stem: Path
) -> Iterator[Figure]:
    """Channels side by side, the methods' points a little apart, so that intervals do not hide each other."""
    labels = [fill(results.axes[channel].short, 16) for channel in channels]
    for rate in results.rates_of(set_name):
        rows = []
        for metric in (*results.metrics(set_name), _FAILED):
            panels = []
            for title, methods in style.groups(results):
                lines = []
                for number, name in enumerate(methods):
                    apart = 0.05 * (number - (len(methods) - 1) / 2)
                    found = [results.average(Cell(set_name, name, rate, channel), metric.field) for channel in channels]
                    lines.append(style.line(results, name, [(i + apart, y) for i, y in enumerate(found) if y]))
                ticks = (range(len(channels)), labels)
                panels.append(Panel(f"{x_title} (not to scale)", _y_title(metric), lines, title, ticks=ticks))
            rows.append(panels)
        if any(line.x for row in rows for panel in row for line in panel.lines):
            title = f"{set_name}: quality against {x_title} at {rate_words(rate)}"
            path = stem.with_name(f"{stem.name}_{'own' if rate is None else f'{rate:g}bpp'}.png")
            plot(rows, title, path)
            yield Figure(path, title, (_MEANS,))


def bars(results: Results, folder: Path) -> Iterator[Figure]:
    """What the bytes and the seconds are, at a set's middle rate."""
    for set_name in results.sets:
        rates, channels = results.rates_of(set_name), few_losses(results, (0.0, 0.2)) or results.channels[:1]
        rate = rates[len(rates) // 2]
        cells = [[Cell(set_name, name, rate, channel) for name in results.methods] for channel in channels]
        path, title = folder / f"{set_name}_bytes.png", f"{set_name}: what the bytes are at {rate_words(rate)}"
        plot([[_bytes(results, line) for line in cells]], title, path)
        yield Figure(path, title, ("All rounds together. Repair is part of a semantic codec's segments.",))
        if any(results.pictures(cell, "total_s") for line in cells for cell in line):
            path, title = folder / f"{set_name}_latency.png", f"{set_name}: what the seconds are at {rate_words(rate)}"
            plot([[_seconds(results, line) for line in cells]], title, path)
            waits = "Of frames that brought a picture. Round trips are counted; their seconds are the network's."
            yield Figure(path, title, (waits,))


def _bytes(results: Results, cells: Sequence[Cell]) -> Bars:
    """A classical codec's only segment is its file; of several it is not known whose the repair is."""
    repair = [results.mean(c, "bytes_repair") if results.methods[c.method].classical else 0.0 for c in cells]
    parts = {"header": [results.mean(cell, "bytes_header") for cell in cells]}
    for name in dict.fromkeys(name for cell in cells for name in results.segments(cell)):
        whole = [results.mean(cell, SEGMENT + name) for cell in cells]
        parts[name] = [size - again if size else 0.0 for size, again in zip(whole, repair, strict=True)]
    parts |= {"repair": repair, "feedback": [results.mean(cell, "bytes_feedback") for cell in cells]}
    return _named(
        results, cells, "bytes", parts, "bytes_total", [f"{results.mean(c, 'bytes_total'):.0f}" for c in cells]
    )


def _seconds(results: Results, cells: Sequence[Cell]) -> Bars:
    stages = {"encode": "encode_s", "channel": "channel_s", "decode": "decode_s"}
    parts = {label: [results.mean(cell, field) for cell in cells] for label, field in stages.items()}
    trips = [results.mean(cell, "rounds") - 1 for cell in cells]
    said = [
        f"{results.mean(cell, 'total_s'):.3f} s" + (f" + {more:.1f} round trips" if more > 0 else "")
        for cell, more in zip(cells, trips, strict=True)
    ]
    return _named(results, cells, "seconds a picture", parts, "total_s", said)


def _named(
    results: Results, cells: Sequence[Cell], x: str, parts: dict[str, list[float]], total: str, said: Sequence[str]
) -> Bars:
    kept = {label: lengths for label, lengths in parts.items() if any(lengths)}
    ends = [(results.average(cell, total), text) for cell, text in zip(cells, said, strict=True)]
    return Bars(x, list(results.methods), kept, ends, f"{results.axes[cells[0].channel].label} of packets lost")


def _y_title(metric: Metric) -> str:
    return f"{fill(metric.title, 26)}\n({better_words(metric)})"
