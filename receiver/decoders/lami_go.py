"""Decoder of lami_go: received tokens are kept, missing ones are re-noised and denoised (paper: algorithm 2)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from gocom.common.errors import DecodeFailed
from gocom.common.model_files import model_folder
from gocom.common.nets.loading import load_net, resolve_device
from gocom.common.nets.text_encoder import TextEncoder
from gocom.common.nets.token_denoiser import TokenDenoiser
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.common.rounds import erased_spans, merge_rounds
from gocom.common.samplers.latent_mixture import Denoise, SamplerSettings, Step, sample
from gocom.common.systems.lami_go import (
    CAPTION,
    MAX_CAPTION_BYTES,
    PATCH_PX,
    TOKENS,
    LamiGoHeader,
    grid_shape,
)
from gocom.common.types import Bools, Bytes, Floats, Ints, Provenance, ReceivedMessage, ReceivedSegment, Reconstruction
from gocom.receiver.decoder_batches import map_in_groups
from gocom.receiver.decoders import DECODERS

Rounds = Sequence[ReceivedMessage]


class TokenGrid:
    """Received tokens of an image. Raises DecodeFailed unless the number of tokens fits the size of the image.

    Attributes:
        tokens: int64 [h, w].
        received: bool [h, w].
        withheld: bool [h, w]; a withheld token that a later round brought is marked in both masks.
    """

    def __init__(self, rounds: Rounds, segments: dict[int, ReceivedSegment]) -> None:
        frame = rounds[0].frame
        assert isinstance(frame.header, LamiGoHeader)
        self.header, self.width_px, self.height_px = frame.header, frame.width_px, frame.height_px
        shape = grid_shape(frame.width_px, frame.height_px)
        count = shape[0] * shape[1]
        segment = segments.get(TOKENS)
        if segment is None or len(segment.elements) != count:
            got = 0 if segment is None else len(segment.elements)
            raise DecodeFailed(f"lami_go: {got} tokens announced, a picture of this size has {count}")
        withheld = np.zeros(count, bool) if segment.withheld is None else segment.withheld
        self.tokens: Ints = segment.elements.reshape(shape)
        self.received: Bools = segment.received.reshape(shape)
        self.withheld: Bools = withheld.reshape(shape)

    def provenance(self) -> Bytes:
        """Return uint8 [H, W], the provenance of each token over the pixels that it covers."""
        fate = np.where(self.withheld, Provenance.WITHHELD, Provenance.ERASED)
        fate = np.where(self.received, Provenance.RECEIVED, fate)
        return fate.astype(np.uint8).repeat(PATCH_PX, 0).repeat(PATCH_PX, 1)[: self.height_px, : self.width_px]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """Received elements of an image; `settings` is None if no token is missing."""

    grid: TokenGrid
    segments: dict[int, ReceivedSegment]
    caption: str | None
    settings: SamplerSettings | None
    generator: torch.Generator

    def provenance(self) -> Bytes:
        """Return uint8 [H, W], see TokenGrid.provenance."""
        return self.grid.provenance()


@DECODERS.register("lami_go")
class LamiGoDecoder:
    """Denoiser, tokenizer and text encoder on one device."""

    def __init__(self, device: str) -> None:
        self.device = resolve_device(device)
        self.tokenizer = load_net(VQTokenizer, model_folder("vq_tokenizer"), self.device)
        self.denoiser = load_net(TokenDenoiser, model_folder("token_denoiser"), self.device)
        text_encoder = TextEncoder(str(self.device))
        self._encode_text = lru_cache(maxsize=256)(lambda text: text_encoder([text])[0][0])

    def reconstruct(
        self, rounds: Rounds, *, generator: torch.Generator, previews: bool = False
    ) -> Iterator[Reconstruction]:
        """Yield one preview per step if wanted, then the picture. The sampler runs only if tokens are missing."""
        for (picture,) in self._pictures([arrived_frame(rounds, generator)], previews):
            yield picture

    def reconstruct_batch(
        self, frames: Sequence[Rounds], *, generators: Sequence[torch.Generator]
    ) -> list[Reconstruction]:
        """Return the picture of each frame. Frames of equal grid shape and settings are decoded in one batch."""
        arrived = [arrived_frame(rounds, generator) for rounds, generator in zip(frames, generators, strict=True)]
        return map_in_groups(
            arrived, lambda f: (f.grid.tokens.shape, f.settings), lambda group: list(self._pictures(group, False))[-1]
        )

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
        conditional, unconditional = self.bind(captions, known)
        yield from sample(
            conditional, tokens, received, codebook=self.tokenizer.codebook, settings=settings,
            generators=generators, unconditional=unconditional,
        )  # fmt: skip

    def bind(self, captions: Sequence[str | None], known: Tensor) -> tuple[Denoise, Denoise | None]:
        """Return the denoiser of B frames with their text, and the denoiser without it (None if no frame has text).

        Args:
            captions: B texts; None or an empty one stands for no text.
            known: float32 [B, h, w] on this device, the net's trusted channel; 1 marks a received token.
        """
        text, text_mask = self._text(captions)

        def conditional(x: Tensor, t: Tensor) -> Tensor:
            logits: Tensor = self.denoiser(x, t, known, text, text_mask)
            return logits

        def unconditional(x: Tensor, t: Tensor) -> Tensor:
            logits: Tensor = self.denoiser(x, t, known)
            return logits

        return conditional, None if text is None else unconditional

    def _text(self, captions: Sequence[str | None]) -> tuple[Tensor | None, Tensor | None]:
        """Return text features [B, T, 384] and mask [B, T]; a frame without text gets the net's null text.

        Both are None if no frame has text.
        """
        if not any(captions):
            return None, None
        # Encoded one by one, because features must not depend on the length of other captions in the batch.
        parts = [self._encode_text(caption) if caption else self.denoiser.null_text[0] for caption in captions]
        masks = [torch.ones(len(part), dtype=torch.bool, device=self.device) for part in parts]
        return pad_sequence(parts, batch_first=True), pad_sequence(masks, batch_first=True)

    @torch.inference_mode()
    def _pictures(self, frames: Sequence[Frame], previews: bool) -> Iterator[list[Reconstruction]]:
        """Yield the pictures of one group of frames step by step. Seconds are each frame's share of the total."""
        tokens = torch.from_numpy(np.stack([frame.grid.tokens for frame in frames])).to(self.device)
        settings, step, seconds = frames[0].settings, None, {}
        if settings is not None:
            received = torch.from_numpy(np.stack([frame.grid.received for frame in frames]))
            captions, generators = [f.caption for f in frames], [f.generator for f in frames]
            sampling, start = 0.0, time.perf_counter()
            for number, step in enumerate(self.fill(tokens, received, captions, settings, generators), 1):
                sampling += time.perf_counter() - start
                if previews:
                    yield self._decode(frames, step.tokens, {"sample": sampling}, number)
                start = time.perf_counter()
            assert step is not None
            tokens, seconds = step.tokens, {"sample": sampling / len(frames)}
        pictures = self._decode(frames, tokens, seconds)
        yield [
            replace(picture, final=True, wanted=_wanted(frame), **confidence)
            for picture, frame, confidence in zip(pictures, frames, self._confidence_fields(frames, step), strict=True)
        ]

    def _decode(
        self, frames: Sequence[Frame], tokens: Tensor, seconds: dict[str, float], step: int = 0
    ) -> list[Reconstruction]:
        start = time.perf_counter()
        images = self.tokenizer.decode(tokens).cpu().numpy()
        stages = seconds | {"decode": (time.perf_counter() - start) / len(frames)}
        cut = [x_hat[:, : f.grid.height_px, : f.grid.width_px] for x_hat, f in zip(images, frames, strict=True)]
        return [
            Reconstruction(image, frame.provenance(), step, False, stages, caption=frame.caption)
            for image, frame in zip(cut, frames, strict=True)
        ]

    def _confidence_fields(self, frames: Sequence[Frame], step: Step | None) -> list[dict[str, Any]]:
        """Return each frame's `uncertain` and `quality_estimate`, as fields of a Reconstruction."""
        if step is None:
            return [{"quality_estimate": 1.0}] * len(frames)
        doubt, probability = step.uncertainty(self.tokenizer.codebook).cpu().numpy(), step.probability.cpu().numpy()
        return [
            {"uncertain": {TOKENS: missing_by_uncertainty(u, frame.grid.received)}, "quality_estimate": float(p.mean())}
            for frame, u, p in zip(frames, doubt, probability, strict=True)
        ]


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


def arrived_frame(rounds: Rounds, generator: torch.Generator) -> Frame:
    """Merge all rounds of a frame. Raises DecodeFailed unless the number of tokens fits the size of the image."""
    segments = merge_rounds(rounds)
    grid = TokenGrid(rounds, segments)
    # Header and settings use the same names. Fields that the header leaves open get the sampler's defaults.
    chosen = grid.header.model_dump(include={f.name for f in fields(SamplerSettings)}, exclude_none=True)
    settings = None if grid.received.all() else SamplerSettings(**chosen)
    return Frame(grid, segments, _caption(segments.get(CAPTION)), settings, generator)


def _caption(segment: ReceivedSegment | None) -> str | None:
    """Return the caption if all of it was received: half a caption may mislead as easily as help."""
    if segment is None or not 0 < len(segment.elements) <= MAX_CAPTION_BYTES or not segment.received.all():
        return None
    return segment.elements.astype(np.uint8).tobytes().decode(errors="replace")


def _wanted(frame: Frame) -> dict[int, Ints]:
    """Return the elements that were sent and did not arrive, as spans by segment kind.

    The caption is requested only if a token is missing, too.
    """
    return {} if frame.settings is None else erased_spans(frame.segments)
