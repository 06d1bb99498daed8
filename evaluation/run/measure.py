"""Does the tasks of a work, over processes; each is kept as soon as it is done.

A run that was interrupted or killed goes on with what is missing. Every process has one torch thread, so that sums do
not depend on how many processes there are.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tqdm import tqdm

from gocom.common.errors import NotReady, UnknownName
from gocom.common.nets.loading import resolve_device
from gocom.evaluation.run.store import Store
from gocom.evaluation.run.work import Done, Results, T, Task, Work, Worker

POOLS = ("processes", "ray")
_LINE_EACH_S = 30.0
_worker: Worker[Any] | None = None


def measure(
    work: Work[T], out: Path, *, workers: int | None = 1, device: str = "auto", pool: str = "processes",
    ray_address: str | None = None, console: Console | None = None,
) -> Store:  # fmt: skip
    """Do what is missing in `out`.

    Args:
        work: what to do.
        out: folder of a store; the device is part of its record.
        workers: processes; 1: this one, unless the pool is Ray's; None: one for each CPU, of the cluster with Ray.
        device: of the nets.
        pool: one of POOLS.
        ray_address: of a Ray cluster; None: RAY_ADDRESS, else this machine.
        console: where progress is shown; None: nowhere.

    Returns:
        The store, with all tasks done.

    Raises:
        InvalidInput: `out` has another work, or another process is at work there.
        NotReady: a worker died; what was done is kept. Or there is no Ray.
        UnknownName: of the pool.
    """
    if pool not in POOLS:
        raise UnknownName("engine", pool, POOLS)
    device, record = str(resolve_device(device)), work.record()
    store = Store(out, record and {"device": device, **record})
    missing = store.missing(work.tasks())
    if pool == "ray":
        results = _over_ray(work, device, workers, missing, ray_address)
    elif workers == 1:
        results = _here(work, device, missing)
    else:
        results = _over_processes(work, device, workers or os.cpu_count() or 1, missing)
    with store.alone(), _progress(missing, console) as advance, closing(results):
        for task, done in results:
            store.keep(task, done)
            advance(task)
    return store


def _over_ray(work: Work[T], device: str, workers: int | None, tasks: Sequence[T], address: str | None) -> Results[T]:
    try:
        from gocom.evaluation.run.ray_pool import over_ray  # noqa: PLC0415 - an extra
    except ModuleNotFoundError as error:
        raise NotReady("engine: ray is not installed; pip install 'gocom[ray]'") from error
    return over_ray(work, device, workers, tasks, address)


@contextmanager
def one_thread() -> Iterator[None]:
    """As in a pool."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _here(work: Work[T], device: str, tasks: Sequence[T]) -> Results[T]:
    if not tasks:
        return
    with one_thread():
        worker = work.worker(device)
        for task in tasks:
            yield task, worker.run(task)


def _over_processes(work: Work[T], device: str, workers: int, tasks: Sequence[T]) -> Results[T]:
    running = dict[Future[Done], T]()
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _start, (work, device)) as processes:
        try:
            for task in tasks:
                running[processes.submit(_do, task)] = task
            for future in as_completed(list(running)):
                done = future.result()
                yield running.pop(future), done
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


def _start(work: Work[Any], device: str) -> None:
    global _worker  # noqa: PLW0603 - a pool's processes have no other place
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent's to deal with
    # Its own lock is a semaphore that outlives a process which is terminated.
    tqdm.set_lock(threading.RLock())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ["OMP_NUM_THREADS"] = "1"
    torch.set_num_threads(1)
    _worker = work.worker(device)


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
    cases, total, told = 0, sum(task.cases for task in tasks), time.monotonic()
    with Progress(*columns, console=console, disable=console is None or not console.is_terminal) as bar:
        shown = bar.add_task("cases", total=sum(task.weight for task in tasks), count=f"0 of {total}")

        def advance(task: Task) -> None:
            nonlocal cases, told
            cases += task.cases
            bar.update(shown, advance=task.weight, count=f"{cases} of {total}")
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
