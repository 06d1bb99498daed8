"""What the recipes of vae and vq_tokenizer share: terms, discriminators, the average of weights, metrics, the card."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, TypeVar, cast

import torch
from diffusers.models.modeling_utils import ModelMixin
from torch import Tensor

from gocom.common.nets.loading import resolve_device
from gocom.common.nets.vae import Vae
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.training.added_layers import grown
from gocom.training.held_out import MEANING, HeldOut
from gocom.training.loop import Recipe, Stateful
from gocom.training.pictures import Pictures
from gocom.training.terms import PictureTerms, Terms, Weights
from gocom.training.weight_average import DECAY, averaged

Net = TypeVar("Net", Vae, VQTokenizer)


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """Settings that these recipes share.

    Attributes:
        data: folder of tars, one tar, or a folder of images.
        held_out: pictures never trained on.
        batch: crops a step.
        crop_px: side of a crop.
        device: "auto", "cpu", "cuda".
        seed: of crops and new weights.
        start_from: folder of a trained net to begin with.
        decoder_only: encoder, codebook and latents stay as they are; a run of its own, which resumes no other's.
        blocks: residual blocks on the decoder's 1/4 grid, at least; new ones begin as the identity.
        full_channels: channels of the decoder's head at full resolution; 0: as the net has it.
        weights: of the loss's terms.
        dino: folder of a Dinov2Model, for the term of that name.
    """

    data: Path
    held_out: Path
    batch: int = 16
    crop_px: int = 96
    device: str = "cpu"
    seed: int = 0
    start_from: Path | None = None
    decoder_only: bool = False
    blocks: int = 0
    full_channels: int = 0
    weights: Weights = field(default_factory=Weights)
    dino: Path | None = None


class PictureRecipe(Recipe, Generic[Net]):
    """Crops in, reconstruction out. What is judged and saved is the average of the weights.

    Args:
        options: settings.
        like: a recipe whose pictures are used from their beginning, so that none are loaded; the net is not judged
            before training then.

    Attributes:
        kind: the net's name in `models/`.
        options: see there.
        model: what learns.
    """

    kind: str
    model: Net

    def __init__(self, options: PictureOptions, like: PictureRecipe[Net] | None = None) -> None:
        torch.manual_seed(options.seed)
        self.options: PictureOptions = options
        self.name = f"{self.kind}_decoder" if options.decoder_only else self.kind
        self.device: torch.device = resolve_device(options.device)
        self.pictures: Pictures = self._pictures() if like is None else like.pictures
        self.pictures.reseed(0)
        self.terms = PictureTerms(options.weights, self.device, options.dino)
        model = grown(self.new_model(), options.blocks, options.full_channels)
        self.model = model.to(self.device, memory_format=torch.channels_last)
        self.model.encoder.requires_grad_(not options.decoder_only)
        self.average = averaged(self.model)
        self.judged: HeldOut = HeldOut(options.held_out, self.device) if like is None else like.judged
        self.before = self.evaluate() if options.start_from is not None and like is None else {}

    def _pictures(self) -> Pictures:
        options = self.options
        return Pictures(options.data, options.batch, options.crop_px, self.device, options.seed)

    @abstractmethod
    def new_model(self) -> Net:
        """The net that training begins with."""

    @abstractmethod
    def reconstruct(self, net: Net, x: Tensor) -> Tensor:
        """Pictures float32 [B, 3, H, W] in [0, 1] -> what the net makes of them, without any draw."""

    @property
    def kept(self) -> Net:
        """The net with averaged weights, ready to use."""
        return cast(Net, self.average.module.eval())

    def reconstruct_kept(self, x: Tensor) -> Tensor:
        """`reconstruct` with averaged weights."""
        return self.reconstruct(self.kept, x)

    def picture_terms(self, x_hat: Tensor, x: Tensor, progress: float) -> Terms:
        """Terms of a picture; see PictureTerms.loss."""
        return self.terms.loss(x_hat, x, progress)

    def after_step(self, progress: float) -> None:
        self.terms.after_step()
        self.average.update_parameters(self.model)

    def parts(self) -> dict[str, Stateful]:
        return {"average": self.average, **self.terms.parts()}

    def resumed(self, progress: float) -> None:
        """Other crops than those before the stop."""
        self.pictures.reseed(1 + round(progress * 1e6))

    def evaluate(self) -> dict[str, float]:
        return self.judged.means(self.reconstruct_kept)

    def shared_lines(self) -> dict[str, str]:
        """Of the card."""
        started = self.options.start_from
        lines = {
            "began with": "random weights" if started is None else f"the weights of {started.name}",
            "trained": "the decoder alone" if self.options.decoder_only else "all of it",
            **self.terms.lines(),
            "kept": f"the exponential average of the weights, decay {DECAY:g}",
            **self.pictures.lines,
            "held out": self.judged.line,
            "metrics": MEANING,
        }
        before = ", ".join(f"{name} {value:.4g}" for name, value in self.before.items())
        return lines | ({"before": before} if before else {})


def is_a(cls: type[ModelMixin], folder: Path) -> bool:
    """Whether a folder holds a net of this class."""
    return bool(cls.load_config(folder)["_class_name"] == cls.__name__)
