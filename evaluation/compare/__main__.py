"""`python -m gocom.evaluation.compare OUT`: the page of an evaluation that was done, drawn anew from its files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gocom.client.command_process import run_command
from gocom.common.errors import InvalidInput
from gocom.evaluation.compare.page import write_report


def main(
    out: Annotated[Path, typer.Argument(help="folder of `gocom eval`, with results.csv and results.json")],
) -> None:
    """Draw the page of an evaluation that was done anew from its files."""
    for name in ("results.csv", "results.json"):
        if not (out / name).is_file():
            raise InvalidInput(f"out: {str(out)!r} has no {name}; `gocom eval --out {out}` makes it")
    print(write_report(out))


if __name__ == "__main__":
    run_command(main)
