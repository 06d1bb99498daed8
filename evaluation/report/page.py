"""A page: index.html, which works offline, and README.md beside it with the same tables and figures."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from gocom.evaluation.report.tables import Mark, Table, to_markdown

_INTERVAL = re.compile(r"(?P<mean>[-+]?[\d.]+) \((?P<rest>\S+ to [^)\s]+)\)(?P<more>.*)")


@dataclass(frozen=True, slots=True)
class Figure:
    """A PNG below the page's folder, with a title and sentences that say what it shows."""

    path: Path
    title: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Section:
    """A heading with what stands below it: sentences, then figures, then tables.

    Attributes:
        id: what a link within the page names; "": no link at its top.
        level: of the heading, 2 or 3.
        note: said in red, such as what is missing; "": nothing.
        folded: what is behind a click in HTML.
    """

    title: str
    paragraphs: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    figures: tuple[Figure, ...] = ()
    id: str = ""
    level: int = 2
    note: str = ""
    folded: bool = False


@dataclass(frozen=True, slots=True)
class FirstScreen:
    """What a stranger sees first: plain sentences, and one picture."""

    sentences: tuple[str, ...]
    figure: Figure | None = None


def write_page(
    out: Path, title: str, lead: Sequence[str], sections: Sequence[Section], first_screen: FirstScreen | None = None
) -> Path:
    """Write OUT/index.html and OUT/README.md.

    Args:
        lead: sentences below the title, or below the first screen where there is one.

    Returns:
        The path of index.html: style and figures are in it.

    Raises:
        OSError: a figure is missing, or a file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("gocom.evaluation.report", "."), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters |= {"said": said, "cell": html_cell, "kind": _kind, "inlined": _inlined}
    given = {"title": title, "lead": lead, "sections": sections, "first": first_screen}
    out.mkdir(parents=True, exist_ok=True)
    page = out / "index.html"
    page.write_text(environment.get_template("page.html").render(given), "utf-8")
    (out / "README.md").write_text(_markdown(out, title, lead, sections, first_screen), "utf-8")
    return page


def said(text: str) -> Markup:
    """Markdown's code marks are the only ones in our words."""
    parts = [escape(part) for part in text.split("`")]
    return Markup("").join(Markup("<code>{}</code>").format(part) if i % 2 else part for i, part in enumerate(parts))


def html_cell(cell: str | Mark) -> Markup:
    """An interval stands below its mean."""
    match = _INTERVAL.fullmatch(str(cell))
    if match is None:
        return said(str(cell))
    return Markup("{}<small>{}{}</small>").format(match["mean"], match["rest"], match["more"])


def _kind(cell: str | Mark) -> str:
    return cell.kind if isinstance(cell, Mark) else ""


def _inlined(path: Path) -> str:
    """As an address that holds the picture itself."""
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def _markdown(
    out: Path, title: str, lead: Sequence[str], sections: Sequence[Section], first: FirstScreen | None
) -> str:
    parts = [f"# {title}"]
    if first is not None:
        parts += first.sentences
        parts += [_figure(out, first.figure)] if first.figure else []
    parts += lead
    for section in sections:
        parts.append(f"{'#' * section.level} {section.title}")
        parts += [f"**{section.note}**"] if section.note else []
        parts += section.paragraphs
        parts += [_figure(out, figure) for figure in section.figures]
        parts += [to_markdown(table, section.level + 1).strip() for table in section.tables]
    return "\n\n".join(parts) + "\n"


def _figure(out: Path, figure: Figure) -> str:
    notes = "".join(f"\n\n{note}" for note in figure.notes)
    return f"![{figure.title}]({figure.path.resolve().relative_to(out.resolve()).as_posix()}){notes}"
