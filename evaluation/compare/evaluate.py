"""The whole of an evaluation: measure, wall, files, report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gocom.evaluation.compare.distances import distances
from gocom.evaluation.compare.engine import Engine
from gocom.evaluation.compare.gallery import make_wall
from gocom.evaluation.compare.grid import Grid
from gocom.evaluation.compare.page import write_report
from gocom.evaluation.compare.rows import COLUMNS, TIMINGS
from gocom.evaluation.compare.worker import Comparison
from gocom.evaluation.run.measure import measure, one_thread
from gocom.evaluation.run.record import environment
from gocom.evaluation.run.store import Store, write_csv, write_json


def evaluate(
    grid: Grid, out: Path, command: str, *, device: str = "auto", engine: Engine | None = None, **settings: Any
) -> Path:
    """Measure what is missing in `out`, write its files, and the page that is made of them.

    Args:
        grid: what to measure.
        out: folder; a run that was cut short goes on there.
        command: for the record.
        device: of the nets.
        engine: sends, in this process; None: the pipeline.
        settings: keyword arguments of `measure`; with an engine there is one worker.

    Returns:
        The page.

    Raises:
        InvalidInput: `out` has another evaluation.
        NotReady: a worker died; what was done is kept.
    """
    work = Comparison(grid, engine)
    store = measure(work, out, device=device, **settings | ({"workers": 1} if engine else {}))
    with one_thread():
        worker = work.worker(device)
        more = {"wall": make_wall(grid, worker, out), **distances(grid, store, worker)}
    _write_files(out, grid, store, {"command": command, **more})
    return write_report(out)


def _write_files(out: Path, grid: Grid, store: Store, more: Mapping[str, Any]) -> None:
    """results.csv and timings.csv, in the grid's order, and results.json, with `more` in it."""
    done, record = [store.read(task) for task in grid.tasks()], store.record
    write_csv(out / "results.csv", (row for each in done for row in each.rows), COLUMNS)
    write_csv(out / "timings.csv", (row for each in done for row in each.timings), TIMINGS)
    first = record["sets"][0]
    write_json(
        out / "results.json",
        {name: record[name] for name in ("commit", "engine", "methods", "nets")} | {
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "sets": {s["name"]: s for s in record["sets"]},
            "rates_bpp": first["rates_bpp"],
            "channels": list(dict.fromkeys(c for s in record["sets"] for c in s["channels"])),
            "seeds": first["seeds"],
            "size_px": grid.size_px,
            "link": asdict(grid.link),
            "environment": {"device": record["device"], **environment()},
            **more,
        },
    )  # fmt: skip
