"""What `gocom send` prints at its end: a table of the results, remarks on some of them, and a summary."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.table import Table
from rich.text import Text

from gocom.client.console import out, say, show
from gocom.client.results import ProtectedSegment, SendResult, describe_task
from gocom.common.printable_text import printable

HEADS = ("bytes", "bpp", "packets", "PSNR dB", "MS-SSIM", "s")
NARROW = 72
"""Width of a terminal, in characters, that the table needs; in a narrower one each result is a line."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is kept of a result until the end: no pictures, since a batch may have thousands of them.

    Attributes:
        name: name of the picture, as it is shown.
        cells: one text for each of HEADS.
        outcome: "reconstructed", else the kind of failure.
        is_error, protection: those of the result.
        remarks: lines about the power of packets, the goal's task, and why there is no picture.
    """

    name: str
    cells: tuple[str, ...]
    outcome: str
    is_error: bool
    protection: tuple[ProtectedSegment, ...]
    remarks: tuple[str, ...]


def make_row(name: str, result: SendResult) -> Row:
    """Return what is kept of the result of the picture with this name."""
    remarks = []
    if result.power is not None:
        remarks.append(f"power of packets {result.power[0]:.3g} to {result.power[1]:.3g}, mean 1")
    if result.task_result is not None:
        remarks.append(describe_task(result.task_result))
    if result.reason:
        remarks.append(result.reason)
    cells = (
        str(result.bytes_total), f"{result.bpp:.4f}", f"{result.packets_received}/{result.packets_sent}",
        format_number(result.psnr_db, 2), format_number(result.ms_ssim, 4), f"{result.seconds['total']:.2f}",
    )  # fmt: skip
    outcome = result.failure or result.outcome
    return Row(printable(name), cells, outcome, result.is_error, result.protection, tuple(remarks))


def print_rows(rows: Sequence[Row], pictures: int) -> None:
    """Print rows, one at least, and where there could be more than one, a summary.

    Args:
        rows: the results so far.
        pictures: number of pictures that were to be sent.
    """
    if out.width >= NARROW:
        show(_table(rows))
    else:  # columns of a few characters cannot be read
        for row in rows:
            cells = (f"{head} {cell}" for head, cell in zip(HEADS, row.cells, strict=True))
            say(f"{row.name}: {row.outcome}, {', '.join(cells)}")
    if any(row.protection for row in rows):
        show(_protection_table(rows))
    for row in rows:
        for remark in row.remarks:
            say(f"{row.name}: {remark}")
    if pictures > 1:
        say(summarize(rows, pictures))


def summarize(rows: Sequence[Row], pictures: int) -> str:
    """Return the counts of outcomes in one line, such as "2 of 9 pictures: 1 reconstructed, 1 invalid"."""
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in Counter(row.outcome for row in rows).items())
    counted = f"{pictures} pictures" if len(rows) == pictures else f"{len(rows)} of {pictures} pictures"
    return f"{counted}: {outcomes}" if outcomes else counted


def outcome_text(outcome: str) -> Text:
    """Return the word for an outcome, in red if it is not the good one."""
    return Text(outcome, style="" if outcome == "reconstructed" else "red")


def format_number(value: float | None, digits: int) -> str:
    """Format a measured value for a table; "-" for None, "inf" for an infinite one."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if math.isfinite(value) else "inf"


def _table(rows: Sequence[Row]) -> Table:
    table = Table("picture", box=SIMPLE, padding=(0, 1, 0, 0))
    for head in HEADS:
        table.add_column(head, justify="right")
    table.add_column("outcome")
    for row in rows:
        table.add_row(row.name, *row.cells, outcome_text(row.outcome))
    return table


def _protection_table(rows: Sequence[Row]) -> Table:
    """Return a table of the repair packets of unequal protection, with the loss expected without and with them."""
    table = Table("picture", "round", "segment", box=SIMPLE, title="unequal protection", title_justify="left")
    for head in ("importance", "source", "repair", "lost without", "lost with"):
        table.add_column(head, justify="right")
    for row in rows:
        for s in row.protection:
            table.add_row(
                row.name, str(s.round), s.name, f"{s.importance:.1f}", str(s.source_packets), str(s.repair_packets),
                f"{s.loss_without:.2%}", f"{s.loss_with:.2%}",
            )  # fmt: skip
    return table
