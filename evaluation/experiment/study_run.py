"""Runs studies: measures what is missing, and writes their pages."""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from enum import Enum
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.image_files import report_on_stderr
from gocom.common.nets.loading import resolve_device
from gocom.evaluation.experiment import page
from gocom.evaluation.experiment.experiment import Study
from gocom.evaluation.experiment.study_work import StudyWork
from gocom.evaluation.run.measure import measure
from gocom.evaluation.run.store import Store, write_csv
from gocom.evaluation.run.work import Row
from gocom.evaluation.studies import STUDIES

ALL = "all"
"""Every study, and a page of all of them."""


def run(
    name: str, sources: Mapping[str, Path], out: Path, *, experiments: Sequence[str] | None = None,
    limit: int | None = None, device: str = "auto", console: Console | None = None,
    left_out: Callable[[str], object] = report_on_stderr, **pool: Any,
) -> Path:  # fmt: skip
    """Measure what `out` lacks of a study, and write its page; of all studies where the name is "all".

    Args:
        name: system, or "all".
        sources: folder or tar of each set that the study needs; `labelled` has imagenette's class numbers.
        out: folder of the page; what was measured is kept in it, and a run that was cut short goes on there.
        experiments: names of those to measure; None: all. The page has all that were measured.
        limit: at most so many pictures of a set; None: as many as the experiments want.
        device: of all nets: auto, cpu, cuda.
        console: where progress is shown; None: nowhere.
        left_out: called with the reason for each picture that cannot be read; for each study where the name is "all".
        pool: keyword arguments of `gocom.evaluation.run.measure.measure`.

    Returns:
        The path of index.html.

    Raises:
        UnknownName: there is no such study or experiment.
        InvalidInput: a set has no source, or one that no study needs was given.
        NotReady: a process died; what was done is kept.
    """
    names = list(STUDIES) if name == ALL else [name]
    if name != ALL and name not in STUDIES:
        raise UnknownName("paper", name, [*STUDIES, ALL])
    studies = {one: STUDIES.get(one) for one in names}
    _check(name, studies, sources, experiments)
    pages, results = dict[str, Path](), dict[str, page.Results]()
    for one, study in studies.items():
        folder = out / one if name == ALL else out
        chosen = [e.name for e in study.experiments if experiments is None or e.name in experiments]
        work = StudyWork(one, {kind: sources[kind] for kind in study.sets}, chosen, limit)
        for reason in work.pictures.unreadable:
            left_out(reason)
        measure(work, folder, device=device, console=console, **pool)
        results[one] = kept(work, folder)
        pages[one] = write(work, results[one], folder, device)
    return pages[name] if name != ALL else page.write_all(studies, pages, results, out)


def _check(
    name: str, studies: Mapping[str, Study], sources: Mapping[str, Path], experiments: Sequence[str] | None
) -> None:
    known = [one.name for study in studies.values() for one in study.experiments]
    if unknown := [one for one in experiments or () if one not in known]:
        raise UnknownName("experiments", unknown[0], known)
    needed = {kind: words for study in studies.values() for kind, words in study.sets.items()}
    if useless := [kind for kind in sources if kind not in needed]:
        raise InvalidInput(f"{useless[0]}: {name} has no use for it; it takes {', '.join(needed)}")
    if lacking := [kind for kind in needed if kind not in sources]:
        raise InvalidInput(f"paper: {name} also needs " + ", ".join(f"--{k} ({needed[k]})" for k in lacking))


def kept(work: StudyWork, out: Path) -> page.Results:
    """Rows of each experiment of the study that was measured in `out` to its end."""
    store, results = Store(out, {}), dict[str, list[Row]]()
    for experiment in work.study.experiments:
        tasks = work.tasks_of(experiment)
        if tasks and not store.missing(tasks):
            results[experiment.name] = [row for task in tasks for row in store.read(task).rows]
    return results


def write(work: StudyWork, results: page.Results, out: Path, device: str = "auto") -> Path:
    """Write the page of a study, and OUT/rows/<experiment>.csv."""
    (out / "rows").mkdir(parents=True, exist_ok=True)
    for name, rows in results.items():
        write_csv(out / "rows" / f"{name}.csv", rows, dict.fromkeys(key for row in rows for key in row))
    given = " ".join(f"--{name} {path.name}" for name, path in work.sources.items())
    limit = "" if work.limit is None else f" --count {work.limit}"
    command = f"gocom eval --paper {work.system} {given}{limit}"
    return page.write(work.study, results, out, _measured(work, device), command)


def _measured(work: StudyWork, device: str) -> list[str]:
    place = resolve_device(device)
    machine = torch.cuda.get_device_name(place) if place.type == "cuda" else platform.machine()
    nets = ", ".join(f"{net} {digest}" for net, digest in work.nets().items())
    sets = ", ".join(f"{name} of {path.name}" for name, path in work.sources.items())
    limit = "" if work.limit is None else f", at most {work.limit} pictures of a set"
    sampler = work.study.sampler
    said = [f"Sets: {sets}{limit}. Machine: {machine}, {place.type}." + (f" Nets: {nets}." if nets else "")]
    return said + ([f"The sampler, where nothing else is said: {_words(sampler)}."] if sampler is not None else [])


def _words(settings: Any) -> str:
    """A dataclass as "steps 8, draw expected"."""
    values = {field.name: getattr(settings, field.name) for field in fields(settings)}
    return ", ".join(f"{name} {v.value if isinstance(v, Enum) else v}" for name, v in values.items())
