"""Autoencoders beside each other on held-out pictures: means, and paired differences to the first of them.

    python -m gocom.training.compare_pictures --net models/vae --net build/vae --held-out eval/kodak \
        --labelled eval/imagenette-val.tar --out build/vae.md --sheet build/vae.png

Reports what a decision needs: PSNR, ST-LPIPS with VGG16, deep-feature distance, accuracy, lattice and blockiness; with
95 % intervals of the differences on the same pictures. The sheet has the photo and what each net makes of it in rows.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image
from torch import Tensor

from gocom.client.command_process import run_command
from gocom.common.image_files import to_uint8
from gocom.common.nets.loading import load_net, resolve_device
from gocom.common.nets.vae import Vae
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.evaluation.benches.golden import PHOTOS, photo
from gocom.evaluation.measure.statistics import paired
from gocom.training.held_out import HeldOut, Reconstruct
from gocom.training.picture_recipe import is_a

_SHOWN = 6
"""Held-out pictures on the sheet, beside the sample ones."""


def load(folder: Path, device: torch.device) -> Reconstruct:
    """A vae or a vq_tokenizer, as a function from pictures to pictures."""
    if is_a(Vae, folder):
        vae = load_net(Vae, folder, device)
        return lambda x: vae.decode(vae.encode(x))
    words = load_net(VQTokenizer, folder, device)
    return lambda x: words.decode(words.encode(x)[0])


def table(names: Sequence[str], nets: Sequence[Reconstruct], pictures: HeldOut) -> list[str]:
    """A line a metric: the mean of each net, and from the second on the paired difference to the first."""
    found = [pictures.each(net) for net in nets]
    lines = [pictures.line, "", "| metric | " + " | ".join(names) + " |", "|-|" + "-|" * len(names)]
    for metric, first in found[0].items():
        cells = [f"{np.mean(first):.4g}"]
        for other in found[1:]:
            mean, low, high = paired(other[metric], first)
            cells.append(f"{np.mean(other[metric]):.4g} ({mean:+.4f}, {low:+.4f} to {high:+.4f})")
        lines.append(f"| {metric} | " + " | ".join(cells) + " |")
    return [*lines, ""]


@torch.inference_mode()
def sheet(nets: Sequence[Reconstruct], pictures: Sequence[Tensor]) -> Image.Image:
    """A row a picture: itself, and what each net makes of it."""
    rows = [torch.cat([x, *(net(x) for net in nets)], dim=3) for x in pictures]
    return Image.fromarray(to_uint8(torch.cat(rows, dim=2)[0].cpu().numpy()))


def main(
    net: Annotated[list[Path], typer.Option(help="folder of a vae or a vq_tokenizer; the first is compared with")],
    held_out: Annotated[Path, typer.Option(help="pictures never trained on")],
    labelled: Annotated[Path | None, typer.Option(help="imagenette pictures with labels, never trained on")] = None,
    count: Annotated[int, typer.Option(help="of the labelled pictures, evenly spread")] = 100,
    out: Annotated[Path | None, typer.Option(help="file for the tables; they are printed anyway")] = None,
    sheet_to: Annotated[Path | None, typer.Option("--sheet", help="PNG to look at; holds pictures of the data")] = None,
    device: str = "auto",
    threads: int = os.cpu_count() or 1,
) -> None:
    """Judge nets on the same pictures."""
    torch.set_num_threads(threads)
    where = resolve_device(device)
    nets, names = [load(folder, where) for folder in net], [str(folder) for folder in net]
    kodak = HeldOut(held_out, where)
    lines = table(names, nets, kodak)
    if sheet_to is not None:
        shown = [kodak.photos[i * len(kodak.photos) // _SHOWN].x for i in range(min(_SHOWN, len(kodak.photos)))]
        samples = [torch.from_numpy(photo(name))[None].to(where) for name in PHOTOS]
        sheet(nets, [*samples, *shown]).save(sheet_to)
    if labelled is not None:
        lines += table(names, nets, HeldOut(labelled, where, count, labelled=True))
    text = "\n".join(lines)
    typer.echo(text)
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)


if __name__ == "__main__":
    run_command(main)
