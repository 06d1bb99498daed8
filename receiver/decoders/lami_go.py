"""Decoder of lami_go: received tokens are kept, missing ones are re-noised and denoised (paper: algorithm 2)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from gocom.common.errors import DecodeFailed
from gocom.common.nets.net_interfaces import CaptionedDenoiser, ImageTokenizer
from gocom.common.rounds import merge_rounds
from gocom.common.samplers.latent_mixture import SamplerSettings, Step, sample
from gocom.common.systems.lami_go import CAPTION, MAX_CAPTION_BYTES, TOKENS, patch_px, token_grid
from gocom.common.types import Bools, Floats, Ints, ReceivedSegment
from gocom.common.zoo import Zoo
from gocom.receiver.decoders import DECODERS
from gocom.receiver.sampling_decoder import (
    ArrivedFrame,
    Confidence,
    Rounds,
    SamplingDecoder,
    element_provenance,
    sampler_settings,
)

Frame = ArrivedFrame[SamplerSettings]


class LamiGoDecoder(SamplingDecoder[SamplerSettings, Step]):
    """Decoder of lami_go.

    Args:
        tokenizer: the tokenizer whose codewords were sent.
        denoiser: the net that predicts missing tokens, and knows what to do with a caption.
        device: device of the nets.
        label: what to write on each picture; "": nothing.
    """

    def __init__(
        self, tokenizer: ImageTokenizer, denoiser: CaptionedDenoiser, device: torch.device, label: str = ""
    ) -> None:
        super().__init__(device, label)
        self.tokenizer, self.denoiser = tokenizer, denoiser

    @classmethod
    def from_zoo(cls, zoo: Zoo) -> LamiGoDecoder:
        """Make the decoder with the zoo's tokenizer and denoiser. Raises as `Zoo.get`."""
        label = zoo.label("vq_tokenizer", "token_denoiser")
        return cls(zoo.get("vq_tokenizer"), zoo.get("token_denoiser"), zoo.device, label)

    @staticmethod
    def arrived_frame(rounds: Rounds, generator: torch.Generator) -> Frame:
        """Merge all rounds. The latent is the tokens, int64 [h, w]. Raises DecodeFailed."""
        first, segments = rounds[0].frame, merge_rounds(rounds)
        shape = token_grid(first.width_px, first.height_px)
        segment = segments.get(TOKENS)
        if segment is None:
            raise DecodeFailed("lami_go: no round has announced tokens")
        tokens, received = torch.tensor(segment.elements).view(shape), torch.tensor(segment.received).view(shape)
        settings = None if segment.received.all() else sampler_settings(SamplerSettings(), first.header)
        fates, caption = element_provenance([segment]).reshape(shape), received_caption(segments.get(CAPTION))
        return ArrivedFrame(
            first.width_px,
            first.height_px,
            segments,
            tokens,
            received,
            fates,
            settings,
            generator,
            caption,
            patch_px=patch_px(),
        )

    def sample(
        self, frames: Sequence[Frame], settings: SamplerSettings, latent: Tensor, received: Tensor
    ) -> Iterator[tuple[Tensor, Step]]:
        """Denoise the missing tokens of B frames."""
        captions, generators = [frame.caption for frame in frames], [frame.generator for frame in frames]
        for step in self.fill(latent, received, captions, settings, generators):
            yield step.tokens, step

    def decode(self, latent: Tensor) -> Tensor:
        """Return the pictures, float32 [B, 3, H, W] in [0, 1], of tokens int64 [B, h, w]."""
        images: Tensor = self.tokenizer.decode(latent)
        return images

    def confidence(self, frames: Sequence[Frame], last: Step | None) -> Sequence[Confidence]:
        """Return the missing tokens of each frame, the most uncertain first, and its tokens' mean probability."""
        if last is None:
            return [Confidence(quality_estimate=1.0)] * len(frames)
        doubt, probability = last.uncertainty(self.tokenizer.codebook).cpu().numpy(), last.probability.cpu().numpy()
        return [
            Confidence({TOKENS: missing_by_uncertainty(u, frame.received.numpy())}, float(p.mean()))
            for frame, u, p in zip(frames, doubt, probability, strict=True)
        ]

    @torch.inference_mode()
    def fill(
        self,
        tokens: Tensor,
        received: Tensor,
        captions: Sequence[str | None],
        settings: SamplerSettings,
        generators: Sequence[torch.Generator],
        trusted: bool = True,
    ) -> Iterator[Step]:
        """Denoise the missing tokens of B grids of one shape; the last step is the result. See `sample`.

        Args:
            tokens: int64 [B, h, w].
            received: bool [B, h, w].
            captions: B texts; None or an empty one stands for no text.
            settings: sampler settings of all B grids.
            generators: B generators on the CPU.
            trusted: show the net which tokens were received, in its trusted channel; False leaves the channel at 0.
        """
        tokens, received = tokens.to(self.device), received.to(self.device)
        known = received.float() if trusted else torch.zeros_like(received, dtype=torch.float32)
        conditional, unconditional = self.denoiser.bind(captions, known)
        yield from sample(
            conditional, tokens, received, codebook=self.tokenizer.codebook, settings=settings,
            generators=generators, unconditional=unconditional, noise_token=self.denoiser.noise_token,
        )  # fmt: skip


def missing_by_uncertainty(uncertainty: Floats, received: Bools) -> Ints:
    """Order the missing positions by uncertainty, the most uncertain first and equal ones in raster order.

    Args:
        uncertainty: float32 [h, w].
        received: bool [h, w].

    Returns:
        int64 [M], positions in raster order of the grid.
    """
    missing = np.flatnonzero(~received)
    order: Ints = missing[np.argsort(-uncertainty.ravel()[missing], kind="stable")]
    return order


def received_caption(segment: ReceivedSegment | None) -> str | None:
    """Return the caption if all of it was received: half a caption may mislead as easily as help."""
    if segment is None or not 0 < len(segment.elements) <= MAX_CAPTION_BYTES or not segment.received.all():
        return None
    return segment.elements.astype(np.uint8).tobytes().decode(errors="replace")


DECODERS.add("lami_go", LamiGoDecoder.from_zoo)
