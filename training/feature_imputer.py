"""Recipe: the conditional diffusion model of feature_imputing (common/samplers/feature_imputation.py).

    python -m gocom.training.feature_imputer --data TARS --held-out eval/kodak --minutes 45

Latents of windows of several sizes, noised to a random level; masks as the packetizer and a lossy channel make them
(training/feature_masks.py). Loss: squared error of v (Salimans & Ho 2022) where elements are missing. What is kept is
the exponential average of the weights.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import torch
import typer
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor

from gocom.client.command_process import run_command
from gocom.common.errors import InvalidInput
from gocom.common.image_files import square_crop, to_float
from gocom.common.model_files import model_folder
from gocom.common.net_geometry import F8_PATCH_PX
from gocom.common.nets.classifier import Classifier
from gocom.common.nets.latent_imputer import LatentImputer
from gocom.common.nets.loading import load_net, resolve_device
from gocom.common.nets.vae import Vae
from gocom.common.samplers.feature_imputation import impute
from gocom.common.samplers.imputer_settings import ImputerSettings
from gocom.common.systems.feature_imputing import PacketOrder, latent_channels
from gocom.training.data import data_terms, find_sources, load_samples
from gocom.training.export import save_half
from gocom.training.feature_masks import draw_masks, packets_of_elements
from gocom.training.latents import cached_latents
from gocom.training.loop import LoopOptions, Recipe, Stateful, train
from gocom.training.pictures import JUDGED_PX, feature_distance, psnr_db
from gocom.training.weight_average import averaged

WINDOWS = (16, 24, 32)
POSITIONS = 32 * 16 * 16
"""Of a batch, whatever the window."""
EMA_DECAY = 0.999
JUDGED_LOSSES = (0.1, 0.3, 0.5)
DRAWN = ImputerSettings(deterministic=False)
"""What the net knows of the features' distribution shows in draws."""


def new_imputer(channels: tuple[int, int, int] = (64, 128, 192)) -> UNet2DModel:
    """Untrained. Attention at the lowest resolution only."""
    count = latent_channels()
    return UNet2DModel(
        in_channels=3 * count, out_channels=count, layers_per_block=1, block_out_channels=channels,
        down_block_types=("DownBlock2D", "DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D", "UpBlock2D"), norm_num_groups=16, attention_head_dim=32,
    )  # fmt: skip


class FeatureImputerRecipe(Recipe):
    """Windows of latents in, what was erased out."""

    name = "feature_imputer"
    model: Any  # a UNet2DModel; diffusers has no types

    def __init__(
        self,
        data: Path,
        held_out: Path,
        device: str,
        seed: int,
        vae: Path,
        work_dir: Path,
        start_from: Path | None = None,
        channels: tuple[int, int, int] = (64, 128, 192),
    ) -> None:
        torch.manual_seed(seed)
        self.seed = seed
        self._reseed(0)
        self.device, self.start_from = resolve_device(device), start_from
        self.vae, self.judge = load_net(Vae, vae, self.device), Classifier("lite2", str(self.device))
        model = new_imputer(channels) if start_from is None else load_net(UNet2DModel, start_from, self.device)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.average = averaged(self.model, EMA_DECAY)
        self._load(data, work_dir)
        pictures = [square_crop(s.pixels, JUDGED_PX) for s in load_samples([held_out])]
        self.held_out_name = held_out.name
        self.held_out = [torch.from_numpy(to_float(pixels))[None].to(self.device) for pixels in pictures]

    def _load(self, data: Path, work_dir: Path) -> None:
        sources = find_sources(data)
        groups = [load_samples([source]) for source in sources]
        samples = [sample for group in groups for sample in group]
        self.latents = cached_latents(self.vae, samples, work_dir, self.device)
        weights = np.concatenate([np.full(len(group), 1 / np.sqrt(len(group))) for group in groups])
        self.weights: dict[int, npt.NDArray[np.float64]] = {}
        for window in WINDOWS:
            fits = weights * [min(latent.shape[1:]) >= window for latent in self.latents]
            if fits.any():
                self.weights[window] = fits / fits.sum()
        if not self.weights:
            raise InvalidInput(f"data: no picture is {F8_PATCH_PX * min(WINDOWS)} px wide and high")
        self.data_terms = data_terms(sources)
        self.data_line = f"{', '.join(source.name for source in sources)}: {len(samples)} pictures"

    def _reseed(self, step: int) -> None:
        self.rng = np.random.default_rng([self.seed, step])
        self.generator = torch.Generator().manual_seed(self.seed + step)

    def _draw(self) -> tuple[Tensor, Tensor]:
        """(latents, masks), float32 [B,C,n,n] each."""
        window = int(self.rng.choice(list(self.weights)))
        batch = POSITIONS // window**2
        parts = []
        for index in self.rng.choice(len(self.latents), size=batch, p=self.weights[window]):
            latent = self.latents[index]
            top, left = (int(self.rng.integers(side - window + 1)) for side in latent.shape[1:])
            parts.append(latent[:, top : top + window, left : left + window].float())
        masks = draw_masks(self.rng, batch, window, window)
        return torch.stack(parts).to(self.device), masks.to(self.device)

    def loss(self, progress: float) -> dict[str, Tensor]:
        y, received = self._draw()
        imputer = LatentImputer(self.model)
        scheduler = imputer.scheduler()
        t = torch.randint(scheduler.config.num_train_timesteps, (len(y),), generator=self.generator).to(self.device)
        noise = torch.randn(y.shape, generator=self.generator).to(y)
        noisy, v = scheduler.add_noise(y, noise, t), scheduler.get_velocity(y, noise, t)
        missing = 1 - received
        squared = (imputer.predict(noisy, y, received, t) - v).square() * missing
        return {"loss": squared.sum() / missing.sum()}

    def after_step(self, progress: float) -> None:
        self.average.update_parameters(self.model)

    def parts(self) -> dict[str, Stateful]:
        return {"average": self.average}

    def resumed(self, progress: float) -> None:
        """Other windows than those before the stop."""
        self._reseed(1 + round(progress * 1e6))

    @torch.inference_mode()
    def evaluate(self) -> dict[str, float]:
        imputer, found = LatentImputer(self.average.module.eval()), {}
        for rate in JUDGED_LOSSES:
            rng, values = np.random.default_rng(0), []
            for x in self.held_out:
                y = self.vae.encode(x)
                numbers = packets_of_elements(PacketOrder.SPATIAL, *y.shape[2:], 105, True)
                lost = rng.random(int(numbers.max()) + 1) < rate
                received = torch.from_numpy(~lost[numbers]).permute(2, 0, 1)[None].to(self.device)
                generator = torch.Generator().manual_seed(0)
                *_, filled = impute(imputer, y, received, DRAWN, [generator])
                missing = ~received
                error = (filled - y)[missing].square().mean().sqrt() if missing.any() else torch.zeros(())
                x_hat = self.vae.decode(filled)
                values.append((float(error), psnr_db(x_hat, x), feature_distance(self.judge, x_hat, x)))
            for name, value in zip(("rmse", "psnr_db", "distance"), np.mean(values, axis=0), strict=True):
                found[f"{name}_{rate:.0%}"] = float(value)
        return found

    def save(self, folder: Path) -> None:
        save_half(self.average.module, folder)

    def describe(self) -> dict[str, str]:
        c = self.model.config
        return {
            "summary": "Imputes features that the channel erased, by conditional diffusion (feature_imputing).",
            "architecture": f"UNet2DModel {tuple(c.block_out_channels)}, noisy + received + mask in, v out",
            "began with": "random weights" if self.start_from is None else f"the weights of {self.start_from.name}",
            "data": f"{self.data_line}, windows of {', '.join(map(str, WINDOWS))} positions, {POSITIONS} positions a "
            "step; masks of the packetizer's three orders at 5 to 80 % loss, a quarter in bursts, "
            "a fifth with a region of interest",
            "data terms": self.data_terms,
            "kept": f"the exponential average of the weights, decay {EMA_DECAY:g}",
            "held out": f"{self.held_out_name}: {len(self.held_out)} pictures at 256x256, spatial order, 10 steps "
            "from drawn noise; at 10, 30 and 50 % packets lost: error of the missing features (1: their mean), and of "
            "the picture: PSNR and 1 - cosine of EfficientNet-lite2 features",
            "limits": "few pictures and steps: large holes are filled with what is common, not with what was there",
        }


def main(
    data: Annotated[Path, typer.Option(help="folder of tars, one tar, or a folder of images")],
    held_out: Annotated[Path, typer.Option(help="pictures never trained on")],
    minutes: float = 45.0,
    learning_rate: float = 5e-4,
    device: str = "auto",
    seed: int = 0,
    out: Path | None = None,
    threads: int = os.cpu_count() or 1,
    vae: Annotated[Path | None, typer.Option(help="folder of the vae; default: the bundled one")] = None,
    start_from: Annotated[Path | None, typer.Option(help="folder of a feature_imputer to go on from")] = None,
    work_dir: Path = Path("build/training"),
) -> None:
    """Train, or go on training, the feature imputer over a trained vae."""
    torch.set_num_threads(threads)
    recipe = FeatureImputerRecipe(data, held_out, device, seed, vae or model_folder("vae"), work_dir, start_from)
    options = LoopOptions(minutes=minutes, learning_rate=learning_rate, work_dir=work_dir, seed=seed, out_dir=out)
    train(recipe, options)


if __name__ == "__main__":
    run_command(main)
