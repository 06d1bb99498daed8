"""The page of an evaluation: OUT/index.html, which needs nothing else, and OUT/README.md with OUT/figures."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from gocom.evaluation.compare.axes import Kind
from gocom.evaluation.compare.equal_quality import equal_quality
from gocom.evaluation.compare.facts import counted, decided, meant, ran
from gocom.evaluation.compare.figures import bars, curves, few_losses, outcome_maps
from gocom.evaluation.compare.first_screen import first_screen
from gocom.evaluation.compare.rows import TIMINGS, read_csv
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.compare.tables import bytes_taken, in_short, set_distances, winners
from gocom.evaluation.compare.wall import walls
from gocom.evaluation.measure.metrics import METRIC, Metric
from gocom.evaluation.report.page import Section, write_page
from gocom.evaluation.report.tables import Table


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
    return write_page(
        out, "GO-COM evaluation", (), _sections(results, about, out),
        first_screen(results, about.get("wall") or [], out),
    )  # fmt: skip


def _sections(results: Results, about: Mapping[str, Any], out: Path) -> list[Section]:
    folder, named = out / "figures", [(name, metric) for name in results.sets for metric in results.metrics(name)]
    losses = results.channels_of(Kind.ERASURE)
    others = [channel for channel in results.channels if channel not in losses]
    sections = [
        Section("Who wins, in short", (), _there([in_short(results)]), tuple(outcome_maps(results, folder)), "short"),
        Section("One picture by all methods", figures=tuple(walls(results, about.get("wall") or [], out)), id="wall"),
        Section("What the words mean", tables=(meant(results),), id="words"),
        Section("Who is best at equal bytes", decided(), id="best"),
        *(_folded(f"{name}: {metric.title}", _best(results, [(name, metric)], losses)) for name, metric in named),
        _folded("Bursts, bit errors, fading and other channels", _best(results, named, others)),
        Section("Curves", figures=tuple(curves(results, folder)), id="curves"),
        Section("Bytes and seconds", figures=tuple(bars(results, folder)), id="bytes"),
        _folded(
            "Bytes that each method took",
            (bytes_taken(results, name, rate) for name in results.sets for rate in results.rates_of(name)),
        ),
        Section(
            "What equal quality costs", id="equal",
            tables=_there(
                equal_quality(results, name, METRIC[field], few_losses(results))
                for name, field in product(results.sets, ("psnr_db", "distance", "correct", "correct_10"))
            ),
        ),
        Section(
            "Distances between sets of pictures", id="sets",
            tables=_there(
                set_distances(title, about.get(key) or [])
                for title, key in (("Kernel distance", "kernel_distance"), ("FID", "fid"))
            ),
        ),
        Section("What was run", counted(results), ran(results, about), id="run"),
    ]  # fmt: skip
    return [section for section in sections if section.paragraphs or section.tables or section.figures]


def _best(results: Results, named: Sequence[tuple[str, Metric]], channels: Sequence[str]) -> Iterator[Table | None]:
    for set_name, metric in named:
        for rate in results.rates_of(set_name):
            yield winners(results, set_name, metric, rate, channels)


def _folded(title: str, tables: Iterable[Table | None]) -> Section:
    return Section(title, tables=_there(tables), level=3, folded=True)


def _there(tables: Iterable[Table | None]) -> tuple[Table, ...]:
    return tuple(table for table in tables if table is not None)
