"""Counts the static entropy tables of lami_go: no training, one pass over tokens and captions.

    python -m gocom.training.lami_go_tables --data TARS --held-out eval/kodak --out models/lami_go_tables

Tables: how often each codeword and each caption byte occurs, and how often it follows its neighbours. Neighbours are
told apart by class (tokens: k-means over the codewords; bytes: letters fold to lower case, the rest by kind), because
1024 x 1024 pairs of neighbours would never be seen. Rows of few counts lean on the plain table.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
import typer
from scipy.cluster.vq import kmeans2
from torch import Tensor

from gocom.client.command_process import run_command
from gocom.common.entropy.context_coder import ContextCoder
from gocom.common.entropy.frequency_tables import FrequencyTable, NeighbourTables, load_neighbours, save_tables
from gocom.common.image_files import Sample, square_crop, to_float
from gocom.common.model_files import CARD, card_rows, model_folder
from gocom.common.nets.loading import load_net, resolve_device
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.training.data import find_sources, load_samples
from gocom.training.tokens import cached_tokens

LEAN = 200.0
"""Counts of the plain table that each row starts with."""

Counts = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]


def token_classes(codebook: npt.NDArray[np.float32], count: int) -> Classes:
    """k-means over the codewords [K, D] -> class of each, int64 [K], every class in use."""
    _, labels = kmeans2(codebook.astype(np.float64), count, iter=30, minit="++", seed=0)
    _, dense = np.unique(labels, return_inverse=True)
    classes: Classes = dense.astype(np.int64)
    return classes


def byte_classes() -> Classes:
    """Letters by their lower case (26 classes), digits, space, and the rest."""
    classes = np.full(256, 28, np.int64)
    for letter in range(26):
        classes[[ord("a") + letter, ord("A") + letter]] = letter
    classes[[ord(c) for c in "0123456789"]] = 26
    classes[ord(" ")] = 27
    return classes


def count_grid(counts: Counts, grid: npt.NDArray[np.int64], classes: Classes) -> None:
    """Add a grid's (left, above) contexts; each position also counts as if a neighbour had been lost."""
    nothing = int(classes.max()) + 1
    known = classes[grid]
    left, above = np.full_like(known, nothing), np.full_like(known, nothing)
    left[:, 1:], above[1:] = known[:, :-1], known[:-1]
    none = np.full_like(left, nothing)
    # At a border there is no neighbour to lose: that position is not counted a second time.
    for a, inside in ((left, np.ones_like(grid, bool)), (none, left != nothing)):
        for b, below in ((above, np.ones_like(grid, bool)), (none, above != nothing)):
            there = inside & below
            np.add.at(counts, ((a * (nothing + 1) + b)[there], grid[there]), 1)


def count_text(counts: Counts, text: npt.NDArray[np.int64], classes: Classes) -> None:
    """Add a caption's contexts: the byte before."""
    nothing = int(classes.max()) + 1
    before = np.append(nothing, classes[text[:-1]])
    np.add.at(counts, (before, text), 1)


def lean(counts: Counts) -> Counts:
    """Return counts [contexts, K], each row smoothed with the distribution of all rows together (weight LEAN)."""
    plain = counts.sum(0) + 1
    mixed: Counts = counts + LEAN * plain / plain.sum()
    return mixed


def bits_a_token(tables: NeighbourTables, grids: list[Tensor]) -> float:
    """Ideal bits a token with whole grids in one packet."""
    total = 0.0
    for grid in grids:
        values = grid.numpy().astype(np.int64)
        coder = ContextCoder(tables, values.shape[1], None)
        total += float(coder.bits(values.ravel(), np.arange(values.size)).sum())
    return total / sum(g.numel() for g in grids)


def main(
    data: Annotated[Path, typer.Option(help="folder of tars, one tar, or a folder of images")],
    held_out: Annotated[Path, typer.Option(help="pictures that are only measured")],
    out: Annotated[Path, typer.Option(help="folder to write")],
    classes: Annotated[int, typer.Option(help="classes of codewords")] = 20,
    tokenizer: Annotated[Path | None, typer.Option(help="folder of the tokenizer; default: the bundled one")] = None,
    device: str = "auto",
    work_dir: Path = Path("build/training"),
) -> None:
    """Count, write tables.safetensors and CARD.md."""
    torch_device = resolve_device(device)
    net = load_net(VQTokenizer, tokenizer or model_folder("vq_tokenizer"), torch_device)
    sources = find_sources(data)
    samples: list[Sample] = [s for source in sources for s in load_samples([source])]
    grids = cached_tokens(net, samples, work_dir, torch_device)
    words = token_classes(net.codebook.cpu().numpy(), classes)
    contexts = int(words.max()) + 2
    counts = np.zeros((contexts**2, len(words)))
    for grid in grids:
        count_grid(counts, grid.numpy().astype(np.int64), words)
    letters = byte_classes()
    text_counts = np.zeros((int(letters.max()) + 2, 256))
    captions = [c for s in samples for c in s.captions]
    for caption in captions:
        count_text(text_counts, np.frombuffer(caption.encode(), np.uint8).astype(np.int64), letters)
    plain = {
        "tokens": FrequencyTable.from_counts(counts[-1].astype(np.int64)),
        "caption_bytes": FrequencyTable.from_counts(text_counts.sum(0).astype(np.int64)),
    }
    path = out / "tables.safetensors"
    save_tables(plain, path, {"tokens": (words, lean(counts)), "caption_bytes": (letters, lean(text_counts))})
    pictures = [to_float(square_crop(s.pixels, 256)) for s in load_samples([held_out])]
    with torch.inference_mode():
        shown = [net.encode(torch.from_numpy(p)[None].to(torch_device))[0][0].cpu() for p in pictures]
    order_0 = float(plain["tokens"].bits[torch.cat([g.flatten() for g in shown]).numpy()].mean())
    around = bits_a_token(load_neighbours(path, "tokens"), shown)
    write_card(out, [s.name for s in sources], len(samples), len(captions), classes, (held_out.name, order_0, around))


def write_card(
    out: Path, sources: list[str], pictures: int, captions: int, classes: int, measured: tuple[str, float, float]
) -> None:
    """Write CARD.md and print what was measured."""
    name, order_0, around = measured
    lines = [
        "# lami_go_tables", "", "Static integer frequency tables of lami_go's tokens and caption bytes.", "",
        "| | |", "|-|-|",
        f"| data | {', '.join(sources)}: {pictures} pictures, {captions} captions |",
        "| tokens | plain table; tables by the classes of the left and the upper neighbour "
        f"({classes} classes of codewords, and none) |",
        "| caption_bytes | plain table; tables by the byte before (29 classes) |",
        f"| held out | {name}: {order_0:.2f} bits a token with the plain table, {around:.2f} with both neighbours "
        "known (10 at fixed length) |",
        "| made by | `python -m gocom.training.lami_go_tables` |",
        *card_rows(out),
    ]  # fmt: skip
    (out / CARD).write_text("\n".join([*lines, ""]))
    print("\n".join(lines))


if __name__ == "__main__":
    run_command(main)
