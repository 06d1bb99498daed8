"""Range and level counts of feature_imputing's quantizer, from the features of the training pictures.

python -m gocom.training.feature_quantizer --data TARS
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from safetensors.numpy import save_file

from gocom.client.command_process import run_command
from gocom.common.entropy.frequency_tables import FrequencyTable
from gocom.common.model_files import CARD, card_rows, model_folder, models_root
from gocom.common.nets.loading import load_net, resolve_device
from gocom.common.nets.vae import Vae
from gocom.common.quantizer import UniformQuantizer
from gocom.common.systems.feature_imputing import LEVELS
from gocom.training.data import find_sources, load_samples
from gocom.training.latents import cached_latents

OUTSIDE = 2e-4
"""Share of features beyond each bound."""
SHARE = 0.25
"""Of the positions of each picture that are counted."""


def main(
    data: Annotated[Path, typer.Option(help="folder of tars, one tar, or a folder of images")],
    out: Annotated[Path | None, typer.Option(help="default: models/feature_quantizer")] = None,
    vae: Annotated[Path | None, typer.Option(help="folder of the vae; default: the bundled one")] = None,
    device: str = "auto",
    work_dir: Path = Path("build/training"),
) -> None:
    """Calibrate the quantizer, count its levels, and say what quantizing costs."""
    place = resolve_device(device)
    net = load_net(Vae, vae or model_folder("vae"), place)
    samples = [sample for source in find_sources(data) for sample in load_samples([source])]
    latents = cached_latents(net, samples, work_dir, place)
    rng = np.random.default_rng(0)
    parts = []
    for latent in latents:
        rows = latent.flatten(1).T.float().numpy()
        parts.append(rows[rng.random(len(rows)) < SHARE])
    values = np.concatenate(parts)
    quantizer = UniformQuantizer.calibrate(values, LEVELS, OUTSIDE)
    levels = quantizer.quantize(values)
    table = FrequencyTable.from_counts(np.bincount(levels.ravel(), minlength=LEVELS))
    folder = out or models_root() / "feature_quantizer"
    folder.mkdir(parents=True, exist_ok=True)
    error = float(np.sqrt(np.square(quantizer.dequantize(levels) - values).mean()))
    bits = float(table.bits[levels].mean())
    entries = {"low": quantizer.low, "high": quantizer.high, "features": table.frequencies}
    save_file(entries, folder / "tables.safetensors")
    (folder / "tables.safetensors").chmod(0o644)
    (folder / CARD).write_text("\n".join([*_card(len(latents), len(values), error, bits), *card_rows(folder), ""]))
    print(f"feature_quantizer: {folder}, error {error:.4f} of a deviation, {bits:.2f} bits a feature of 7")


def _card(pictures: int, rows: int, error: float, bits: float) -> list[str]:
    return [
        "# feature_quantizer", "",
        "Bounds of the 7-bit uniform quantizer of feature_imputing, for each channel, and how often each level occurs "
        "(the table", "of its Huffman and range coding). Counted, not trained.", "",
        "| | |", "|-|-|",
        f"| counted | {rows} positions of {pictures} training pictures |",
        f"| beyond a bound | {OUTSIDE:g} of the features on either side |",
        f"| quantizing error | {error:.4f} of the features' deviation (root mean square, training pictures) |",
        f"| ideal length of the table's code | {bits:.2f} bits a feature, of 7 |",
    ]  # fmt: skip


if __name__ == "__main__":
    run_command(main)
