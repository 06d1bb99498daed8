"""A study as work: a task is a picture of an experiment, kept under what it depends on."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from gocom.common.errors import InvalidInput
from gocom.common.systems import SYSTEMS
from gocom.common.zoo import fingerprint
from gocom.evaluation.experiment.bench import Bench
from gocom.evaluation.experiment.cases import cases, measured
from gocom.evaluation.experiment.experiment import Experiment, Study
from gocom.evaluation.experiment.pictures import PictureSets
from gocom.evaluation.run import record
from gocom.evaluation.run.work import Done, Worker
from gocom.evaluation.studies import STUDIES


@dataclass(frozen=True, slots=True)
class StudyTask:
    """All cases of one picture in an experiment; see `Task`."""

    experiment: str
    set: str
    index: int
    name: str
    cases: int
    weight: float


class StudyWork:
    """Some or all experiments of a study; see `Work`.

    Args:
        system: whose study it is, as registered.
        sources: folder or tar by set.
        names: of the experiments; None: all.
        limit: at most so many pictures of a set; None: as many as an experiment wants.

    Raises:
        InvalidInput: a set cannot be read; raised when pictures are first asked for.
        UnknownName: there is no such study.
    """

    def __init__(
        self, system: str, sources: Mapping[str, Path], names: Sequence[str] | None = None, limit: int | None = None
    ) -> None:
        self.system, self.names, self.limit = system, names, limit
        self.sources = {name: path for name, path in sources.items() if name in STUDIES.get(system).sets}

    def __getstate__(self) -> tuple[Any, ...]:
        return self.system, self.names, self.limit, self.sources

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.system, self.names, self.limit, self.sources = state

    @property
    def study(self) -> Study:
        """Of the system."""
        return STUDIES.get(self.system)

    @cached_property
    def experiments(self) -> list[Experiment]:
        """Those that are to be measured."""
        return [one for one in self.study.experiments if self.names is None or one.name in self.names]

    @cached_property
    def pictures(self) -> PictureSets:
        """All sets."""
        return PictureSets(self.sources, self.limit)

    def tasks(self) -> list[StudyTask]:
        """In the order of the experiments."""
        return [task for experiment in self.experiments for task in self.tasks_of(experiment)]

    def tasks_of(self, experiment: Experiment) -> list[StudyTask]:
        """Those of any experiment of the study, also of one that is not to be measured."""
        digest, count = self.digest(experiment), experiment.seeds * len(cases(experiment))
        return [
            StudyTask(experiment.name, name, i, f"{experiment.name}-{digest}-{name}-{i:05d}", count, float(count))
            for name in experiment.sets
            for i in self.pictures.chosen(experiment, name)
        ]

    def worker(self, device: str) -> Worker[StudyTask]:
        """Loads nets when it needs them."""
        return _StudyWorker(self, device)

    def record(self) -> dict[str, Any]:
        """Only packages: tasks are named after all else that they depend on, so several studies may lie in a folder."""
        return {"packages": record.packages()}

    def digest(self, experiment: Experiment) -> str:
        """Of the system, the experiment as it is written, the nets, the sampler's defaults and its sets' pictures.

        Of functions the name counts, not what is in them; of `only`, the cases that it leaves.
        """
        return _digest({
            "system": self.system, "experiment": _plain(experiment), "cases": [keys for keys, _ in cases(experiment)],
            "nets": self.nets(), "sampler": _plain(self.study.sampler), "missing": _plain(self.study.missing),
            "sets": {name: self.contents[name] for name in experiment.sets},
        })  # fmt: skip

    def nets(self) -> dict[str, str]:
        """Name -> first digits of the fingerprint of each net that the study uses."""
        names = {name for codec in (self.system, *self.study.peers) for name in SYSTEMS.get(codec).knowledge}
        return {name: fingerprint(name).hex()[:8] for name in sorted(names)}

    @cached_property
    def contents(self) -> dict[str, str]:
        """Digest of each set."""
        return {name: self.pictures.content(name) for name in self.sources}


class _StudyWorker:
    def __init__(self, work: StudyWork, device: str) -> None:
        self._bench = Bench(work.study, work.pictures, device)
        self._experiments = {one.name: one for one in work.experiments}
        self._tasks = {task.name for task in work.tasks()}

    def run(self, task: StudyTask) -> Done:
        """See `Worker`. Raises InvalidInput where this process has read other pictures, or has other nets."""
        if task.name not in self._tasks:
            raise InvalidInput(f"{task.set}: {os.uname().nodename} has other pictures or nets than the run began with")
        picture = self._bench.picture(task.set, task.index)
        return Done(measured(self._bench, self._experiments[task.experiment], picture))


_NOT_SENT = ("title", "note", "views", "findings", "sets", "only")
"""What is only shown, or how many of the pictures are sent; and `only`, whose cases are known."""


def _plain(value: Any) -> Any:
    """As JSON has it: functions by their names."""
    if isinstance(value, partial):
        return [_plain(value.func), _plain(value.args), _plain(value.keywords)]
    if is_dataclass(value) and not isinstance(value, type):
        left_out = _NOT_SENT if isinstance(value, Experiment) else ()
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value) if f.name not in left_out}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(str, value))  # its own order is another one in each process
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    return f"{value.__module__}.{value.__qualname__}" if callable(value) else str(value)


def _digest(value: Any) -> str:
    return hashlib.blake2b(json.dumps(value, sort_keys=True, default=str).encode(), digest_size=6).hexdigest()
