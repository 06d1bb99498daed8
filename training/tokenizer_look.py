"""The tokenizer alone: what quantization costs, how much of the codebook lives, and a sheet of its worst pictures.

    python -m gocom.training.tokenizer_look --images KODAK --many imagenette-val.tar --out docs/results/tokenizer

The sheet shows scikit-image's colour photos (those of `--images` may not be ours to publish), the worst first by
PSNR: photo | reconstruction.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import torch
import typer
from PIL import Image, ImageDraw
from skimage import data
from tqdm import tqdm

from gocom.client.command_process import run_command
from gocom.common.image_files import ImageArray, read_samples, square_crop, to_float, to_uint8
from gocom.common.image_quality import ms_ssim, psnr_db
from gocom.common.model_files import model_folder
from gocom.common.nets.loading import load_net, resolve_device
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.common.types import Ints
from gocom.evaluation.measure.statistics import Interval, interval
from gocom.training.pictures import blockiness

PHOTOS = (
    "astronaut",
    "coffee",
    "chelsea",
    "rocket",
    "retina",
    "immunohistochemistry",
    "hubble_deep_field",
    "colorwheel",
)
SIDE = 256
COMMAND = (
    "`python -m gocom.training.tokenizer_look --images KODAK --many imagenette-val.tar --out docs/results/tokenizer`"
)


class Tokenizer:
    """The bundled tokenizer on one device."""

    def __init__(self, device: str) -> None:
        self.device = resolve_device(device)
        self.net = load_net(VQTokenizer, model_folder("vq_tokenizer"), self.device)

    @torch.inference_mode()
    def __call__(self, image: ImageArray) -> tuple[Ints, ImageArray]:
        """float32 [3, H, W] -> tokens int64 [H/8, W/8], reconstruction float32 [3, H, W]."""
        tokens, _ = self.net.encode(torch.from_numpy(image)[None].to(self.device))
        x_hat: ImageArray = self.net.decode(tokens)[0].cpu().numpy()
        return tokens[0].cpu().numpy(), x_hat


def measure(tokenizer: Tokenizer, images: Path) -> dict[str, Interval]:
    """Means over the pictures of a folder or tar, cut to 256x256."""
    values: dict[str, list[float]] = {"PSNR dB": [], "MS-SSIM": [], "steps at patch borders, relative to the photo": []}
    for sample in tqdm(list(read_samples(images)), desc=images.name, unit="img"):
        x = to_float(square_crop(sample.pixels, SIDE))
        _, x_hat = tokenizer(x)
        found = (psnr_db(x, x_hat), ms_ssim(x, x_hat) or np.nan)
        borders = blockiness(torch.from_numpy(x_hat)[None]) / blockiness(torch.from_numpy(x)[None])
        for column, value in zip(values.values(), (*found, borders), strict=True):
            column.append(value)
    return {name: interval(column) for name, column in values.items()}


def codebook_used(tokenizer: Tokenizer, many: Path, count: int) -> tuple[int, float]:
    """(pictures, share of the codewords that they use)."""
    used = np.zeros(len(tokenizer.net.codebook), bool)
    samples = list(read_samples(many))[:count]
    for sample in tqdm(samples, desc=many.name, unit="img"):
        tokens, _ = tokenizer(to_float(square_crop(sample.pixels, SIDE)))
        used[tokens] = True
    return len(samples), float(used.mean())


def sheet(tokenizer: Tokenizer) -> Image.Image:
    """Photo and reconstruction of each of PHOTOS, two pairs a row, the worst first."""
    pairs = []
    for name in PHOTOS:
        x = to_float(square_crop(np.ascontiguousarray(getattr(data, name)()[..., :3]), SIDE))
        _, x_hat = tokenizer(x)
        pairs.append((psnr_db(x, x_hat), name, np.concatenate([to_uint8(x), to_uint8(x_hat)], axis=1)))
    label, rows = 18, -(-len(pairs) // 2)
    page = Image.new("RGB", (4 * SIDE + 12, rows * (SIDE + label)), "white")
    draw = ImageDraw.Draw(page)
    for index, (psnr, name, both) in enumerate(sorted(pairs, key=lambda pair: pair[0])):
        left, top = index % 2 * (2 * SIDE + 12), index // 2 * (SIDE + label)
        draw.text((left + 2, top + 3), f"{name}, {psnr:.1f} dB", fill="black")
        page.paste(Image.fromarray(both), (left, top + label))
    return page


def main(
    images: Annotated[Path, typer.Option(help="folder or tar of pictures never trained on", exists=True)],
    many: Annotated[Path, typer.Option(help="folder or tar of 500 pictures, for the codebook", exists=True)],
    out: Annotated[Path, typer.Option(help="folder for README.md and worst.webp")],
    count: int = 500,
    device: str = "auto",
) -> None:
    """Measure and write."""
    tokenizer = Tokenizer(device)
    found = measure(tokenizer, images)
    number, share = codebook_used(tokenizer, many, count)
    lines = [
        "# vq_tokenizer alone", "",
        COMMAND, "",
        f"| {images.name}, {SIDE}x{SIDE} | mean | 95 % interval |", "|-|-|-|",
        *(f"| {name} | {mean:.3f} | {low:.3f} to {high:.3f} |" for name, (mean, low, high) in found.items()), "",
        f"{number} pictures of {many.name} use {share:.1%} of the codebook.", "",
        "Colour photos of scikit-image, the worst first; left the photo, right what its 1024 tokens give:", "",
        "![photos and reconstructions](worst.webp)", "",
    ]  # fmt: skip
    out.mkdir(parents=True, exist_ok=True)
    (out / "README.md").write_text("\n".join(lines))
    sheet(tokenizer).save(out / "worst.webp", quality=88)
    print("\n".join(lines))


if __name__ == "__main__":
    run_command(main)
