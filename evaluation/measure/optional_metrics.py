"""LPIPS, DISTS, FID and ST-LPIPS, where a user has what they need.

GO-COM depends on none of them and fetches nothing. A number from other weights must not bear these names, so there is
nothing to fall back on. The libraries look for weights in torch hub's folder ($TORCH_HOME, else $XDG_CACHE_HOME/torch,
else ~/.cache/torch; in it hub/checkpoints) and would download what is missing: that they are there is made sure first.

- LPIPS v0.1, AlexNet: `lpips` (BSD-2-Clause), whose few linear weights are in the package.
- DISTS: `torchmetrics` (Apache-2.0), whose alpha and beta are in the package.
- FID: `torch-fidelity` (Apache-2.0), the Inception v3 of the original TensorFlow code.
- ST-LPIPS: a net of ours (st_lpips.py) with the weights of `stlpips-pytorch`, which is not imported. It is
  another metric than LPIPS, on another scale. VGG16 judges; AlexNet is what nets here are trained with.
"""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gocom.common.errors import InvalidInput, NotReady
from gocom.common.image_files import ImageArray, to_uint8
from gocom.evaluation.measure.kernel_distance import MIN_PICTURES
from gocom.evaluation.measure.st_lpips_weights import PACKAGE, Trunk, weights_path

READY = "ready"
Features = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class _Metric:
    """What a metric needs.

    Attributes:
        module: to import.
        package: to install.
        source: of the weights; they lie in torch hub's folder under the name that it ends in.
    """

    module: str
    package: str
    source: str

    @property
    def weights(self) -> Path:
        """Where torch.hub.load_state_dict_from_url looks."""
        cache_folder = os.environ.get("XDG_CACHE_HOME", "~/.cache")
        home = Path(os.environ.get("TORCH_HOME", f"{cache_folder}/torch")).expanduser()
        return home / "hub" / "checkpoints" / self.source.rpartition("/")[2]


_METRICS = {
    "LPIPS": _Metric("lpips", "lpips", "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"),
    "DISTS": _Metric("torchmetrics", "torchmetrics", "https://download.pytorch.org/models/vgg16-397923af.pth"),
    "FID": _Metric(
        "torch_fidelity", "torch-fidelity",
        "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth",
    ),
}  # fmt: skip


ST_LPIPS = "ST-LPIPS"


def available() -> dict[str, str]:
    """LPIPS, DISTS, FID, ST-LPIPS -> "ready", or what is missing and where it belongs.

    Imports neither libraries nor torch.
    """
    found = weights_path("vgg") is not None
    ours = READY if found else f"the library with its weights is missing: pip install --no-deps {PACKAGE}"
    return {**{name: _state(metric) for name, metric in _METRICS.items()}, ST_LPIPS: ours}


def lpips(a: ImageArray, b: ImageArray) -> float:
    """LPIPS v0.1 with AlexNet (Zhang et al. 2018) of two pictures, 0: the same. On the CPU.

    Args:
        a, b: float32 [3, H, W] in [0, 1], of one shape.

    Raises:
        NotReady: the library or its weights are not there.
    """
    _demand("LPIPS")
    return _of_two(_lpips_net(), 2 * a - 1, 2 * b - 1)  # the library's range is [-1, 1]


def dists(a: ImageArray, b: ImageArray) -> float:
    """DISTS (Ding et al. 2020) of two pictures, 0: the same. On the CPU.

    Args:
        a, b: float32 [3, H, W] in [0, 1], of one shape.

    Raises:
        NotReady: the library or its weights are not there.
    """
    _demand("DISTS")
    return _of_two(_dists_net(), a, b)


def st_lpips(a: ImageArray, b: ImageArray, trunk: Trunk = "vgg") -> float:
    """ST-LPIPS (Ghildyal and Liu 2022) of two pictures, 0: the same. On the CPU.

    Args:
        a, b: float32 [3, H, W] in [0, 1], of one shape, sides of 64 px at least.
        trunk: "vgg" (VGG16) or "alex" (AlexNet), which nets here are trained with and not judged by.

    Raises:
        NotReady: the package with its weights is not there.
        InvalidInput: the shapes differ.
    """
    return _of_two(_st_lpips_net(trunk), a, b)


def inception_features(image: ImageArray) -> Features:
    """What FID compares, of one picture: float32 [2048], on the CPU.

    Args:
        image: float32 [3, H, W] in [0, 1].

    Raises:
        NotReady: the library or its weights are not there.
    """
    _demand("FID")
    torch = import_module("torch")
    with torch.inference_mode():
        (found,) = _inception_net()(torch.from_numpy(to_uint8(image).transpose(2, 0, 1)[None].copy()))
    features: Features = found[0].numpy()
    return features


def fid(originals: Features, images: Features) -> float:
    """FID (Heusel et al. 2017) of two sets. Below some 2048 pictures it is biased upwards.

    Args:
        originals, images: float32 [N, 2048], [M, 2048] of `inception_features`; at least 500 pictures in each.

    Raises:
        NotReady: the library is not there.
        InvalidInput: fewer pictures.
    """
    for name, features in (("originals", originals), ("images", images)):
        if len(features) < MIN_PICTURES:
            raise InvalidInput(f"{name}: {len(features)} pictures; FID needs {MIN_PICTURES} at least")
    _demand("FID")
    library, torch = import_module("torch_fidelity.metric_fid"), import_module("torch")
    of_originals, of_images = (
        library.fid_features_to_statistics(torch.from_numpy(features)) for features in (originals, images)
    )
    return float(library.fid_statistics_to_metric(of_images, of_originals, verbose=False)[library.KEY_METRIC_FID])


def _state(metric: _Metric) -> str:
    if find_spec(metric.module) is None:
        return f"the library is missing: pip install {metric.package}"
    if not metric.weights.is_file():
        return f"weights are missing: {metric.weights} from {metric.source}"
    return READY


def _demand(name: str) -> None:
    if (state := _state(_METRICS[name])) != READY:
        raise NotReady(f"{name}: {state}")


@cache
def _lpips_net() -> Any:
    with warnings.catch_warnings(action="ignore"):  # it asks torchvision in a way that is deprecated
        return import_module("lpips").LPIPS(net="alex", version="0.1", verbose=False)


@cache
def _st_lpips_net(trunk: Trunk) -> Any:
    return import_module("gocom.evaluation.measure.st_lpips").StLpips(trunk)


@cache
def _dists_net() -> Any:
    return import_module("torchmetrics.functional.image.dists").DISTSNetwork().eval()


@cache
def _inception_net() -> Any:
    return import_module("torch_fidelity.feature_extractor_inceptionv3").FeatureExtractorInceptionV3(
        "inception", ["2048"], feature_extractor_weights_path=str(_METRICS["FID"].weights)
    )


def _of_two(net: Any, a: ImageArray, b: ImageArray) -> float:
    """A net that takes two float32 [1, 3, H, W]."""
    torch = import_module("torch")
    if a.shape != b.shape:
        raise InvalidInput(f"image: shapes {a.shape} and {b.shape} cannot be compared")
    with torch.inference_mode():
        return float(net(torch.from_numpy(a[None]), torch.from_numpy(b[None])))
