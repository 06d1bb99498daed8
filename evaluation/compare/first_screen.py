"""What a stranger sees first: where describing a picture beats sending an image file, and where it does not.

Each sentence is made from the outcomes that the map below it shows, which are those of the page's tables.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from gocom.evaluation.compare.axes import Kind
from gocom.evaluation.compare.cells import Cell
from gocom.evaluation.compare.figures import few_losses
from gocom.evaluation.compare.methods import Protection
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.compare.tables import OUTCOMES
from gocom.evaluation.compare.wall import Entry, tile
from gocom.evaluation.measure.metrics import METRIC, Metric
from gocom.evaluation.report.page import Figure, FirstScreen
from gocom.evaluation.report.plots import Picture, Plot, Tiles, plot
from gocom.evaluation.report.tables import Mark

_FILES = {"jpeg": "JPEG", "jpeg2000": "JPEG 2000", "webp": "WebP", "avif": "AVIF"}
_TILES = {"won": "wins", "level": "even", "lost": "loses"}
_LOSSES = (0.0, 0.1, 0.5)
"""Of the pictures: the channels nearest to these."""


@dataclass(frozen=True, slots=True)
class _Question:
    """What is asked of a picture, in words for everybody, and the metrics that answer it, the best first."""

    title: str
    words: str
    fields: tuple[str, ...]


_QUESTIONS = (
    _Question("How alike do they look?", "how alike the pictures look", ("lpips", "dists", "st_lpips", "distance")),
    _Question(
        "Does a computer still see what they show?", "whether a computer still sees what they show",
        ("correct_10", "correct", "agrees"),
    ),
    _Question("How exact are the pixels?", "how exact the pixels are", ("psnr_db",)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Answer:
    """A question by one metric in one set: (rate, channel) -> outcome against files that are sent once, and all."""

    question: _Question
    metric: Metric
    set: str
    once: dict[tuple[float | None, str], str]
    every: dict[tuple[float | None, str], str]


def first_screen(results: Results, wall: Sequence[Entry], out: Path) -> FirstScreen | None:
    """Sentences and OUT/figures/first.png; None: there are no two sides to compare."""
    answers = list(_answers(results))
    if not answers:
        return None
    name = results.semantic[0]
    path = out / "figures" / "first.png"
    maps: list[Plot] = [_map(results, answer) for answer in answers]
    strip: list[Plot] = [*_strip(results, wall, out)]
    plot([strip, maps] if strip else [maps], "", path)
    measured = "; ".join(f"{answer.question.words}: {answer.metric.title} of {answer.set}" for answer in answers)
    notes = (
        "Orange: describing is better than every kind of file. Blue: some kind of file is better. Grey: no difference "
        f"can be told. Described by {name}; files ask for nothing again. Measured are {measured}.",
    )
    return FirstScreen(
        tuple(sentences(results, answers)), Figure(path, "Where describing wins and where it loses.", notes)
    )


def _answers(results: Results) -> Iterator[_Answer]:
    """Of packet losses where there are some, else of all channels, for the first semantic codec."""
    channels = results.channels_of(Kind.ERASURE) or results.channels
    for question in _QUESTIONS:
        named = [(field, set_name) for field in question.fields for set_name in results.sets]
        for field, set_name in named if results.semantic else ():
            cells = [
                Cell(set_name, results.semantic[0], rate, channel)
                for rate, channel in product(results.rates_of(set_name), channels)
            ]
            once, every = (
                {
                    (cell.rate_bpp, cell.channel): outcome
                    for cell in cells
                    if (outcome := results.standing(cell, METRIC[field], once))
                }
                for once in (True, False)
            )
            if once:
                yield _Answer(question, METRIC[field], set_name, once, every)
                break


def sentences(results: Results, answers: Sequence[_Answer]) -> list[str]:
    """Three: what was done, where describing wins, and where it loses."""
    pictures = len({(row["set"], row["picture"]) for row in results.rows})
    kinds = list(dict.fromkeys(results.methods[name].codec for name in results.classical))
    files = _listed([_FILES.get(kind, kind) for kind in kinds])
    lossy = any(axis.kind is Kind.ERASURE and axis.x for axis in results.axes.values())
    network = "a network that loses packets" if lossy else "a faulty network"
    sent = f"{pictures} pictures were sent" if pictures > 1 else "A picture was sent"
    done = (
        f"{sent} over {network}, by describing {'them' if pictures > 1 else 'it'} and as ordinary image files "
        f"({files}), with the same number of bytes."
    )
    won, lost = (_clauses(results, answers, outcome) for outcome in ("won", "lost"))
    wins = f"Describing wins in {won}." if won else "Describing wins nowhere here."
    level = "" if won else " either: no difference can be told"
    loses = f"It loses in {lost}" if lost else f"It loses nowhere{level or ' here'}"
    return [done, wins, f"{loses}{_asked_again(results, answers)}."]


def _asked_again(results: Results, answers: Sequence[_Answer]) -> str:
    """What changes where lost packets can be sent again, if that was tried."""
    if all(results.methods[name].protection != Protection.ARQ for name in results.classical):
        return ""
    found = [outcome for answer in answers for outcome in answer.every.values()]
    counts = {outcome: found.count(outcome) for outcome in OUTCOMES}
    return (
        f"; where files can ask for their lost packets again, it wins in {counts['won']} of all {len(found)} cases and "
        f"loses in {counts['lost']}"
    )


def _clauses(results: Results, answers: Sequence[_Answer], outcome: str) -> str:
    """ "how alike the pictures look (always) and how exact the pixels are (where 5 % of the packets are lost)"."""
    found = [(answer, {place for place, of in answer.once.items() if of == outcome}) for answer in answers]
    return _listed(
        [f"{answer.question.words} ({_places(results, answer, places)})" for answer, places in found if places]
    )


def _places(results: Results, answer: _Answer, places: set[tuple[float | None, str]]) -> str:
    """In words where they are few or regular, else how many."""
    if len(places) == len(answer.once):
        return "always"
    by_channels: dict[str, list[float | None]] = {}
    rates = list(dict.fromkeys(rate for rate, _ in answer.once))
    for rate in rates:
        there = [channel for of, channel in answer.once if of == rate]
        if chosen := [channel for channel in there if (rate, channel) in places]:
            by_channels.setdefault(_losses(results, there, chosen), []).append(rate)
    counted = f"in {len(places)} of {len(answer.once)} cases"
    if len(by_channels) > 1 or "?" in by_channels:
        return counted
    ((losses, chosen_rates),) = by_channels.items()
    sizes = [f"{_bytes(results, answer, rate):,.0f}" for rate in chosen_rates]
    size = "" if len(chosen_rates) == len(rates) else f"with {_listed(sizes, 'or')} bytes"
    return " ".join(filter(None, (size, losses)))


def _losses(results: Results, channels: Sequence[str], chosen: Sequence[str]) -> str:
    """ "where 10 % or more of the packets are lost"; "": on all channels; "?": no few words say it."""
    if len(chosen) == len(channels):
        return ""
    if any(results.axes[channel].kind is not Kind.ERASURE for channel in channels):
        return "?"
    first, last = (results.axes[channel] for channel in (chosen[0], chosen[-1]))
    if not last.x:
        return "where nothing is lost"
    if len(chosen) == 1:
        return f"where {first.label} of the packets are lost"
    if list(chosen) == list(channels[-len(chosen) :]):
        return f"where {first.label} or more of the packets are lost"
    if list(chosen) == list(channels[: len(chosen)]):
        return f"where {last.label} or less of the packets are lost"
    return f"where {_listed([results.axes[channel].label for channel in chosen], 'or')} of the packets are lost"


def _bytes(results: Results, answer: _Answer, rate: float | None) -> float:
    """Mean over channels of the semantic codec's."""
    name = results.semantic[0]
    sizes = [results.mean(Cell(answer.set, name, rate, c), "bytes_total") for of, c in answer.once if of == rate]
    return sum(sizes) / len(sizes)


def _map(results: Results, answer: _Answer) -> Tiles:
    rates = list(dict.fromkeys(rate for rate, _ in answer.once))
    channels = [channel for channel in results.channels if any(c == channel for _, c in answer.once)]
    fields = [
        [
            Mark(_TILES[outcome], OUTCOMES[outcome]) if (outcome := answer.once.get((rate, channel))) else None
            for channel in channels
        ]
        for rate in rates
    ]
    lossy = all(results.axes[channel].kind is Kind.ERASURE for channel in channels)
    return Tiles(
        [results.axes[channel].short for channel in channels],
        [f"{_bytes(results, answer, rate):,.0f} bytes" for rate in rates],
        fields, answer.question.title, "packets lost" if lossy else "",
    )  # fmt: skip


def _strip(results: Results, wall: Sequence[Entry], out: Path) -> Iterator[Picture]:
    """The wall's first photo: the original, described, and as the best of its files, over rising loss."""
    shown = {(e["channel"], e["method"]): e for e in wall if e["photo"] == wall[0]["photo"]}
    there = {channel for channel, method in shown if method == results.semantic[0]}
    channels = [channel for channel in few_losses(results, _LOSSES) if channel in there]
    files = [name for name in results.classical if all((channel, name) in shown for channel in channels)]
    if not channels or not files:
        return
    best = max(files, key=lambda name: sum(shown[channel, name].get("psnr_db") or 0 for channel in channels))
    if original := shown.get((channels[0], "original")):
        yield tile(original, out, "original")
    codec = results.methods[best].codec
    for name, title in ((results.semantic[0], "described"), (best, f"{_FILES.get(codec, codec)} file")):
        for channel in channels:
            entry = {key: value for key, value in shown[channel, name].items() if key != "psnr_db"}
            yield tile(entry, out, f"{title}, {results.axes[channel].label} lost")


def _listed(items: Sequence[str], word: str = "and") -> str:
    *most, last = items or [""]
    return f"{', '.join(most)} {word} {last}" if most else last
