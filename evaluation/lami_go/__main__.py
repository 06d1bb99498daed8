"""The lami_go study.

    python -m evaluation.lami_go --images KODAK --labelled imagenette-val.tar --street camvid-val.tar \
        --out docs/results/lami_go

Each part writes its rows as soon as it is done; one that has its file is skipped unless --again is given. Tables,
plots and README.md are made anew from the files each time.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from tqdm import tqdm

from evaluation.lami_go import coding, denoiser, erasure, mixture, noise, policies, ratio, refinement, showtime, steps
from evaluation.lami_go.store import Part, read_result, setting, stale, write_readme, write_result
from evaluation.lami_go.world import World

PARTS: dict[str, Part] = {
    module.PART.name: module.PART
    for module in (denoiser, coding, policies, ratio, steps, mixture, noise, erasure, refinement, showtime)
}


def choose(names: str | None) -> list[Part]:
    """ "a,b" -> those parts, in the study's order; None: all."""
    wanted = list(PARTS) if names is None else [name.strip() for name in names.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in PARTS]
    if unknown:
        raise typer.BadParameter(f"no part {', '.join(unknown)}; choose {', '.join(PARTS)}", param_hint="--parts")
    return [part for name, part in PARTS.items() if name in wanted]


def run(sources: dict[str, Path], out: Path, parts: list[Part], limit: int | None, device: str, again: bool) -> None:
    """Measure what is missing, then write the reports."""
    todo = [part for part in parts if again or (found := read_result(out, part)) is None or stale(found)]
    if todo:
        world = World(sources, device, limit)
        about = setting(world)
        for part in tqdm(todo, desc="study", unit="part"):
            start = time.perf_counter()
            rows = part.measure(world)
            write_result(out, part, rows, time.perf_counter() - start, about)
            write_readme(out, PARTS.values())
    write_readme(out, PARTS.values())


def main(
    images: Annotated[Path, typer.Option(help="folder or tar of pictures; each is cut to 256x256", exists=True)],
    labelled: Annotated[Path, typer.Option(help="folder or tar with imagenette's class numbers", exists=True)],
    street: Annotated[Path, typer.Option(help="folder or tar of street scenes", exists=True)],
    out: Annotated[Path, typer.Option(help="folder of rows, tables, plots and README.md")],
    parts: Annotated[str | None, typer.Option(help=f"of {', '.join(PARTS)}; comma-separated; default: all")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="at most so many pictures of a set")] = None,
    device: str = "auto",
    again: Annotated[bool, typer.Option("--again", help="measure parts that are there already")] = False,
) -> None:
    """Run the study."""
    sources = {"images": images, "labelled": labelled, "street": street}
    run(sources, out, choose(parts), limit, device, again)
    print(f"{out / 'README.md'}")


if __name__ == "__main__":
    typer.run(main)
