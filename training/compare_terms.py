"""Short, equal runs of an autoencoder's decoder with different terms: what each does before hours are spent on it.

    python -m gocom.training.compare_terms --start-from models/vq_tokenizer --data TARS --held-out eval/kodak \
        --labelled eval/imagenette-val.tar --steps 300 --try "pixels:" --try "st:st_lpips=1"

Each begins with the same weights and sees the same crops in the same order. `--try NAME:TERMS`, terms as in
training/terms.py, among them `full_channels=8` for a head at full resolution. A line a run is written as it ends.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from gocom.client.command_process import run_command
from gocom.common.errors import InvalidInput
from gocom.common.nets.loading import resolve_device
from gocom.common.nets.vae import Vae
from gocom.training.held_out import HeldOut
from gocom.training.loop import LoopOptions, train
from gocom.training.picture_recipe import PictureOptions, is_a
from gocom.training.terms import Weights
from gocom.training.vae import VaeRecipe
from gocom.training.vq_tokenizer import VQTokenizerRecipe

NOTHING = Weights(gradient=0.5, perceptual=0.0)
_HEAD = "full_channels="
_COLUMNS = ("psnr_db", "st_lpips_vgg", "feature_distance", "lattice", "blockiness")


def main(
    start_from: Annotated[Path, typer.Option(help="folder of a trained vae or vq_tokenizer")],
    data: Annotated[Path, typer.Option(help="folder of tars, one tar, or a folder of images")],
    held_out: Annotated[Path, typer.Option(help="pictures never trained on")],
    labelled: Annotated[Path, typer.Option(help="imagenette pictures with labels, never trained on")],
    tries: Annotated[list[str], typer.Option("--try", help="NAME:TERMS")],
    steps: int = 300,
    batch: int = 8,
    crop_px: int = 96,
    learning_rate: float = 3e-4,
    count: Annotated[int, typer.Option(help="of the labelled pictures")] = 100,
    dino_folder: Annotated[Path | None, typer.Option(help="a Dinov2Model, for the term dino")] = None,
    device: str = "auto",
    threads: int = os.cpu_count() or 1,
    work_dir: Path = Path("build/compare_terms"),
) -> None:
    """Train the decoder by each set of terms and write a table."""
    torch.set_num_threads(threads)
    names = [each.partition(":")[0] for each in tries]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise InvalidInput(f"try: two are called {doubled[0]!r}; give each a name of its own")
    parsed = [_parse(each) for each in tries]
    cls = VaeRecipe if is_a(Vae, start_from) else VQTokenizerRecipe
    work_dir.mkdir(parents=True, exist_ok=True)
    table = work_dir / "table.md"
    lines = [f"{steps} steps each, batch {batch}, {crop_px} px crops, {threads} threads", ""]
    lines += [
        "| terms | s/step | " + " | ".join(_COLUMNS) + " | agrees | correct |",
        "|-|" + "-|" * (len(_COLUMNS) + 3),
    ]
    recipe: Any = None
    hundred = HeldOut(labelled, resolve_device(device), count, labelled=True, perceptual=False)
    for name, text, head, weights in parsed:
        options = PictureOptions(
            data, held_out, batch, crop_px, device, 0, start_from, True, 3, head, weights,
            dino_folder,
        )  # fmt: skip
        first, recipe = recipe is None, cls(options, recipe)
        if first:
            lines.append(_line("as it is", 0.0, recipe.before, hundred.means(recipe.reconstruct_kept)))
        recipe.name = name.replace("/", "-")
        state = train(recipe, LoopOptions(steps=steps, learning_rate=learning_rate, warmup_steps=20, work_dir=work_dir))
        classes = hundred.means(recipe.reconstruct_kept)
        lines.append(_line(f"{name}: {text}", state.elapsed_s / steps, state.metrics[-1][1], classes))
        table.write_text("\n".join([*lines, ""]))
    typer.echo(table.read_text())


def _parse(text: str) -> tuple[str, str, int, Weights]:
    """Parse a --try: return its name, its terms as text, the channels of the head (0: as it is), and the weights.

    Raises:
        InvalidInput: the terms, or the channels of the head, are invalid.
    """
    name, _, terms = text.partition(":")
    parts = [part for part in terms.split(",") if part]
    heads = [part.removeprefix(_HEAD) for part in parts if part.startswith(_HEAD)]
    if len(heads) > 1 or not all(re.fullmatch("[0-9]{1,4}", head) for head in heads):
        raise InvalidInput(f"try: {name}: {_HEAD} takes one number of channels, got {', '.join(heads)}")
    others = ",".join(part for part in parts if not part.startswith(_HEAD))
    return name, terms, int(heads[0]) if heads else 0, Weights.parse(others, NOTHING)


def _line(name: str, seconds: float, metrics: dict[str, float], classes: dict[str, float]) -> str:
    values = " | ".join(f"{metrics.get(column, float('nan')):.4g}" for column in _COLUMNS)
    return f"| {name} | {seconds:.2f} | {values} | {classes['agrees']:.0%} | {classes['correct']:.0%} |"


if __name__ == "__main__":
    run_command(main)
