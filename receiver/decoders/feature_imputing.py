"""Decoder of feature_imputing: received features are kept, erased ones are imputed by conditional diffusion."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from gocom.common.errors import DecodeFailed
from gocom.common.nets.net_interfaces import Imputer, LatentAutoencoder
from gocom.common.rounds import merge_rounds
from gocom.common.samplers.feature_imputation import impute
from gocom.common.samplers.imputer_settings import ImputerSettings
from gocom.common.systems.feature_imputing import (
    FEATURES,
    ROI,
    FeatureImputingHeader,
    element_order,
    feature_grid,
    feature_quantizer,
    latent_channels,
    patch_px,
)
from gocom.common.zoo import Zoo
from gocom.receiver.decoders import DECODERS
from gocom.receiver.sampling_decoder import ArrivedFrame, Rounds, SamplingDecoder, element_provenance, sampler_settings

Frame = ArrivedFrame[ImputerSettings]


class FeatureImputingDecoder(SamplingDecoder[ImputerSettings, None]):
    """Decoder of feature_imputing.

    Args:
        vae: the autoencoder whose features were sent.
        imputer: the net that fills in missing features.
        device: device of the nets.
        label: what to write on each picture; "": nothing.
    """

    def __init__(self, vae: LatentAutoencoder, imputer: Imputer, device: torch.device, label: str = "") -> None:
        super().__init__(device, label)
        self.vae, self.imputer = vae, imputer

    @classmethod
    def from_zoo(cls, zoo: Zoo) -> FeatureImputingDecoder:
        """Make the decoder with the zoo's vae and imputer. Raises as `Zoo.get`."""
        return cls(zoo.get("vae"), zoo.get("feature_imputer"), zoo.device, zoo.label("vae", "feature_imputer"))

    def arrived_frame(self, rounds: Rounds, generator: torch.Generator) -> Frame:
        """Merge all rounds. The latent is float32 [C, h, w]; 0, which is the mean, where nothing was received.

        A patch counts as received only if all of its features were. Raises DecodeFailed.
        """
        first, header = rounds[0].frame, rounds[0].frame.header
        assert isinstance(header, FeatureImputingHeader)
        shape = (*feature_grid(first.width_px, first.height_px), latent_channels())
        count, merged = int(np.prod(shape)), merge_rounds(rounds)
        segments = {kind: merged[kind] for kind in (FEATURES, ROI) if kind in merged}
        if not segments:
            raise DecodeFailed("feature_imputing: no round has announced features")
        order = element_order(header.packet_order, *shape[:2])
        levels, received, fates = np.zeros(count, np.int64), np.zeros(count, bool), np.zeros(count, np.uint8)
        for segment in segments.values():
            arrived = order[segment.received]
            levels[arrived], received[arrived] = segment.elements[segment.received], True
        fates[order] = element_provenance(segments.values())
        features = feature_quantizer().dequantize(levels.reshape(shape))
        features = np.where(received.reshape(shape), features, np.float32(0))
        latent, present = (
            torch.from_numpy(np.ascontiguousarray(a.transpose(2, 0, 1))) for a in (features, received.reshape(shape))
        )
        settings = None if received.all() else sampler_settings(self.imputer.default_settings, header)
        worst = fates.reshape(shape).max(2)
        return ArrivedFrame(
            first.width_px, first.height_px, segments, latent, present, worst, settings, generator, patch_px=patch_px()
        )

    def sample(
        self, frames: Sequence[Frame], settings: ImputerSettings, latent: Tensor, received: Tensor
    ) -> Iterator[tuple[Tensor, None]]:
        """Impute the missing features of B frames."""
        for y in impute(self.imputer, latent, received, settings, [frame.generator for frame in frames]):
            yield y, None

    def decode(self, latent: Tensor) -> Tensor:
        """Return the pictures, float32 [B, 3, H, W] in [0, 1], of features float32 [B, C, h, w]."""
        images: Tensor = self.vae.decode(latent)
        return images


DECODERS.add("feature_imputing", FeatureImputingDecoder.from_zoo)
