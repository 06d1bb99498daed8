"""The page of a study: what the paper says, what was found, with tables and figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from gocom.evaluation.experiment.experiment import Against, Claim, Curves, Experiment, Means, Status, Study
from gocom.evaluation.experiment.pictures import sizes
from gocom.evaluation.experiment.views import against_table, draw, means_table, sentences
from gocom.evaluation.measure.statistics import MIN_PICTURES
from gocom.evaluation.report.page import Section, write_page
from gocom.evaluation.report.tables import NOTHING, Mark, Table
from gocom.evaluation.run.work import Row

Results = Mapping[str, Sequence[Row]]
"""Experiment -> its rows; one that was not measured has none."""
COUNTED = (
    "Bytes are all bytes of a frame: headers, packets, captions, masks, repair, all rounds and feedback. Pictures are "
    "cut to 256x256. Seeds of a picture are averaged; intervals are Student's 95 % over pictures; better and worse are "
    "said of the paired t test on the same pictures and losses, at 5 % in all for a metric of a table (Holm); fewer "
    f"than {MIN_PICTURES} pictures decide nothing."
)


def write(study: Study, results: Results, out: Path, measured: Sequence[str], command: str) -> Path:
    """Write OUT/index.html, OUT/README.md and OUT/figures.

    Args:
        measured: sentences on what it was measured with.
        command: that measures what is missing.

    Returns:
        The path of index.html.
    """
    sections = []
    if study.claims:
        sections.append(_overview(study, results))
    if study.differences:
        lines = tuple(tuple(line) for line in study.differences)
        sections.append(Section("What differs everywhere", tables=(Table("", (), ("", "paper", "here"), lines),)))
    sections += [_claim(study, claim, results, command) for claim in study.claims]
    sections += [_experiment(one, results.get(one.name, ()), out, command) for one in study.experiments]
    return write_page(out, study.title, [*study.lead, COUNTED, *measured, f"`{command}`"], sections)


def write_all(
    studies: Mapping[str, Study], pages: Mapping[str, Path], results: Mapping[str, Results], out: Path
) -> Path:
    """Write one page of all studies: each paper's claims with what was found.

    Args:
        pages: path of each study's own page, below `out`.
        results: of each study.

    Returns:
        The path of index.html.
    """
    sections = []
    for name, study in studies.items():
        lines = tuple(
            (claim.names, claim.shows, claim.said, " ".join(_found(study, claim, results[name])) or NOTHING,
             _status(claim, results[name]), claim.differs or NOTHING)
            for claim in study.claims
        )  # fmt: skip
        own = pages[name].relative_to(out)
        table = Table("", (f"Tables, figures and what differs everywhere: {own}.",), _ALL_HEAD, lines)
        sections.append(Section(study.title, tuple(study.lead), (table,), id=name))
    return write_page(out, "Papers on one pipeline: what they claim, and what was found", [COUNTED], sections)


_ALL_HEAD = ("paper", "shows", "the paper", "here", "status", "what differs")


def _overview(study: Study, results: Results) -> Section:
    lines = tuple(
        (claim.names, claim.shows, _status(claim, results), ", ".join(claim.experiments) or NOTHING)
        for claim in study.claims
    )
    head = ("paper", "shows", "here", "answered by")
    return Section("What the paper shows, and where it is answered", tables=(Table("", (), head, lines),))


def _status(claim: Claim, results: Results) -> str | Mark:
    missing = [name for name in claim.experiments if not results.get(name)]
    return Mark("not measured yet", "bad") if missing else claim.status.value


def _claim(study: Study, claim: Claim, results: Results, command: str) -> Section:
    said = [f"Paper: {claim.said}", *_found(study, claim, results)]
    if claim.differs:
        said.append(f"{'Why not' if claim.status is Status.NOT_HERE else 'What differs'}: {claim.differs}")
    tables: tuple[Table, ...] = ()
    if claim.numbers is not None:
        lines = tuple(tuple(map(str, line)) for line in claim.numbers.lines)
        tables = (Table("The paper's numbers", (), tuple(claim.numbers.head), lines),)
    missing = [name for name in claim.experiments if not results.get(name)]
    return Section(
        f"{claim.names}: {claim.shows}", tuple(said), tables,
        note=_how(missing, command) if missing else "",
    )  # fmt: skip


def _how(missing: Sequence[str], command: str) -> str:
    return f"Not measured yet: {command} --experiments {','.join(missing)} measures it."


def _found(study: Study, claim: Claim, results: Results) -> list[str]:
    """A paragraph for each experiment that answers a claim; what one says of several claims stands at the first."""
    experiments, said = {one.name: one for one in study.experiments}, []
    for name in claim.experiments:
        rows = results.get(name, ())
        first = next(one for one in study.claims if name in one.experiments)
        if not rows:
            continue
        if first is not claim:
            said.append(f"Here, `{name}`: see {first.names}.")
            continue
        found = [s for view in experiments[name].views if isinstance(view, Against) for s in sentences(view, rows)]
        found += _findings(experiments[name], rows)
        said.append(f"Here, `{name}`: {' '.join(found) or 'see its tables and figures.'}")
    return said


def _findings(experiment: Experiment, rows: Sequence[Row]) -> list[str]:
    return list(experiment.findings(rows)) if experiment.findings is not None and rows else []


def _experiment(experiment: Experiment, rows: Sequence[Row], out: Path, command: str) -> Section:
    title = f"Experiment `{experiment.name}`: {experiment.title}"
    if not rows:
        said = (experiment.note,) if experiment.note else ()
        return Section(title, said, id=experiment.name, note=_how([experiment.name], command))
    paragraphs = [f"{sizes(rows)}. {experiment.note}".strip(), *_findings(experiment, rows)]
    tables, figures = [], []
    for view in experiment.views:
        if isinstance(view, Means):
            tables.append(means_table(view, rows))
        elif isinstance(view, Against):
            tables.append(against_table(view, rows))
        elif isinstance(view, Curves) and (figure := draw(view, experiment, rows, out)) is not None:
            figures.append(figure)
    return Section(title, tuple(paragraphs), tuple(t for t in tables if t.lines), tuple(figures), id=experiment.name)
