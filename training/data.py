"""Training pictures held in memory, and random crops of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from gocom.common.errors import InvalidInput
from gocom.common.image_files import Sample, read_samples


def load_samples(sources: Sequence[Path], limit: int | None = None) -> list[Sample]:
    """Every sample of every folder or tar, decoded. `limit` stops early (for tests)."""
    samples: list[Sample] = []
    for source in sources:
        for sample in tqdm(read_samples(source), desc=source.name, unit="img", leave=False):
            samples.append(sample)
            if limit is not None and len(samples) >= limit:
                return samples
    if not samples:
        raise InvalidInput(f"data: no pictures in {[str(s) for s in sources]}")
    return samples


def find_sources(root: Path) -> list[Path]:
    """A tar or an image folder is itself a source; a folder of tars gives its tars, sorted."""
    if root.is_dir():
        return sorted(root.glob("*.tar")) or [root]
    if root.exists():
        return [root]
    raise InvalidInput(f"data: no such file or folder {str(root)!r}")


DATA_TERMS = {
    "imagenette": "imagenette (ImageNet): research use",
    "flickr8k": "Flickr8k: research use",
    "coco": "COCO: CC terms by picture",
    "bsds": "BSDS500: research use",
    "camvid": "CamVid: CC BY-NC",
    "photos": "photos (ImageNet DET, OSIE: research use; NIPS-2017 dev: CC BY 2.0; Caltech-101: CC BY 4.0; food, "
    "groceries, COCO: CC BY, CC BY-SA, MIT, public domain)",
    "crops256": "crops of DIV2K and Urban100: research use",
    "cityscapes": "Cityscapes: non-commercial research",
    "idd": "IDD: non-commercial research",
}
"""By how the name of a tar begins."""


def data_terms(sources: Sequence[Path]) -> str:
    """The terms of what was trained on, for a card: once each, in the order of the sources."""
    found = [
        next((terms for name, terms in DATA_TERMS.items() if source.name.startswith(name)), f"{source.name}: unknown")
        for source in sources
    ]
    return "; ".join(dict.fromkeys(found))


def vivid(x: Tensor, factors: Tensor) -> Tensor:
    """Pictures [B, 3, H, W] in [0, 1] with colours this many times as far from grey [B], where they can be."""
    grey = x.mean(1, keepdim=True)
    return (grey + factors[:, None, None, None] * (x - grey)).clamp(0, 1)


VIVID, MOST_VIVID = 0.15, 2.5
"""Share of crops with stronger colours, and up to what factor: few photos have flat saturated areas."""


class CropSampler:
    """Random square crops, horizontally flipped half the time, photos larger than needed shrunk at random, some with
    stronger colours.

    Sources that hold few pictures are drawn more often than their share (square root of the count): the ten
    classes of a large set should not be all the net ever sees.
    """

    def __init__(self, groups: Sequence[Sequence[Sample]], size_px: int, rng: np.random.Generator) -> None:
        self.groups = [g for g in groups if g]
        self.size_px = size_px
        self.rng = rng
        weights = np.sqrt([len(g) for g in self.groups])
        self.weights = weights / weights.sum()

    def _crop(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        size, rng = self.size_px, self.rng
        height, width = pixels.shape[:2]
        smallest = size / min(height, width)
        if smallest >= 1 or rng.random() < 0.3:
            scale = max(smallest, float(rng.uniform(min(smallest, 0.5), 1.0)) if smallest < 1 else smallest)
            target = (max(size, round(width * scale)), max(size, round(height * scale)))
            pixels = np.asarray(Image.fromarray(pixels).resize(target, Image.Resampling.LANCZOS), dtype=np.uint8)
            height, width = pixels.shape[:2]
        top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
        crop = pixels[top : top + size, left : left + size]
        return crop[:, ::-1] if rng.random() < 0.5 else crop

    def draw(self, count: int) -> Tensor:
        """-> float32 [count, 3, size, size] in [0, 1]."""
        crops = []
        for group in self.rng.choice(len(self.groups), size=count, p=self.weights):
            members = self.groups[group]
            crops.append(self._crop(members[self.rng.integers(len(members))].pixels))
        x = torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float().div_(255)
        factors = np.where(self.rng.random(count) < VIVID, self.rng.uniform(1, MOST_VIVID, count), 1.0)
        return vivid(x, torch.from_numpy(factors).float())
