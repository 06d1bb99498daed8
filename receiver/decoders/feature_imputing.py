"""Decoder of feature_imputing: received features are kept, erased ones are imputed by conditional diffusion."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from torch import Tensor

from gocom.common.errors import DecodeFailed
from gocom.common.model_files import model_folder
from gocom.common.nets.loading import load_net, resolve_device
from gocom.common.nets.vae import Vae
from gocom.common.rounds import erased_spans, merge_rounds
from gocom.common.samplers.feature_imputation import ImputerSettings, impute
from gocom.common.systems.feature_imputing import (
    FEATURES,
    LATENT_CHANNELS,
    PATCH_PX,
    ROI,
    FeatureImputingHeader,
    element_order,
    feature_quantizer,
    grid_shape,
)
from gocom.common.types import Bytes, Ints, Provenance, ReceivedMessage, ReceivedSegment, Reconstruction
from gocom.receiver.decoder_batches import map_in_groups
from gocom.receiver.decoders import DECODERS

Rounds = Sequence[ReceivedMessage]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Received features of an image.

    Attributes:
        width_px, height_px: size of the image.
        order: int64 [N], see element_order.
        segments: the features and, if there is one, the region of interest, by kind; elements are in that order.
        features: float32 [C, h, w]; 0, which is the mean, where nothing was received.
        received: bool [C, h, w].
        settings: settings of the sampler; None if nothing is missing.
        generator: on the CPU.
    """

    width_px: int
    height_px: int
    order: Ints
    segments: dict[int, ReceivedSegment]
    features: Tensor
    received: Tensor
    settings: ImputerSettings | None
    generator: torch.Generator

    def provenance(self) -> Bytes:
        """Return uint8 [H, W], in which a patch counts as received only if all of its features were."""
        shape = (*self.features.shape[1:], LATENT_CHANNELS)
        fates = np.full(self.order.shape, Provenance.WITHHELD, np.uint8)
        for segment in self.segments.values():
            fates[segment.erased] = Provenance.ERASED
        for segment in self.segments.values():
            fates[segment.received] = Provenance.RECEIVED
        placed = np.empty_like(fates)
        placed[self.order] = fates
        worst: Bytes = placed.reshape(shape).max(2)
        return worst.repeat(PATCH_PX, 0).repeat(PATCH_PX, 1)[: self.height_px, : self.width_px]


@DECODERS.register("feature_imputing")
class FeatureImputingDecoder:
    """VAE and imputer on one device."""

    def __init__(self, device: str) -> None:
        self.device = resolve_device(device)
        self.vae = load_net(Vae, model_folder("vae"), self.device)
        self.imputer = load_net(UNet2DModel, model_folder("feature_imputer"), self.device)

    def reconstruct(
        self, rounds: Rounds, *, generator: torch.Generator, previews: bool = False
    ) -> Iterator[Reconstruction]:
        """Yield one preview per step if wanted, then the picture. Diffusion runs only if features are missing."""
        for (picture,) in self._pictures([arrived_frame(rounds, generator)], previews):
            yield picture

    def reconstruct_batch(
        self, frames: Sequence[Rounds], *, generators: Sequence[torch.Generator]
    ) -> list[Reconstruction]:
        """Return the picture of each frame. Frames of equal grid shape and settings are decoded in one batch."""
        arrived = [arrived_frame(rounds, generator) for rounds, generator in zip(frames, generators, strict=True)]
        return map_in_groups(
            arrived, lambda f: (f.features.shape, f.settings), lambda group: list(self._pictures(group, False))[-1]
        )

    @torch.inference_mode()
    def _pictures(self, frames: Sequence[Frame], previews: bool) -> Iterator[list[Reconstruction]]:
        """Yield the pictures of one group of frames step by step. Seconds are each frame's share of the total."""
        y = torch.stack([frame.features for frame in frames]).to(self.device)
        settings, sampling, start = frames[0].settings, 0.0, time.perf_counter()
        if settings is not None:
            received = torch.stack([frame.received for frame in frames]).to(self.device)
            generators = [frame.generator for frame in frames]
            for step, filled in enumerate(impute(self.imputer, y, received, settings, generators), 1):
                y, sampling = filled, sampling + time.perf_counter() - start
                if previews and step < settings.num_inference_steps:
                    yield self._decode(frames, y, {"sample": sampling / len(frames)}, step, final=False)
                start = time.perf_counter()
        yield self._decode(frames, y, {"sample": sampling / len(frames)} if settings else {}, 0, final=True)

    def _decode(
        self, frames: Sequence[Frame], y: Tensor, seconds: dict[str, float], step: int, final: bool
    ) -> list[Reconstruction]:
        start = time.perf_counter()
        images = self.vae.decode(y).cpu().numpy()
        stages = seconds | {"decode": (time.perf_counter() - start) / len(frames)}
        return [
            Reconstruction(
                image[:, : frame.height_px, : frame.width_px], frame.provenance(), step, final, stages,
                wanted=_wanted(frame) if final else {},
            )
            for image, frame in zip(images, frames, strict=True)
        ]  # fmt: skip


def arrived_frame(rounds: Rounds, generator: torch.Generator) -> Frame:
    """Merge all rounds of a frame. Raises DecodeFailed unless the number of features fits the size of the image."""
    first = rounds[0].frame
    header = first.header
    assert isinstance(header, FeatureImputingHeader)
    rows, columns = grid_shape(first.width_px, first.height_px)
    count, merged = rows * columns * LATENT_CHANNELS, merge_rounds(rounds)
    # A later round may announce a segment that the first one did not have, with a wrong length.
    segments = {k: merged[k] for k in (FEATURES, ROI) if k in merged and len(merged[k].elements) == count}
    if not segments:
        got = ", ".join(str(len(segment.elements)) for segment in merged.values()) or "no"
        raise DecodeFailed(f"feature_imputing: {got} features announced, a picture of this size has {count}")
    order = element_order(header.packet_order, rows, columns)
    levels, received = np.zeros(count, np.int64), np.zeros(count, bool)
    for segment in segments.values():
        arrived = order[segment.received]
        levels[arrived], received[arrived] = segment.elements[segment.received], True
    shape = (rows, columns, LATENT_CHANNELS)
    features = np.where(received.reshape(shape), feature_quantizer().dequantize(levels.reshape(shape)), np.float32(0))
    # Header and settings use the same names. Fields that the header leaves open get the sampler's defaults.
    chosen = header.model_dump(include={f.name for f in fields(ImputerSettings)}, exclude_none=True)
    latent, present = (
        torch.from_numpy(np.ascontiguousarray(a.transpose(2, 0, 1))) for a in (features, received.reshape(shape))
    )
    settings = None if received.all() else ImputerSettings(**chosen)
    return Frame(first.width_px, first.height_px, order, segments, latent, present, settings, generator)


def _wanted(frame: Frame) -> dict[int, Ints]:
    """Return the features that were sent and did not arrive, as spans by segment kind."""
    return erased_spans(frame.segments)
