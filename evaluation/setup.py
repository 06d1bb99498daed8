"""Shared by the studies: pictures, codecs made once, and channels from a SPEC."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from channel_emulator.chain import Chain
from common.channel_spec import parse_spec
from common.images import ImageArray, read_samples, square_crop, to_float
from common.interfaces import GenerativeDecoder, SemanticEncoder
from common.pipeline import PipelineResult, run
from common.systems import SYSTEMS
from common.types import Budget, Goal, LinkSettings
from common.wire import make_parameters
from receiver.decoders import DECODERS
from transmitter.encoders import ENCODERS


@dataclass(frozen=True, slots=True)
class Codec:
    """Both ends of one codec, with options."""

    name: str
    encoder: SemanticEncoder
    decoder: GenerativeDecoder

    def send(
        self, image: ImageArray, channel: str, *, seed: int, frame_index: int = 0, link: LinkSettings = LinkSettings(),
        budget: int | None = None, **options: Any,
    ) -> PipelineResult:  # fmt: skip
        """One image over one channel."""
        goal = Goal(make_parameters(SYSTEMS.get(self.name).options, options), frame_index, link=link)
        chain = Chain.from_profile(parse_spec(channel, seed=seed))
        return run(
            image, goal, encoder=self.encoder, decoder=self.decoder, channel=chain, budget=Budget(budget), seed=seed
        )


def make_codec(name: str, device: str = "auto") -> Codec:
    """Load a codec."""
    return Codec(name, ENCODERS.get(name)(device), DECODERS.get(name)(device))


def pictures(source: Path, size_px: int = 256, limit: int | None = None) -> Iterator[tuple[str, ImageArray]]:
    """(name, float32 [3, size, size]) for each picture of a folder or tar: centre square crop, Lanczos."""
    for index, sample in enumerate(read_samples(source)):
        if limit is not None and index >= limit:
            return
        yield sample.key, to_float(square_crop(sample.pixels, size_px))
