"""Tasks over the machines of a Ray cluster, or over this one alone.

Each actor opens its worker once, and gets one task after another. What an actor had in hand when it or its machine died
is given to another one. Rows are kept with their whole task, so none is lost and none counts twice.
"""

from __future__ import annotations

import os
import socket
from collections import Counter, deque
from collections.abc import Sequence
from functools import partial
from typing import Any

import ray
import torch
from ray.exceptions import RayError, RayTaskError

from gocom.common.errors import InvalidInput, NotReady
from gocom.evaluation.run.record import code, packages
from gocom.evaluation.run.store import differing
from gocom.evaluation.run.work import Done, Results, T, Task, Work, Worker

_TRIES = 3
"""Actors that may die of one task; and for each place, before another one has begun."""
_BEGIN = "begin"
_BEGIN_S = 300.0
"""How long no actor may be at work, as where the cluster has no CPU to give."""
_REACH_S = 10.0


def over_ray(work: Work[T], device: str, workers: int | None, tasks: Sequence[T], address: str | None) -> Results[T]:
    """Each task as it gets done, in any order.

    Args:
        work, tasks: what to do.
        device: of the nets, on every machine; an actor with a GPU has it for itself.
        workers: actors; None: one for each CPU of the cluster, or each GPU.
        address: of the cluster; None: RAY_ADDRESS, else a cluster of this machine alone, for the time of the run.

    Raises:
        InvalidInput: a machine has other code, nets or pictures.
        NotReady: there is no cluster at the address, it has no place for an actor, or actors die again and again.
    """
    if not tasks:
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # or Ray reports to its makers
    address = address or os.environ.get("RAY_ADDRESS")
    try:
        _reach(address)
        ray.init(address, logging_level="warning", log_to_driver=False)
    except (OSError, RuntimeError, ValueError, RayError) as error:
        raise NotReady(f"ray_address: no cluster at {address or 'this machine'}: {error}") from error
    try:
        kind = "GPU" if device.startswith("cuda") else "CPU"
        actors = ray.remote(num_cpus=1, num_gpus=int(kind == "GPU"))(_Actor)
        count = workers or int(ray.cluster_resources().get(kind, 1))
        yield from _spread(partial(actors.remote, work, device, _agreed(work)), min(count, len(tasks)), tasks)
    finally:
        ray.shutdown()


def _agreed(work: Work[Any]) -> dict[str, Any]:
    """What all machines must have alike."""
    return {"code": code(), "packages": packages(), **work.record()}


def _reach(address: str | None) -> None:
    """At once; Ray itself would try for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), _REACH_S).close()


def _spread(new_actor: Any, count: int, tasks: Sequence[T]) -> Results[T]:
    waiting, deaths = deque(tasks), Counter[str]()
    at_work: dict[Any, tuple[Any, T | None]] = {}  # by what will be there when it is done; None: it begins

    def begin() -> None:
        actor = new_actor()
        at_work[actor.begin.remote()] = actor, None

    for _ in range(count):
        begin()
    while waiting or any(task is not None for _, task in at_work.values()):
        # Where a machine is gone an actor may wait for a place for ever; those that have one do its tasks.
        idle = all(task is None for _, task in at_work.values())
        ready, _ = ray.wait(list(at_work), timeout=_BEGIN_S if idle else None)
        if not ready:
            raise NotReady(f"workers: none has begun in {_BEGIN_S:.0f} s; has the Ray cluster a free CPU, or GPU?")
        actor, task = at_work.pop(ready[0])
        try:
            done = ray.get(ready[0])
        except RayTaskError as error:  # an error of the work itself, which comes again
            raise error.cause from None
        except RayError as error:
            what, most = (_BEGIN, _TRIES * count) if task is None else (task.name, _TRIES)
            deaths[what] += 1
            if deaths[what] >= most:
                raise NotReady(
                    f"workers: {most} died at {what} (out of memory?); the same command goes on, try fewer"
                ) from error
            if task is not None:
                waiting.appendleft(task)
            ray.kill(actor)  # it may only have been out of reach
            begin()
            continue
        if task is None:
            del deaths[_BEGIN]
        else:
            yield task, done
        if waiting:
            task = waiting.popleft()
            at_work[actor.run.remote(task)] = actor, task


class _Actor:
    def __init__(self, work: Work[Any], device: str, record: dict[str, Any]) -> None:
        self._work, self._device, self._record = work, device, record
        self._worker: Worker[Any] | None = None

    def begin(self) -> None:
        """Apart from the constructor, whose errors Ray takes for a death."""
        if others := differing(self._record, _agreed(self._work)):
            raise InvalidInput(f"ray: the machine {os.uname().nodename} has other {', '.join(others)}")
        torch.set_num_threads(1)
        self._worker = self._work.worker(self._device)

    def run(self, task: Task) -> Done:
        assert self._worker is not None
        return self._worker.run(task)
