"""The lami_go study.

    python -m gocom.evaluation.lami_go --images KODAK --labelled imagenette-val.tar --street camvid-val.tar \
        --out docs/results/lami_go

Parts that were measured are skipped unless --again is given.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gocom.client.command_process import run_command
from gocom.evaluation.lami_go.study import STUDY
from gocom.evaluation.study.run import choose, run

NAMES = ", ".join(part.name for part in STUDY.parts)


def main(
    images: Annotated[Path, typer.Option(help="folder or tar of pictures; each is cut to 256x256", exists=True)],
    labelled: Annotated[Path, typer.Option(help="folder or tar with imagenette's class numbers", exists=True)],
    street: Annotated[Path, typer.Option(help="folder or tar of street scenes", exists=True)],
    out: Annotated[Path, typer.Option(help="folder of rows, tables, plots and README.md")],
    parts: Annotated[str | None, typer.Option(help=f"of {NAMES}; comma-separated; default: all")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="at most so many pictures of a set")] = None,
    device: str = "auto",
    again: Annotated[bool, typer.Option("--again", help="measure parts that are there already")] = False,
) -> None:
    """Run the study."""
    sources = {"images": images, "labelled": labelled, "street": street}
    run(STUDY, sources, out, choose(STUDY, parts), limit, device, again)
    print(f"{out / 'README.md'}")


if __name__ == "__main__":
    run_command(main)
