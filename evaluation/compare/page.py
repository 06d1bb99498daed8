"""The report: OUT/index.html, which needs nothing else, and OUT/README.md for code hosts, with OUT/figures."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from gocom.evaluation.compare import tables
from gocom.evaluation.compare.axes import Kind
from gocom.evaluation.compare.bars import bars
from gocom.evaluation.compare.costs import costs
from gocom.evaluation.compare.equal_quality import equal_quality
from gocom.evaluation.compare.facts import channels_met, counted, decided, meant, ran
from gocom.evaluation.compare.figures import Drawn, curves, few_losses
from gocom.evaluation.compare.metrics import METRIC
from gocom.evaluation.compare.outcomes import in_short, outcome_maps
from gocom.evaluation.compare.render import html_table, markdown_table
from gocom.evaluation.compare.rows import TIMINGS, read_csv
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.compare.tables import Table
from gocom.evaluation.compare.wall import walls

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 13px; font-variant-numeric: tabular-nums }
td, th { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
td small { display: block; color: #666; white-space: nowrap } td.best { font-weight: bold }
.semantic { background: #f8dcc8; font-weight: bold } .classical { background: #cfe3f2 } .even { background: #eee }
img { max-width: 100% } code { font-size: 12.5px; overflow-wrap: anywhere } figure { margin: 1rem 0 2rem }
summary { cursor: pointer; font-weight: bold; margin: .6rem 0 } nav a { margin-right: 1.2rem }
"""


def write_report(out: Path) -> Path:
    """Read OUT/results.csv, OUT/timings.csv and OUT/results.json, and write the page, its figures and a README.

    The same files give the same report. Figures of an earlier report are removed.

    Returns:
        The page, OUT/index.html: with its style and pictures in it, it works offline.

    Raises:
        OSError: a file is missing or cannot be written.
    """
    about = json.loads((out / "results.json").read_text("utf-8"))
    timed = out / "timings.csv"
    timings = read_csv(timed, TIMINGS) if timed.exists() else []
    results = Results(read_csv(out / "results.csv"), timings, about.get("methods", ()))
    folder = out / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    drawn = [
        *outcome_maps(results, folder), *walls(results, about.get("wall") or [], out), *curves(results, folder),
        *bars(results, folder),
    ]  # fmt: skip
    equal = _equal(results)
    (out / "README.md").write_text(_readme(results, about, drawn, equal), "utf-8")
    page = out / "index.html"
    page.write_text(_page(results, about, drawn, equal), "utf-8")
    return page


def _best(results: Results, kinds: Sequence[Kind]) -> Iterator[tuple[bool, Table]]:
    """(a): at equal total bytes, who is best; and whether it is at the set's middle rate."""
    for set_name in results.sets:
        rates = results.rates_of(set_name)
        for metric in results.metrics(set_name):
            for rate in rates:
                table = tables.winners(results, set_name, metric, rate, results.channels_of(*kinds))
                if table is not None:
                    yield rate == rates[len(rates) // 2], table


def _costs(results: Results, channels: Sequence[str]) -> list[Table]:
    """(b): what a dB or a point of accuracy costs."""
    found = [
        costs(results, set_name, channels, field)
        for set_name in results.sets
        for field in ("psnr_db", "correct", "correct_10", "agrees")
        if results.has(set_name, field)
    ]
    return [table for table in found if table is not None]


def _equal(results: Results) -> list[Table]:
    """(b), the other way round: what the same quality costs others."""
    fields = ("psnr_db", "distance", "correct", "correct_10")
    found = [
        equal_quality(results, name, METRIC[field], few_losses(results))
        for name in results.sets
        for field in fields
        if results.has(name, field)
    ]
    return [table for table in found if table is not None]


def _words(results: Results) -> Table:
    fields = {metric.field: metric for name in results.sets for metric in results.metrics(name)}
    return meant(results, list(fields.values()))


def _sizes(results: Results) -> list[Table]:
    found = [tables.bytes_taken(results, name, rate) for name in results.sets for rate in results.rates_of(name)]
    return [table for table in found if table is not None]


def _set_distances(about: Mapping[str, Any]) -> list[Table]:
    named = (("Kernel distance", "kernel_distance"), ("FID", "fid"))
    return [t for title, name in named if (t := tables.set_distances(title, about.get(name) or []))]


OTHERS = tuple(kind for kind in Kind if kind is not Kind.ERASURE)


def _page(results: Results, about: Mapping[str, Any], drawn: Sequence[Drawn], equal: Sequence[Table]) -> str:
    few = few_losses(results, (0.0, 0.2)) or results.channels[:1]
    shares, losses = tables.shares(results), tables.losses(results)
    others = [html_table(table) for _, table in _best(results, OTHERS)]
    short, met = in_short(results), channels_met(results)
    maps = [figure for figure in drawn if "outcomes" in figure.path.name]
    parts = [
        _section("short", "In short", (html_table(short, titled=False) if short else "") + "".join(map(_figure, maps))),
        _section(
            "run", "What was run",
            html_table(_words(results)) + _list(ran(results, about)) + _list(counted(results))
            + (html_table(met) if met else ""),
        ),
        _section(
            "best", "At equal total bytes, who is best",
            _list(decided()) + _tables(tables.glances(results))
            + "".join(_unfolds(table, middle) for middle, table in _best(results, [Kind.ERASURE]))
            + _folded("Bursts, bit errors, fading and other channels", "".join(others))
            + _folded("Bytes that each method took", _tables(_sizes(results))),
        ),
        _section(
            "costs", "What a dB or a point of accuracy costs",
            _tables(equal) + _tables(_costs(results, few))
            + _folded("At every loss", _tables(_all_costs(results, few))),
        ),
        _section("losses", "Where the semantic codec loses", _losses(shares, losses)),
        _section("figures", "Figures", "".join(_figure(figure) for figure in drawn if figure not in maps)),
        _section("sets", "Distances between sets of pictures", _tables(_set_distances(about))),
    ]  # fmt: skip
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>GO-COM evaluation</title>
<style>{STYLE}</style>
<h1>GO-COM evaluation</h1>
<nav><a href="#short">in short</a><a href="#run">run</a>
<a href="#best">who is best</a><a href="#costs">costs</a><a href="#losses">where it loses</a>
<a href="#figures">figures</a></nav>
{"".join(parts)}</html>
"""


def _all_costs(results: Results, few: Sequence[str]) -> list[Table]:
    """Of the channels that are not shown already."""
    return _costs(results, [channel for channel in results.channels if channel not in few])


def _section(anchor: str, title: str, body: str) -> str:
    return f'<section id="{anchor}"><h2>{escape(title)}</h2>\n{body}</section>\n' if body else ""


def _tables(found: Sequence[Table]) -> str:
    return "".join(html_table(table) for table in found)


def _unfolds(table: Table, opened: bool) -> str:
    return _folded(table.title, html_table(table, titled=False), opened)


def _folded(title: str, body: str, opened: bool = False) -> str:
    name = "<details open>" if opened else "<details>"
    return f"{name}<summary>{escape(title)}</summary>{body}</details>\n" if body else ""


def _list(sentences: Sequence[str]) -> str:
    return "".join(f"<p>{escape(sentence)}</p>\n" for sentence in sentences)


def _losses(shares: Table | None, losses: Sequence[Table]) -> str:
    if shares is None:
        return "<p>There are no two sides to compare.</p>"
    none = "" if losses else "<p>No classical method beats it with an interval that excludes 0.</p>"
    return html_table(shares) + none + "".join(_unfolds(table, True) for table in losses)


def _figure(drawn: Drawn) -> str:
    data = base64.b64encode(drawn.path.read_bytes()).decode()
    said = _list(drawn.sentences)
    title = escape(drawn.title)
    return f'<figure><h3>{title}</h3>{said}<img alt="{title}" src="data:image/png;base64,{data}"></figure>\n'


def _readme(results: Results, about: Mapping[str, Any], drawn: Sequence[Drawn], equal: Sequence[Table]) -> str:
    few = few_losses(results, (0.0, 0.2)) or results.channels[:1]
    shares = tables.shares(results)
    short, met = in_short(results), channels_met(results)
    maps = [figure for figure in drawn if "outcomes" in figure.path.name]
    parts = ["# Evaluation\n", *([markdown_table(short, 2)] if short else []), *map(_markdown_figure, maps)]
    parts += ["## What was run\n", markdown_table(_words(results))]
    parts += [f"{line}\n" for line in (*ran(results, about), *counted(results))]
    parts += [markdown_table(met)] if met else []
    parts.append("The same with every channel and all tables, in one file that works offline: `index.html`.\n")
    parts += ["## At equal total bytes, who is best\n", *(f"{line}\n" for line in decided())]
    parts += [
        markdown_table(table)
        for table in (*tables.glances(results), *(table for _, table in _best(results, [Kind.ERASURE])))
    ]
    parts += ["## What a dB or a point of accuracy costs\n", *map(markdown_table, equal)]
    parts += map(markdown_table, _costs(results, few))
    if shares is not None:
        parts += ["## Where the semantic codec loses\n", *map(markdown_table, (shares, *tables.losses(results)))]
    parts += [markdown_table(table, 2) for table in _set_distances(about)]
    parts += ["## Bytes that each method took\n", *map(markdown_table, _sizes(results))]
    parts += ["## Figures\n", *(_markdown_figure(figure) for figure in drawn if figure not in maps)]
    return "\n".join(parts)


def _markdown_figure(drawn: Drawn) -> str:
    said = "".join(f"{line}\n\n" for line in drawn.sentences)
    return f"### {drawn.title}\n\n{said}![{drawn.title}](figures/{drawn.path.name})\n"
