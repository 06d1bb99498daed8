"""The study's world: lami_go's two ends, and what its encoder finds in pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gocom.common.image_files import ImageArray
from gocom.common.systems.lami_go import TOKENS, LamiGoOptions
from gocom.common.types import Goal, Ints
from gocom.common.wire.frame_messages import make_parameters
from gocom.evaluation.run.codec_setup import RememberingEncoder
from gocom.evaluation.study import world
from gocom.evaluation.study.world import Picture
from gocom.receiver.decoders.lami_go import LamiGoDecoder
from gocom.transmitter.encoders.lami_go import LamiGoAnalysis, LamiGoEncoder, LamiGoSession

SETS = ("images", "labelled", "street")


class World(world.World):
    """See evaluation/study/world.py."""

    codec = "lami_go"
    main_segment = TOKENS
    unseen = frozenset({"masking", "mask_ratio_permille", "mask_seed", "mask_pattern"})
    encoder: RememberingEncoder[LamiGoAnalysis]
    decoder: LamiGoDecoder

    def __init__(self, sources: dict[str, Path], device: str = "auto", limit: int | None = None) -> None:
        super().__init__(sources, device, limit)
        assert isinstance(self.real.encoder, LamiGoEncoder) and isinstance(self.real.decoder, LamiGoDecoder)
        self.encoder, self.decoder = RememberingEncoder(self.real.encoder), self.real.decoder

    def session(self, picture: Picture, **options: Any) -> LamiGoSession:
        """The picture at the transmitter, with options of lami_go."""
        values = make_parameters(LamiGoOptions, options)
        return LamiGoSession(self.encoder.analyse(picture.image), Goal(values, picture.index))

    @torch.inference_mode()
    def images_of(self, tokens: Ints) -> list[ImageArray]:
        """Tokens int64 [B, h, w] -> pictures float32 [3, 8h, 8w]."""
        images = self.decoder.tokenizer.decode(torch.from_numpy(tokens).to(self.decoder.device))
        return list(images.cpu().numpy())

    def tokens_of(self, pictures_: Sequence[Picture]) -> Ints:
        """int64 [B, h, w] of B pictures of one size."""
        shape = [side // 8 for side in pictures_[0].image.shape[1:]]
        return np.stack([self.encoder.analyse(picture.image).tokens.reshape(shape) for picture in pictures_])

    def captions_of(self, pictures_: Sequence[Picture]) -> list[str]:
        """What the captioner says of B pictures."""
        return [self.encoder.analyse(picture.image).caption() for picture in pictures_]
