"""Erased features filled without a net, which an imputer has to beat; and features that were never quantized.

A fill takes float32 [h, w, C], of which erased features may be anything, and bool [h, w, C], and gives float32
[h, w, C]. Any decoder whose frames arrive as such a latent can be asked (receiver/sampling_decoder.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from scipy.interpolate import LinearNDInterpolator, NearestNDInterpolator
from skimage.restoration import inpaint_biharmonic
from torch import Tensor

from gocom.common.image_files import ImageArray
from gocom.common.types import Bools, Floats
from gocom.evaluation.experiment.bench import BATCH, Bench, Job, Picture, chunks, generator
from gocom.evaluation.run.work import Row
from gocom.receiver.decoders.feature_imputing import FeatureImputingDecoder

Fill = Callable[[Floats, Bools], Floats]
_TRIANGLE = 3


IMPUTER, QUANTIZED, EXACT = "imputer", "as sent", "not quantized"


def filled(bench: Bench, jobs: Sequence[Job]) -> Iterator[Row]:
    """Rows of the jobs; and of those whose key `way` is IMPUTER, with the erased features made up by each of FILLS."""
    rows = bench.rows(jobs)
    yield from rows
    ours = [(job, row) for job, row in zip(jobs, rows, strict=True) if job.keys["way"] == IMPUTER]
    holed = [job for job, row in ours if row["missing"]]
    for name, fill in FILLS.items():
        images = [image for part in chunks(holed, BATCH) for image in _filled(bench, part, fill)]
        scores = bench.scores([job.picture for job in holed], images)
        yield from (row | {"way": name} for _, row in ours if not row["missing"])
        yield from (row | {"way": name} for row in bench.judged(holed, scores))


def _filled(bench: Bench, jobs: Sequence[Job], fill: Fill) -> list[ImageArray]:
    frames = [_decoder(bench).arrived_frame(job.sent.rounds, generator(job)) for job in jobs]
    planes = [(f.latent.permute(1, 2, 0).numpy(), f.received.permute(1, 2, 0).numpy()) for f in frames]
    return _pictures(bench, torch.from_numpy(np.stack([fill(*both) for both in planes])).permute(0, 3, 1, 2))


@torch.inference_mode()
def unquantized(bench: Bench, picture: Picture) -> Iterator[Row]:
    """A row of a clean send, and one of the picture that went through the autoencoder and nothing else."""
    yield from bench.rows([bench.job(picture, {"seed": None, "features": QUANTIZED})])
    decoder = _decoder(bench)
    latent = decoder.vae.encode(torch.from_numpy(np.ascontiguousarray(picture.image))[None].to(decoder.device))
    (score,) = bench.scores([picture], _pictures(bench, latent))
    yield {"seed": None, "features": EXACT} | score


def _decoder(bench: Bench) -> FeatureImputingDecoder:
    decoder = bench.real().decoder
    assert isinstance(decoder, FeatureImputingDecoder)
    return decoder


@torch.inference_mode()
def _pictures(bench: Bench, latent: Tensor) -> list[ImageArray]:
    """Features float32 [B, C, h, w] -> pictures float32 [3, 8h, 8w]."""
    decoder = _decoder(bench)
    return list(decoder.decode(latent.to(decoder.device)).cpu().numpy())


def zeros(features: Floats, received: Bools) -> Floats:
    """0: the mean of a feature over the training pictures, nearly."""
    return np.where(received, features, np.float32(0))


def mean(features: Floats, received: Bools) -> Floats:
    """The mean of the channel's received features in this picture; 0 where none arrived."""
    count = received.sum((0, 1))
    means = np.where(received, features, 0).sum((0, 1)) / np.maximum(count, 1)
    filled: Floats = np.where(received, features, means).astype(np.float32)
    return filled


def bilinear(features: Floats, received: Bools) -> Floats:
    """Linear over the triangles between received features of the channel; beyond them the nearest one."""
    return _by_mask(features, received, _linear)


def biharmonic(features: Floats, received: Bools) -> Floats:
    """As smooth as can be: the biharmonic equation over the holes (Damelin and Hoang 2018, of scikit-image)."""
    return _by_mask(features, received, lambda planes, known: inpaint_biharmonic(planes, ~known, channel_axis=-1))


FILLS: dict[str, Fill] = {"zeros": zeros, "mean": mean, "bilinear": bilinear, "biharmonic": biharmonic}


def _by_mask(features: Floats, received: Bools, fill: Callable[[Floats, Bools], Floats]) -> Floats:
    """Channels that have the same mask go together; of one with no or few received features the means are taken."""
    filled, known = mean(features, received), np.where(received, features, np.float32(0))
    masks, group = np.unique(received.reshape(-1, received.shape[2]), axis=1, return_inverse=True)
    for index, mask in enumerate(masks.T.reshape(-1, *received.shape[:2])):
        if mask.sum() > _TRIANGLE and not mask.all():
            channels = np.flatnonzero(group == index)
            filled[..., channels] = fill(np.ascontiguousarray(known[..., channels]), mask)
    return np.where(received, features, filled)


def _linear(planes: Floats, known: Bools) -> Floats:
    """float32 [h, w, n], bool [h, w]."""
    places, holes = np.argwhere(known), np.argwhere(~known)
    guess = NearestNDInterpolator(places, planes[known])(holes)
    spans = np.linalg.matrix_rank(places - places[0]) == places.shape[1]
    if spans:  # else there are no triangles
        between = LinearNDInterpolator(places, planes[known])(holes)
        guess = np.where(np.isnan(between), guess, between)
    filled = planes.copy()
    filled[~known] = guess
    return filled
