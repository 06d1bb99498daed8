"""A paper's page: index.html that works offline, and README.md with the same tables."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from gocom.evaluation.papers.items import Grid, Item, Results, Status
from gocom.evaluation.study.tables import table

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 80rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h2 { margin-top: 2.5rem; border-top: 1px solid #ccc; padding-top: 1rem } h3 { font-size: 1rem; margin-bottom: .3rem }
.wide { overflow-x: auto } table { border-collapse: collapse; font-size: 13px }
td, th { padding: .25rem .6rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top }
td { font-variant-numeric: tabular-nums } img { max-width: 100% } .bad { color: #b00; font-weight: bold }
dt { font-weight: bold } dd { margin: 0 0 .4rem 0 }
"""


@dataclass(frozen=True, slots=True)
class Section:
    """An item with what the results say of it; `remark`: what is missing or out of date, None: nothing."""

    item: Item
    grids: Sequence[Grid]
    answer: str
    remark: str | None
    figures: Sequence[str]

    missing: bool = False
    """Parts that answer it have not been measured."""

    @property
    def status(self) -> str:
        """As the overview has it."""
        return "missing" if self.missing else self.item.status.value


def section(item: Item, results: Results, stale: Sequence[str], drawn: Sequence[str], command: str) -> Section:
    """Answer an item. Where a part has no rows it says so, and how to get them.

    Args:
        stale: parts measured with other nets, settings or counts than there are now.
        drawn: names of the PNGs that were made.
        command: that measures what is missing.
    """
    missing = item.missing(results)
    remarks = []
    if missing:
        remarks.append(f"Missing: {_parts(missing)} not measured yet. `{command}` measures it.")
    if old := [part for part in item.parts if part in stale]:
        remarks.append(f"Out of date: {_parts(old)} measured with other nets, settings or counts than there are now.")
    grids = item.ours(results) if item.ours and not missing else []
    answer = item.answer(results) if item.answer and not missing else ""
    figures = [name for name in item.figures if name in drawn]
    return Section(item, grids, answer, " ".join(remarks) or None, figures, bool(missing))


def _parts(names: Sequence[str]) -> str:
    return f"the study's part{'s' * (len(names) > 1)} {', '.join(names)}, which {'were' if names[1:] else 'was'}"


def write(out: Path, title: str, lead: Sequence[str], differences: Grid, sections: Sequence[Section]) -> Path:
    """Write README.md and index.html; `out` has the figures. Returns the path of index.html."""
    overview = Grid(
        ["paper", "shows", "here", "our parts"],
        [[s.item.name, s.item.shows, s.status, ", ".join(s.item.parts) or "–"] for s in sections],
        "What the paper shows, and where it is answered",
    )
    figures = {name: (out / name).read_bytes() for s in sections for name in s.figures}
    (out / "README.md").write_text(_markdown(title, lead, [overview, differences], sections), "utf-8")
    page = out / "index.html"
    page.write_text(_html(title, lead, [overview, differences], sections, figures), "utf-8")
    return page


def shrink(png: Path) -> None:
    """A palette keeps a page small. By octree: a median cut gives thin lines each other's colours."""
    picture = Image.open(png).convert("RGB")
    picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(png, optimize=True)


def _markdown(title: str, lead: Sequence[str], grids: Sequence[Grid], sections: Sequence[Section]) -> str:
    text = [f"# {title}\n", *(f"{line}\n" for line in lead), *map(_grid_markdown, grids)]
    seen: set[str] = set()
    for one in sections:
        text.append(f"## {one.item.name}: {one.item.shows}\n")
        text += [f"**{name}** {words}\n" for name, words in _words(one)]
        text += map(_grid_markdown, one.grids)
        text += [f"![{name}]({name})\n" for name in one.figures if name not in seen]
        seen |= set(one.figures)
    return "\n".join(text)


def _words(one: Section) -> list[tuple[str, str]]:
    """(heading, text): what is there to say before the tables."""
    differs = {Status.NOT_HERE: "Why not.", Status.DRAWING: "Ours."}.get(one.item.status, "What differs.")
    lines = [("Paper.", one.item.said), ("Here.", one.answer), (differs, one.item.differs), ("Note.", one.remark or "")]
    return [(name, words) for name, words in lines if words]


def _grid_markdown(grid: Grid) -> str:
    head, *lines = [[str(value).replace("|", "\\|") for value in line] for line in (grid.head, *grid.lines)]
    return "\n".join([*([f"{grid.title}:\n"] if grid.title else []), table(head, lines)])


def _html(
    title: str,
    lead: Sequence[str],
    grids: Sequence[Grid],
    sections: Sequence[Section],
    figures: Mapping[str, bytes],
) -> str:
    body, seen = [f"<p>{_text(line)}</p>" for line in lead] + [_grid_html(grid) for grid in grids], set[str]()
    for one in sections:
        body.append(f"<h2>{_text(one.item.name)}: {_text(one.item.shows)}</h2>\n<dl>")
        for name, words in _words(one):
            body.append(f"<dt>{name}</dt><dd{' class=bad' if name == 'Note.' else ''}>{_text(words)}</dd>")
        body.append("</dl>")
        body += [_grid_html(grid) for grid in one.grids]
        for name in one.figures:
            if name in seen:
                body.append(f"<p>Its plot is above: {_text(name)}.</p>")
                continue
            seen.add(name)
            data = base64.b64encode(figures[name]).decode()
            body.append(f'<img alt="{html.escape(name)}" src="data:image/png;base64,{data}">')
    return f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
<h1>{html.escape(title)}</h1>
{chr(10).join(body)}
</html>
"""


def _grid_html(grid: Grid) -> str:
    head = "".join(f"<th>{_text(name)}</th>" for name in grid.head)
    lines = "\n".join("<tr>" + "".join(f"<td>{_text(str(v))}</td>" for v in line) + "</tr>" for line in grid.lines)
    title = f"<h3>{_text(grid.title)}</h3>" if grid.title else ""
    return f'{title}\n<div class="wide"><table>\n<tr>{head}</tr>\n{lines}\n</table></div>'


def _text(text: str) -> str:
    """Markdown's code marks are the only ones in our words."""
    parts = html.escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
