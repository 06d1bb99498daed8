"""Short, equal runs, on the same windows, of token denoisers of several widths: which one to train for long.

    python -m gocom.training.compare_denoisers --data TARS --held-out eval/kodak --minutes 4 --out table.md

Each starts from the codewords and trains for the same wall-clock minutes on the same data; what counts is the
held-out metric at the end. Same size of file (at most 7.3 M parameters), so the choice is about shape.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import torch
import typer

from gocom.client.command_process import run_command
from gocom.common.model_files import model_folder
from gocom.training.loop import LoopOptions, train
from gocom.training.token_denoiser import TokenDenoiserRecipe

CANDIDATES: dict[str, tuple[tuple[int, int, int], int]] = {
    "80/112/144, one layer": ((80, 112, 144), 1),
    "112/112/112, one layer": ((112, 112, 112), 1),
    "64/96/160, one layer": ((64, 96, 160), 1),
    "64/80/112, two layers": ((64, 80, 112), 2),
}


def main(
    data: Annotated[Path, typer.Option(help="folder of tars, one tar, or a folder of images")],
    held_out: Annotated[Path, typer.Option(help="pictures never trained on")],
    minutes: float = 4.0,
    batch: int = 32,
    learning_rate: float = 8e-4,
    device: str = "auto",
    threads: int = os.cpu_count() or 1,
    work_dir: Path = Path("build/training"),
    out: Path = Path("build/compare_denoisers.md"),
) -> None:
    """Train every candidate from scratch and write a table."""
    torch.set_num_threads(threads)
    recipe = TokenDenoiserRecipe(data, held_out, batch, device, 0, model_folder("vq_tokenizer"), work_dir)
    lines = [f"{minutes:g} minutes each, batch {batch}, {threads} threads", ""]
    lines += ["| widths | parameters | steps | 25 %: exact | bits | 50 %: exact | bits |", "|-|-|-|-|-|-|-|"]
    for name, (channels, layers) in CANDIDATES.items():
        recipe.model = recipe.new_model(channels, layers)
        recipe.reseed()
        recipe.name = "compare-" + "-".join(map(str, (*channels, layers)))
        state = train(recipe, LoopOptions(minutes=minutes, learning_rate=learning_rate, work_dir=work_dir))
        size = sum(p.numel() for p in recipe.model.parameters()) / 1e6
        m = state.metrics[-1][1]
        lines.append(
            f"| {name} | {size:.1f} M | {state.step} | {m['accuracy_25%']:.1%} | {m['bits_25%']:.2f} "
            f"| {m['accuracy_50%']:.1%} | {m['bits_50%']:.2f} |"
        )
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("\n".join([*lines, ""]))
    print(out.read_text())


if __name__ == "__main__":
    run_command(main)
