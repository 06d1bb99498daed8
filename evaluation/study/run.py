"""Runs a study: each part writes its rows as soon as it is done; one that has its file is left as it is.

Tables, plots and README.md are made anew from the files each time.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

import typer
from tqdm import tqdm

from gocom.evaluation.study.store import Part, Study, read_result, write_readme, write_result


def choose(study: Study, names: str | None) -> list[Part]:
    """Return the parts of a study with these names ("a,b"), in the study's order; None: all parts."""
    parts = {part.name: part for part in study.parts}
    wanted = list(parts) if names is None else [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in parts]
    if unknown:
        raise typer.BadParameter(f"no part {', '.join(unknown)}; choose {', '.join(parts)}", param_hint="--parts")
    return [part for name, part in parts.items() if name in wanted]


def to_measure(study: Study, out: Path, parts: Sequence[Part]) -> list[Part]:
    """Those that have no file in `out`, or one that is out of date."""
    return [part for part in parts if (found := read_result(out, part)) is None or study.stale(found)]


def run(
    study: Study, sources: dict[str, Path], out: Path, parts: Sequence[Part], limit: int | None, device: str,
    again: bool = False,
) -> None:  # fmt: skip
    """Measure what is missing, or with `again` all of the parts, then write the reports."""
    todo = list(parts) if again else to_measure(study, out, parts)
    if todo:
        world = study.make_world(sources, device, limit)
        about = study.setting(world)
        for part in tqdm(todo, desc="study", unit="part"):
            start = time.perf_counter()
            rows = part.measure(world)
            write_result(out, part, rows, time.perf_counter() - start, about | {"counts": study.counts_of(part.name)})
            write_readme(out, study)
    write_readme(out, study)
