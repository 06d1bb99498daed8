"""A table as HTML and as Markdown."""

from __future__ import annotations

import re
from html import escape

from gocom.evaluation.compare.tables import Mark, Table

_INTERVAL = re.compile(r"(?P<mean>[-+]?[\d.]+|[-+]?inf) \((?P<rest>\S+ to [^)\s]+)\)(?P<more>.*)")


def html_table(table: Table, titled: bool = True) -> str:
    """With its title, if wanted, and sentences; an interval stands below its mean."""
    notes = "".join(f"<p>{escape(note)}</p>" for note in table.notes)
    head = "".join(f"<th>{escape(text)}</th>" for text in table.head)
    body = "\n".join(f"<tr>{''.join(map(_html_cell, line))}</tr>" for line in table.lines)
    title = f"<h3>{escape(table.title)}</h3>" if titled else ""
    return (
        f"{title}{notes}\n"
        f'<div class="wide"><table><thead><tr>{head}</tr></thead>\n<tbody>{body}</tbody></table></div>\n'
    )


def _html_cell(cell: str | Mark) -> str:
    text, kind = (cell.text, f' class="{cell.kind}"') if isinstance(cell, Mark) else (cell, "")
    match = _INTERVAL.fullmatch(text)
    if match is None:
        return f"<td{kind}>{escape(text)}</td>"
    more = f" {escape(match['more'].strip())}" if match["more"] else ""
    return f"<td{kind}>{match['mean']}<small>{escape(match['rest'])}{more}</small></td>"


def markdown_table(table: Table, level: int = 3) -> str:
    """With its title and sentences; the best, and a winner that is semantic, are bold."""
    lines = [table.head, ["-"] * len(table.head), *([_markdown_cell(cell) for cell in line] for line in table.lines)]
    body = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    notes = "".join(f"{note}\n\n" for note in table.notes)
    return f"{'#' * level} {table.title}\n\n{notes}{body}\n"


def _markdown_cell(cell: str | Mark) -> str:
    if not isinstance(cell, Mark):
        return cell.replace("|", "\\|")
    text = cell.text.replace("|", "\\|")
    return f"**{text}**" if cell.kind in ("best", "semantic") else text
