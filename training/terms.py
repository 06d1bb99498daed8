"""What a picture that was made is told about the photo it should have been: terms of a loss, and their weights.

Every recipe of nets from pictures to pictures takes its terms from here (frozen nets see pictures shifted at random):

| term | what | from |
|-|-|-|
| l1, mse, gradient | pixels, and differences between neighbouring ones | |
| lattice | detail of the error that repeats every 8 px (or 4 or 2) within 32 px | training/pictures.py |
| perceptual | features of EfficientNet-lite0 at four depths (training/perceptual.py) | Zhang et al. 2018 |
| semantic | that net's last features, which its classes are read from | |
| dino | patch features of a frozen DINOv2 ViT-S/14, the mean over patches of 1 - cosine | Oquab et al. 2023 |
| st_lpips | ST-LPIPS with AlexNet (evaluation/measure/st_lpips.py; its VGG16 stays a judge) | Ghildyal and Liu 2022 |
| adversarial | two discriminators of patches (training/discriminator.py), late in the run | Isola et al. 2017 |
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.net_geometry import F8_PATCH_PX
from gocom.evaluation.measure.st_lpips import StLpips
from gocom.training.discriminator import Adversary
from gocom.training.perceptual import PerceptualDistance
from gocom.training.pictures import repeated_detail

Terms = dict[str, Tensor]
_DINO_PATCH_PX = 14
_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
PIXELS = "L1 + 2 MSE"


@dataclass(frozen=True, slots=True)
class Weights:
    """Of the terms beside L1 + 2 MSE; a term of weight 0 is not computed.

    Attributes:
        gradient: L1 of differences between neighbouring pixels.
        lattice: what repeats every 8 px (or 4 or 2) in the error: a lattice.
        perceptual: EfficientNet-lite0 at four depths.
        semantic: EfficientNet-lite0's last features.
        dino: DINOv2's patch features; needs `Terms.dino`'s folder.
        st_lpips: ST-LPIPS (AlexNet).
        adversarial: the discriminators.
        perceptual_from: share of the run from which on perceptual, semantic, dino and st_lpips count, 0 to 1.
        adversarial_from: share of the run from which on the discriminators count, 0 to 1; they learn from a little
            earlier on.
    """

    gradient: float = 0.5
    lattice: float = 0.0
    perceptual: float = 0.03
    semantic: float = 0.0
    dino: float = 0.0
    st_lpips: float = 0.0
    adversarial: float = 0.0
    perceptual_from: float = 0.0
    adversarial_from: float = 0.4

    def __post_init__(self) -> None:
        for name in ("gradient", "lattice", "perceptual", "semantic", "dino", "st_lpips", "adversarial"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InvalidInput(f"{name}: {getattr(self, name)} is not 0 or more")
        for name in ("perceptual_from", "adversarial_from"):
            if not 0 <= getattr(self, name) <= 1:
                raise InvalidInput(f"{name}: {getattr(self, name)} is not in 0 to 1, a share of the run")

    @classmethod
    def parse(cls, text: str, base: Weights) -> Weights:
        """ "st_lpips=1,adversarial=0.05" -> `base` with these changed. Raises InvalidInput, UnknownName."""
        known = {field.name for field in fields(cls)}
        changes: dict[str, float] = {}
        for part in filter(None, (part.strip() for part in text.split(","))):
            name, _, value = (piece.strip() for piece in part.partition("="))
            if name not in known:
                raise UnknownName("term", name, sorted(known))
            if name in changes:
                raise InvalidInput(f"terms: {name} is given twice; give one weight")
            try:
                changes[name] = float(value)
            except ValueError:
                raise InvalidInput(f"terms: {part!r} is not name=number") from None
        return replace(base, **changes)

    def words(self) -> str:
        """The loss, for a card."""
        parts = [PIXELS]
        late = f", from {self.perceptual_from:.0%} of the run on" if self.perceptual_from else ""
        for weight, what in (
            (self.gradient, "gradient L1"),
            (self.lattice, "what repeats every 8 px in the error"),
            (self.perceptual, f"perceptual (EfficientNet-lite0{late})"),
            (self.semantic, f"semantic (last features of EfficientNet-lite0{late})"),
            (self.dino, f"patch features of DINOv2 ViT-S/14 (1 - cosine{late})"),
            (self.st_lpips, f"ST-LPIPS (AlexNet{late})"),
            (self.adversarial, f"hinge of two patch discriminators (from {self.adversarial_from:.0%} of the run on)"),
        ):
            if weight:
                parts.append(f"{weight:g} {what}")
        return " + ".join(parts)

    def teachers(self) -> str:
        """Whose weights taught, and on what those were trained, for a card."""
        found = []
        if self.perceptual or self.semantic:
            found.append("EfficientNet-lite0 (Apache-2.0; ImageNet)")
        if self.dino:
            found.append("DINOv2 ViT-S/14 (Apache-2.0; LVD-142M)")
        if self.st_lpips:
            found.append("ST-LPIPS AlexNet (BSD-2-Clause; ImageNet, BAPPS)")
        return ", ".join(found) or "none"


WARM_UP = 0.05
"""Share of the run that the discriminators learn for before they count."""


class PictureTerms:
    """The terms of a loss, with the frozen nets and the discriminators that they need.

    Args:
        weights: of the terms.
        device: of the nets.
        dino: folder of a Dinov2Model; needed where its weight is not 0.
    """

    def __init__(self, weights: Weights, device: torch.device, dino: Path | None = None) -> None:
        self.weights = weights
        lite = weights.perceptual or weights.semantic
        self.perceptual = PerceptualDistance(device) if lite else None
        self.st_lpips = StLpips("alex", device) if weights.st_lpips else None
        self.dino = DinoDistance(dino, device) if weights.dino else None
        self.adversary = Adversary(device) if weights.adversarial else None
        self._last: tuple[Tensor, Tensor] | None = None

    def loss(self, x_hat: Tensor, x: Tensor, progress: float) -> Terms:
        """Pictures float32 [B, 3, H, W], made and true, at a share of the run -> "loss" and what it is made of."""
        weights = self.weights
        terms = {"l1": F.l1_loss(x_hat, x), "mse": F.mse_loss(x_hat, x), "gradient": gradient_l1(x_hat, x)}
        loss = terms["l1"] + 2 * terms["mse"] + weights.gradient * terms["gradient"]
        if weights.lattice:
            terms["lattice"] = repeated_detail(x_hat - x)
            loss = loss + weights.lattice * terms["lattice"]
        if progress >= weights.perceptual_from:
            seen_hat, seen = shifted(x_hat, x)
            if self.perceptual is not None:
                shallow, deep = self.perceptual(seen_hat, seen, deep=bool(weights.semantic))
                terms |= {"perceptual": shallow} | ({"semantic": deep} if weights.semantic else {})
            if self.dino is not None:
                terms["dino"] = self.dino(seen_hat, seen)
            if self.st_lpips is not None:
                terms["st_lpips"] = self.st_lpips(seen_hat, seen).mean()
            loss = loss + sum(getattr(weights, name) * terms[name] for name in terms if name in _LEARNED)
        if self.adversary is not None and progress >= weights.adversarial_from - WARM_UP:
            self._last = x_hat.detach(), x
            if progress >= weights.adversarial_from:
                terms["adversarial"] = self.adversary.fooled(x_hat)
                loss = loss + weights.adversarial * terms["adversarial"]
        return {"loss": loss, **terms}

    def after_step(self) -> None:
        """Train the discriminators on the pictures for which the loss was computed last."""
        if self.adversary is not None and self._last is not None:
            self.adversary.learn(*self._last)
            self._last = None

    def parts(self) -> dict[str, Any]:
        """What a checkpoint must hold."""
        return {} if self.adversary is None else {"adversary": self.adversary}

    def lines(self) -> dict[str, str]:
        """For a card."""
        return {"loss": self.weights.words(), "taught by": self.weights.teachers()}


_LEARNED = frozenset({"perceptual", "semantic", "dino", "st_lpips"})


class DinoDistance:
    """Mean over patches of 1 - cosine of DINOv2's last features (Oquab et al. 2023); gradients go to `x_hat` only.

    Args:
        folder: a Dinov2Model of transformers.
        device: where it runs.
    """

    def __init__(self, folder: Path | None, device: torch.device) -> None:
        if folder is None:
            raise InvalidInput("dino: a weight needs --dino-folder, the folder of a Dinov2Model")
        from transformers import Dinov2Model  # noqa: PLC0415 - slow

        self.net: Any = Dinov2Model.from_pretrained(folder, dtype=torch.float32).eval().requires_grad_(False).to(device)
        self._mean, self._std = (
            torch.tensor(values, device=device)[:, None, None] for values in (_IMAGENET_MEAN, _IMAGENET_STD)
        )

    def features(self, x: Tensor) -> Tensor:
        """Float32 [B, 3, H, W] in [0, 1], resized to whole patches -> [B, patches, 384]."""
        size = [round(side / _DINO_PATCH_PX) * _DINO_PATCH_PX for side in x.shape[2:]]
        if list(x.shape[2:]) != size:
            x = F.interpolate(x, size, mode="bilinear", antialias=True, align_corners=False)
        patches: Tensor = self.net((x - self._mean) / self._std).last_hidden_state[:, 1:]
        return patches

    def __call__(self, x_hat: Tensor, x: Tensor) -> Tensor:
        with torch.no_grad():
            wanted = self.features(x)
        return 1 - F.cosine_similarity(self.features(x_hat), wanted, dim=2).mean()


def shifted(x_hat: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Both pictures without up to 7 px at the top and the left, the rest of 7 at the bottom and the right.

    The frozen nets stride over pixels: a lattice in step with their strides would please them where nothing is in the
    picture. In step with all their shifts it cannot be.
    """
    top, left = (int(offset) for offset in torch.randint(F8_PATCH_PX, (2,)))
    height, width = (side - F8_PATCH_PX + 1 for side in x.shape[2:])
    window = (..., slice(top, top + height), slice(left, left + width))
    return x_hat[window], x[window]


def gradient_l1(x_hat: Tensor, x: Tensor) -> Tensor:
    """Return the L1 distance of the two pictures' differences between neighbouring pixels, in both directions."""
    rows = F.l1_loss(x_hat.diff(dim=2), x.diff(dim=2))
    return rows + F.l1_loss(x_hat.diff(dim=3), x.diff(dim=3))
