"""The folder of a work: what is measured there, and what is done.

OUT/setting.json      the record of the work: another work may not go on here
OUT/parts/TASK.json   rows and timings of each task that is done, written in one go; arrays are in TASK.npz
"""

from __future__ import annotations

import csv
import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from gocom.common.errors import InvalidInput
from gocom.evaluation.run.work import Done, Row, T, Task

_MAY_DIFFER = {"commit"}
"""A commit that changes nothing else of a record, such as one of docs, makes no other work of it."""


class Store:
    """One folder.

    Args:
        out: the folder; it is made.
        record: what is measured there, as plain JSON; empty: the folder is taken as it is.

    Attributes:
        record: that of the run that began here.

    Raises:
        InvalidInput: the folder has another record, or cannot be made.
    """

    def __init__(self, out: Path, record: Mapping[str, Any]) -> None:
        self._parts = out / "parts"
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"out: {str(out)!r} cannot be made: {error.strerror}") from error
        path = out / "setting.json"
        self.record: dict[str, Any] = dict(record)
        if record and path.is_file():
            self.record = json.loads(path.read_text())
            if others := differing(self.record, record):
                said = ", ".join(others)
                raise InvalidInput(f"out: {str(out)!r} has an evaluation with other {said}; choose another")
        elif record:
            write_json(path, self.record)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """While it is open no other process measures here. Raises InvalidInput where one does already."""
        folder = os.open(self._parts, os.O_RDONLY)
        try:
            try:
                fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InvalidInput(f"out: another process is measuring in {str(self._parts.parent)!r}") from None
            yield
        finally:
            os.close(folder)

    def missing(self, tasks: Iterable[T]) -> list[T]:
        """Those that are not done."""
        return [task for task in tasks if not self._path(task).is_file()]

    def keep(self, task: Task, done: Done) -> None:
        """A task is done. Kept again it counts once."""
        if done.arrays:
            with _unfinished(self._path(task).with_suffix(".npz")).open("wb") as file:
                np.savez(file, **done.arrays)
            os.replace(file.name, self._path(task).with_suffix(".npz"))
        write_json(self._path(task), {"rows": done.rows, "timings": done.timings})

    def read(self, task: Task) -> Done:
        """What was kept of a task that is done."""
        part, arrays = json.loads(self._path(task).read_text()), self._path(task).with_suffix(".npz")
        if not arrays.is_file():
            return Done(part["rows"], part["timings"])
        with np.load(arrays) as kept:
            return Done(part["rows"], part["timings"], dict(kept))

    def _path(self, task: Task) -> Path:
        return self._parts / f"{task.name}.json"


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Names of what two records do not agree in."""
    # As they are when they are read again: tuples are lists there.
    one, other = (json.loads(json.dumps(dict(record))) for record in (one, other))
    return sorted(name for name in (one.keys() | other.keys()) - _MAY_DIFFER if one.get(name) != other.get(name))


def write_json(path: Path, value: Any) -> None:
    """In one go: a run that is cut short leaves no half of it."""
    _unfinished(path).write_text(json.dumps(value, indent=1) + "\n")
    os.replace(_unfinished(path), path)


def write_csv(path: Path, rows: Iterable[Row], columns: Iterable[str]) -> None:
    """All rows, in one go; a cell is empty where a row lacks it, a float has the digits that bring it back exactly."""
    with _unfinished(path).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(columns), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    os.replace(_unfinished(path), path)


def _unfinished(path: Path) -> Path:
    return path.with_name(path.name + ".part")
