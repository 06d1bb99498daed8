"""The page of an evaluation: OUT/index.html, which needs nothing else, and OUT/README.md with OUT/figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from gocom.evaluation.compare.axes import Kind
from gocom.evaluation.compare.equal_quality import equal_quality
from gocom.evaluation.compare.facts import channels_met, counted, decided, meant, ran
from gocom.evaluation.compare.figures import bars, curves, few_losses, outcome_maps
from gocom.evaluation.compare.first_screen import first_screen
from gocom.evaluation.compare.rows import TIMINGS, read_csv
from gocom.evaluation.compare.summary import Results
from gocom.evaluation.compare.tables import bytes_taken, in_short, set_distances, winners
from gocom.evaluation.compare.wall import walls
from gocom.evaluation.measure.metrics import METRIC
from gocom.evaluation.report.page import Section, write_page
from gocom.evaluation.report.tables import Table

_OTHERS = tuple(kind for kind in Kind if kind is not Kind.ERASURE)


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
    wall = about.get("wall") or []
    sections = _sections(results, about, out)
    return write_page(out, "GO-COM evaluation", (), sections, first_screen(results, wall, out))


def _sections(results: Results, about: Mapping[str, Any], out: Path) -> list[Section]:
    folder = out / "figures"
    return [
        section
        for section in (
            Section("Who wins, in short", (), _there(in_short(results)), tuple(outcome_maps(results, folder)), "short"),
            Section(
                "One picture by all methods", figures=tuple(walls(results, about.get("wall") or [], out)), id="wall"
            ),
            Section("What the words mean", tables=(meant(results),), id="words"),
            Section("Who is best at equal bytes", tuple(decided()), id="best"),
            *_winners(results),
            Section("Curves", figures=tuple(curves(results, folder)), id="curves"),
            Section("Bytes and seconds", figures=tuple(bars(results, folder)), id="bytes"),
            _folded("Bytes that each method took", _each(results, bytes_taken)),
            Section("What equal quality costs", tables=_equal(results), id="equal"),
            Section("Distances between sets of pictures", tables=_set_distances(about), id="sets"),
            Section("What was run", (*ran(results, about), *counted(results)), _there(channels_met(results)), id="run"),
        )
        if section.paragraphs or section.tables or section.figures
    ]


def _winners(results: Results) -> list[Section]:
    """Tables of packet losses a set and metric, then of all other channels together."""
    losses, others = results.channels_of(Kind.ERASURE), results.channels_of(*_OTHERS)
    named = [(name, metric) for name in results.sets for metric in results.metrics(name)]
    return [
        *(
            _folded(
                f"{name}: {metric.title}", (winners(results, name, metric, r, losses) for r in results.rates_of(name))
            )
            for name, metric in named
        ),
        _folded(
            "Bursts, bit errors, fading and other channels",
            (winners(results, name, metric, r, others) for name, metric in named for r in results.rates_of(name)),
        ),
    ]


def _folded(title: str, tables: Iterable[Table | None]) -> Section:
    return Section(title, tables=_there(*tables), level=3, folded=True)


def _there(*tables: Table | None) -> tuple[Table, ...]:
    return tuple(table for table in tables if table is not None)


def _each(results: Results, make: Callable[[Results, str, float | None], Table | None]) -> list[Table | None]:
    return [make(results, name, rate) for name in results.sets for rate in results.rates_of(name)]


def _equal(results: Results) -> tuple[Table, ...]:
    """What the same quality costs others."""
    fields: Sequence[str] = ("psnr_db", "distance", "correct", "correct_10")
    return _there(
        *(equal_quality(results, name, METRIC[f], few_losses(results)) for name, f in product(results.sets, fields))
    )


def _set_distances(about: Mapping[str, Any]) -> tuple[Table, ...]:
    named = (("Kernel distance", "kernel_distance"), ("FID", "fid"))
    return _there(*(set_distances(title, about.get(name) or []) for title, name in named))
