"""The study's world: feature_imputing's two ends, and an encoder that asks its nets once about a picture."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gocom.common.csi import Csi
from gocom.common.image_files import ImageArray
from gocom.common.pipeline import PipelineResult
from gocom.common.systems.feature_imputing import FeatureImputingOptions
from gocom.common.types import Floats, Goal, Ints
from gocom.evaluation.study import world
from gocom.evaluation.study.world import Job, Picture, Row
from gocom.receiver.decoders.feature_imputing import FeatureImputingDecoder, Frame, arrived_frame
from gocom.transmitter.encoders.feature_imputing import FeatureImputingEncoder, FeatureImputingSession

SETS = ("images", "labelled")


class RememberingEncoder:
    """feature_imputing's encoder; what its nets say of a picture is kept, so that a study asks them once."""

    def __init__(self, encoder: FeatureImputingEncoder) -> None:
        self._encoder = encoder
        self._levels: dict[bytes, Ints] = {}
        self._worth: dict[tuple[object, ...], Floats] = {}

    def open(self, image: ImageArray, goal: Goal) -> FeatureImputingSession:
        """As FeatureImputingEncoder's."""
        options = goal.options
        assert isinstance(options, FeatureImputingOptions)
        digest = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        key = digest, options.importance, options.target_class
        if key not in self._worth:
            opened = self._encoder.open(image, goal)
            self._levels[digest], self._worth[key] = opened.levels, opened.worth
        return FeatureImputingSession(image, self._levels[digest], self._worth[key], goal)


class World(world.World):
    """See evaluation/study/world.py."""

    codec = "feature_imputing"
    encoder: RememberingEncoder
    decoder: FeatureImputingDecoder

    def __init__(self, sources: dict[str, Path], device: str = "auto", limit: int | None = None) -> None:
        super().__init__(sources, device, limit)
        assert isinstance(self.real.encoder, FeatureImputingEncoder)
        assert isinstance(self.real.decoder, FeatureImputingDecoder)
        self.encoder, self.decoder = RememberingEncoder(self.real.encoder), self.real.decoder

    def frame(self, job: Job) -> Frame:
        """What arrived of a job, as the decoder sees it. Raises DecodeFailed."""
        return arrived_frame(job.sent.rounds, self.generator(job))

    @torch.inference_mode()
    def images_of(self, features: Tensor) -> list[ImageArray]:
        """Features float32 [B, h, w, C] -> pictures float32 [3, 8h, 8w]."""
        y = features.permute(0, 3, 1, 2).to(self.decoder.device)
        return list(self.decoder.vae.decode(y).cpu().numpy())

    def missing_share(self, sent: PipelineResult) -> float:
        """Share of the features, 0 to 1, that the receiver had to make up, of whichever segment."""
        frame = arrived_frame(sent.rounds, torch.Generator())
        return float(1 - frame.received.float().mean())

    def jobs(
        self, picture: Picture, keys: Row, channel: str, seeds: int, csi: Csi = Csi(), **options: Any
    ) -> list[Job]:
        """One send for each of so many channel seeds, 0 and on; `csi`: what the transmitter knows of the channel."""
        return [self.job(picture, keys, channel, seed=seed, csi=csi, **options) for seed in range(seeds)]
