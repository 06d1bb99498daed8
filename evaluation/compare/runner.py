"""Runs the tasks of an evaluation, over processes; each is kept as soon as it is done."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tqdm import tqdm

from gocom.common.errors import NotReady
from gocom.common.nets.loading import resolve_device
from gocom.evaluation.compare.engine import Engine
from gocom.evaluation.compare.grid import Grid, Task
from gocom.evaluation.compare.store import Store
from gocom.evaluation.compare.worker import Done, Worker

_CLASSICAL_WEIGHT = 0.1
"""What a case of a classical codec takes beside one of a net."""
_LINE_EACH_S = 30.0
_worker: Worker | None = None


def measure(
    grid: Grid, out: Path, *, workers: int = 1, device: str = "auto", engine: Engine | None = None,
    console: Console | None = None,
) -> tuple[Store, list[Task]]:  # fmt: skip
    """Do what is missing in `out`; -> the store with all tasks done. See evaluate.py."""
    device = str(resolve_device(device))
    store, tasks = Store(out, grid, "pipeline" if engine is None else "services", device), list(grid.tasks())
    missing = store.missing(tasks)
    with _progress(missing, console) as advance:
        if engine is not None or workers == 1:
            _here(grid, device, engine, missing, store, advance)
        else:
            _over_processes(grid, device, workers, missing, store, advance)
    return store, tasks


@contextmanager
def one_thread() -> Iterator[None]:
    """As in a pool: sums must not depend on how many workers there are."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _here(
    grid: Grid, device: str, engine: Engine | None, tasks: Sequence[Task], store: Store, advance: Callable[[Task], None]
) -> None:
    if not tasks:
        return
    with one_thread():
        worker = Worker(grid, device, engine)
        for task in tasks:
            store.keep(task, worker.run(task))
            advance(task)


def _over_processes(
    grid: Grid, device: str, workers: int, tasks: Sequence[Task], store: Store, advance: Callable[[Task], None]
) -> None:
    waiting, running = iter(tasks), dict[Future[Done], Task]()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (grid, device)) as pool:
        try:
            while True:
                for task in waiting:
                    running[pool.submit(_do, task)] = task
                    if len(running) >= 2 * workers:  # so that an interrupt need not wait for all of them
                        break
                if not running:
                    return
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    task = running.pop(future)
                    store.keep(task, future.result())
                    advance(task)
        except BrokenProcessPool as error:
            raise NotReady(
                "workers: a process died (out of memory?) or could not begin; the same command goes on, try fewer"
            ) from error
        finally:
            for future in running:
                future.cancel()
            if running:  # an interrupt does not wait for minutes of work that the next run does again
                for process in multiprocessing.active_children():
                    process.terminate()


def _start(grid: Grid, device: str) -> None:
    global _worker  # noqa: PLW0603 - a pool's processes have no other place
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to deal with
    # Its own lock is a semaphore that outlives a process which is terminated.
    tqdm.set_lock(threading.RLock())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    _worker = Worker(grid, device)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _do(task: Task) -> Done:
    assert _worker is not None
    return _worker.run(task)


@contextmanager
def _progress(tasks: Sequence[Task], console: Console | None) -> Iterator[Callable[[Task], None]]:
    columns = (
        TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[count]}"), TimeElapsedColumn(),
        TextColumn("left"), TimeRemainingColumn(),
    )  # fmt: skip
    cases, total, told = 0, sum(task.set.cases for task in tasks), time.monotonic()
    with Progress(*columns, console=console, disable=console is None or not console.is_terminal) as bar:
        shown = bar.add_task("cases", total=sum(map(_weight, tasks)), count=f"0 of {total}")

        def advance(task: Task) -> None:
            nonlocal cases, told
            cases += task.set.cases
            bar.update(shown, advance=_weight(task), count=f"{cases} of {total}")
            # A log takes lines instead of a bar.
            if console is not None and not console.is_terminal and time.monotonic() - told > _LINE_EACH_S:
                told, now = time.monotonic(), bar.tasks[shown]
                left = (now.elapsed or 0) * (1 / (now.percentage / 100) - 1)
                console.print(f"{cases} of {total} cases, about {timedelta(seconds=round(left))} left", highlight=False)

        try:
            yield advance
        except KeyboardInterrupt:
            if console is not None:
                console.print(f"stopped after {cases} of {total} cases; the same command goes on from there")
            raise


def _weight(task: Task) -> float:
    return task.set.cases * (_CLASSICAL_WEIGHT if task.method.classical else 1.0)
