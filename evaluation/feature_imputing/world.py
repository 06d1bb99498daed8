"""The study's world: feature_imputing's two ends, and what arrived as its decoder sees it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gocom.common.csi import Csi
from gocom.common.image_files import ImageArray
from gocom.common.pipeline import PipelineResult
from gocom.evaluation.run.codec_setup import RememberingEncoder
from gocom.evaluation.study import world
from gocom.evaluation.study.world import Job, Picture, Row
from gocom.receiver.decoders.feature_imputing import FeatureImputingDecoder, Frame
from gocom.transmitter.encoders.feature_imputing import FeatureImputingAnalysis, FeatureImputingEncoder

SETS = ("images", "labelled")


class World(world.World):
    """See evaluation/study/world.py."""

    codec = "feature_imputing"
    encoder: RememberingEncoder[FeatureImputingAnalysis]
    decoder: FeatureImputingDecoder

    def __init__(self, sources: dict[str, Path], device: str = "auto", limit: int | None = None) -> None:
        super().__init__(sources, device, limit)
        assert isinstance(self.real.encoder, FeatureImputingEncoder)
        assert isinstance(self.real.decoder, FeatureImputingDecoder)
        self.encoder, self.decoder = RememberingEncoder(self.real.encoder), self.real.decoder

    def frame(self, job: Job) -> Frame:
        """What arrived of a job, as the decoder sees it. Raises DecodeFailed."""
        return self.decoder.arrived_frame(job.sent.rounds, self.generator(job))

    @torch.inference_mode()
    def images_of(self, features: Tensor) -> list[ImageArray]:
        """Features float32 [B, h, w, C] -> pictures float32 [3, 8h, 8w]."""
        y = features.permute(0, 3, 1, 2).to(self.decoder.device)
        return list(self.decoder.vae.decode(y).cpu().numpy())

    def missing_share(self, sent: PipelineResult) -> float:
        """Share of the features, 0 to 1, that the receiver had to make up, of whichever segment."""
        frame = self.decoder.arrived_frame(sent.rounds, torch.Generator())
        return float(1 - frame.received.float().mean())

    def jobs(
        self, picture: Picture, keys: Row, channel: str, seeds: int, csi: Csi = Csi(), **options: Any
    ) -> list[Job]:
        """One send for each of so many channel seeds, 0 and on; `csi`: what the transmitter knows of the channel."""
        return [self.job(picture, keys, channel, seed=seed, csi=csi, **options) for seed in range(seeds)]
