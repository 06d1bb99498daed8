"""`gocom eval --paper lami_go`: the figures and tables that the bundled nets can answer, beside the paper's numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from common.errors import InvalidInput
from evaluation.lami_go.__main__ import PARTS
from evaluation.lami_go.__main__ import run as run_study
from evaluation.lami_go.store import read_result, stale
from evaluation.lami_go.tables import SETS
from evaluation.papers import lami_go_figures as figures
from evaluation.papers.items import Grid
from evaluation.papers.lami_go_items import DIFFERENCES, ITEMS
from evaluation.papers.page import section, write

FOLDER = "paper_lami_go"
COMMAND = "gocom eval --paper lami_go"
TITLE = "LaMI-GO: the paper's figures and tables, and ours"
LEAD = (
    "A. Wijesinghe, S. Wanninayaka, W. Wang, Y.-C. Chao, S. Zhang, Z. Ding: LaMI-GO: Latent Mixture Integration for "
    "Goal-Oriented Communications Achieving High Spectrum Efficiency. The paper's numbers are those of its text; where "
    "a figure's are not in it, none are given. Ours are means with a 95 % bootstrap interval over pictures, measured "
    "by `python -m evaluation.lami_go`, through the same encoder, packets, channel and decoder that users run.",
    "FID, LPIPS, depth and mAP need weights that are not bundled: deep-feature distance (lower is better) stands "
    "beside LPIPS, and PSNR (higher is better) beside FID. They are other scales.",
    "How to read it: both sides have the same question, not the same pictures, nets or judges. Whether one setting is "
    "better than another can be compared; the numbers themselves cannot. Better, worse and not told apart are said of "
    "the interval of the paired difference on the same pictures.",
)


def run(sources: Mapping[str, Path], out: Path, limit: int | None, device: str, say: Callable[[str], None]) -> Path:
    """Measure the parts of the study that `out` lacks or has out of date, and make the page.

    Args:
        sources: folder or tar of each set: images, labelled (with imagenette's class numbers), street.
        out: the study's files go here, the page into its folder paper_lami_go.
        limit: at most so many pictures of a set; None: as many as evaluation/lami_go/counts.py says. Parts that are
            there are kept, whatever theirs was.
        device: of all nets: auto, cpu, cuda.
        say: told what is going on, a line at a time.

    Returns:
        The path of index.html.

    Raises:
        InvalidInput: a set has no source.
        OSError: a source cannot be read, or `out` not written.
    """
    if lacking := [name for name in SETS if name not in sources]:
        raise InvalidInput(f"sources: {', '.join(lacking)} missing; the paper's page needs {', '.join(SETS)}")
    todo = [name for name, part in PARTS.items() if (found := read_result(out, part)) is None or stale(found)]
    say(f"to measure: {', '.join(todo)}" if todo else "every part of the study is there")
    run_study(dict(sources), out, list(PARTS.values()), limit, device, again=False)
    page = write_page(out, out)
    say(str(page))
    return page


def write_page(results: Path, out: Path) -> Path:
    """Make out/paper_lami_go/index.html and README.md from the study's JSON files in `results`, as many as there are.

    Returns:
        The path of index.html.
    """
    found = {name: result for name, part in PARTS.items() if (result := read_result(results, part)) is not None}
    rows = {name: result["rows"] for name, result in found.items()}
    old = [name for name, result in found.items() if stale(result)]
    folder = out / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    drawn = figures.draw(rows, folder)
    sections = [section(item, rows, old, drawn, COMMAND) for item in ITEMS]
    differences = Grid(["", "paper", "here"], DIFFERENCES, "What differs everywhere")
    return write(folder, TITLE, [*LEAD, _measured(found)], differences, sections)


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
