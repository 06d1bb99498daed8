"""The whole of an evaluation: measure, wall, files, report."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from gocom.evaluation.compare.distances import distances
from gocom.evaluation.compare.engine import Engine
from gocom.evaluation.compare.gallery import make_wall
from gocom.evaluation.compare.grid import Grid
from gocom.evaluation.compare.page import write_report
from gocom.evaluation.compare.runner import measure, one_thread
from gocom.evaluation.compare.worker import Worker


def evaluate(
    grid: Grid, out: Path, command: str, *, workers: int = 1, device: str = "auto", engine: Engine | None = None,
    console: Console | None = None,
) -> Path:  # fmt: skip
    """Measure what is missing in `out`, write its files, and the page that is made of them.

    Args:
        grid: what to measure.
        out: folder; a run that was cut short goes on there.
        command: for the record.
        workers: processes; with an engine given the work is done in this one.
        device: of the nets.
        engine: sends; None: the pipeline.
        console: where progress is shown; None: nowhere.

    Returns:
        The page.

    Raises:
        InvalidInput: `out` has another evaluation.
        NotReady: a worker died; what was done is kept.
    """
    store, tasks = measure(grid, out, workers=workers, device=device, engine=engine, console=console)
    with one_thread():
        worker = Worker(grid, device, engine)
        more = {"wall": make_wall(grid, worker, out), **distances(grid, tasks, store, worker)}
    store.finish(tasks, command, more)
    return write_report(out)
