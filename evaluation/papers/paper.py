"""A paper whose figures and tables a study answers: measures what is missing, and makes the page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gocom.common.errors import InvalidInput
from gocom.evaluation.papers.items import Grid, Item, Results
from gocom.evaluation.papers.page import section, shrink, write
from gocom.evaluation.study.run import run, to_measure
from gocom.evaluation.study.store import Study, read_result


@dataclass(frozen=True, slots=True)
class Paper:
    """What `gocom eval --paper NAME` needs to know; NAME is the codec's.

    Attributes:
        study: that answers the items.
        title, lead: of the page: heading, and what stands below it.
        items: every figure, table or claim of the paper.
        differences: (what, paper, here): of every item.
        draw: results, folder -> names of the PNGs it wrote there.
    """

    study: Study
    title: str
    lead: Sequence[str]
    items: Sequence[Item]
    differences: Sequence[Sequence[str]]
    draw: Callable[[Results, Path], list[str]]

    @property
    def command(self) -> str:
        """That makes the page."""
        return f"gocom eval --paper {self.study.codec}"

    def run(
        self, sources: Mapping[str, Path], out: Path, limit: int | None, device: str, say: Callable[[str], None]
    ) -> Path:
        """Measure the parts of the study that `out` lacks or has out of date, and make the page.

        Args:
            sources: folder or tar of each set of the study; `labelled` has imagenette's class numbers.
            out: the study's files go here, the page into its folder paper_NAME.
            limit: at most so many pictures of a set; None: as many as the study wants. Parts that are there are kept,
                whatever theirs was.
            device: of all nets: auto, cpu, cuda.
            say: told what is going on, a line at a time.

        Returns:
            The path of index.html.

        Raises:
            InvalidInput: a set has no source.
            OSError: a source cannot be read, or `out` not written.
        """
        study = self.study
        if lacking := [name for name in study.sets if name not in sources]:
            raise InvalidInput(f"paper: {study.codec} also needs {', '.join(f'--{name}' for name in lacking)}")
        todo = [part.name for part in to_measure(study, out, study.parts)]
        say(f"to measure: {', '.join(todo)}" if todo else "every part of the study is there")
        run(study, {name: sources[name] for name in study.sets}, out, study.parts, limit, device)
        page = self.write(out, out)
        say(str(page))
        return page

    def write(self, results: Path, out: Path) -> Path:
        """Make out/paper_NAME/index.html and README.md from the study's JSON files in `results`, those there are.

        Returns:
            The path of index.html.
        """
        study = self.study
        found = {part.name: result for part in study.parts if (result := read_result(results, part)) is not None}
        rows = {name: result["rows"] for name, result in found.items()}
        old = [name for name, result in found.items() if study.stale(result)]
        folder = out / f"paper_{study.codec}"
        folder.mkdir(parents=True, exist_ok=True)
        drawn = self.draw(rows, folder)
        for name in drawn:
            shrink(folder / name)
        sections = [section(item, rows, old, drawn, self.command) for item in self.items]
        differences = Grid(["", "paper", "here"], self.differences, "What differs everywhere")
        return write(folder, self.title, [*self.lead, _measured(found)], differences, sections)


def _measured(found: Mapping[str, Mapping[str, Any]]) -> str:
    """With what the results were measured; parts that differ are said apart."""
    groups: dict[str, list[str]] = {}
    for name, result in found.items():
        nets = ", ".join(f"{net} {digest}" for net, digest in result["nets"].items())
        limit = "" if result["limit"] is None else f", at most {result['limit']} pictures of a set"
        sets = ", ".join(f"{name} of {source}" for name, source in result["sources"].items())
        machine = f"{result['device']}, {result['machine']}, {result['torch_threads']} torch threads"
        groups.setdefault(f"{sets or 'sets not named'}{limit}; {machine}; nets {nets}", []).append(name)
    said = [f"{', '.join(names)}: {setting}" for setting, names in groups.items()]
    return f"Measured on: {'. '.join(said)}." if said else "Nothing has been measured yet."
