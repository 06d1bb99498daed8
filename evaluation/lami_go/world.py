"""The study's world: lami_go's two ends, an encoder that asks its nets once about a picture, and its tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gocom.common.image_files import ImageArray
from gocom.common.systems.lami_go import TOKENS, LamiGoOptions
from gocom.common.types import Goal, Ints
from gocom.common.wire.frame_messages import make_parameters
from gocom.evaluation.study import world
from gocom.evaluation.study.world import Picture
from gocom.receiver.decoders.lami_go import LamiGoDecoder
from gocom.transmitter.encoders.lami_go import LamiGoEncoder, LamiGoSession, cut_caption

SETS = ("images", "labelled", "street")


class RememberingEncoder:
    """lami_go's encoder; what its nets say of a picture is kept, so that a study asks them once."""

    def __init__(self, encoder: LamiGoEncoder) -> None:
        self._encoder = encoder
        self._known: dict[bytes, LamiGoSession] = {}

    def open(self, image: ImageArray, goal: Goal) -> LamiGoSession:
        """As LamiGoEncoder's."""
        options = goal.options
        assert isinstance(options, LamiGoOptions)
        key = hashlib.blake2b(image.tobytes(), digest_size=16).digest()
        if key not in self._known:
            self._known[key] = self._encoder.open(image, Goal(LamiGoOptions()))
        known = self._known[key]
        caption = known.caption if options.caption is None else cut_caption(options.caption)
        return LamiGoSession(image, known.tokens, known.distance, caption if options.send_caption else b"", goal)


class World(world.World):
    """See evaluation/study/world.py."""

    codec = "lami_go"
    main_segment = TOKENS
    unseen = frozenset({"masking", "mask_ratio_permille", "mask_seed", "mask_pattern"})
    encoder: RememberingEncoder
    decoder: LamiGoDecoder

    def __init__(self, sources: dict[str, Path], device: str = "auto", limit: int | None = None) -> None:
        super().__init__(sources, device, limit)
        assert isinstance(self.real.encoder, LamiGoEncoder) and isinstance(self.real.decoder, LamiGoDecoder)
        self.encoder, self.decoder = RememberingEncoder(self.real.encoder), self.real.decoder

    def session(self, picture: Picture, **options: Any) -> LamiGoSession:
        """The picture at the transmitter, with options of lami_go."""
        values = make_parameters(LamiGoOptions, options)
        return self.encoder.open(picture.image, Goal(values, picture.index))

    @torch.inference_mode()
    def images_of(self, tokens: Ints) -> list[ImageArray]:
        """Tokens int64 [B, h, w] -> pictures float32 [3, 8h, 8w]."""
        images = self.decoder.tokenizer.decode(torch.from_numpy(tokens).to(self.decoder.device))
        return list(images.cpu().numpy())

    def tokens_of(self, pictures_: Sequence[Picture]) -> Ints:
        """int64 [B, h, w] of B pictures of one size."""
        shape = [side // 8 for side in pictures_[0].image.shape[1:]]
        return np.stack([self.session(picture).tokens.reshape(shape) for picture in pictures_])

    def captions_of(self, pictures_: Sequence[Picture]) -> list[str]:
        """What the captioner says of B pictures."""
        return [self.session(picture).caption.decode() for picture in pictures_]
