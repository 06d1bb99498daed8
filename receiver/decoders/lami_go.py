"""lami_go at the receiver: re-noise and denoise what is missing, keep what arrived (paper: algorithm 2)."""

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
from gocom.common.rounds import merge_rounds, missing_spans
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
from gocom.receiver.batch_groups import in_groups
from gocom.receiver.decoders import DECODERS

Rounds = Sequence[ReceivedMessage]


class TokenGrid:
    """What of the token grid is known. Raises DecodeFailed where the rounds bring a grid of another size, or none.

    Attributes:
        tokens: int64 [h, w].
        received: bool [h, w].
        withheld: bool [h, w]: those that a later round brought after all are in both.
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
        """uint8 [H, W]: each token's fate over the pixels it covers."""
        fate = np.where(self.withheld, Provenance.WITHHELD, Provenance.ERASED)
        fate = np.where(self.received, Provenance.RECEIVED, fate)
        return fate.astype(np.uint8).repeat(PATCH_PX, 0).repeat(PATCH_PX, 1)[: self.height_px, : self.width_px]


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """What arrived of a picture; `settings` None: of its tokens nothing is missing."""

    grid: TokenGrid
    segments: dict[int, ReceivedSegment]
    caption: str | None
    settings: SamplerSettings | None
    generator: torch.Generator

    def provenance(self) -> Bytes:
        """uint8 [H, W]."""
        return self.grid.provenance()


@DECODERS.register("lami_go")
class LamiGoDecoder:
    """Denoiser, tokenizer and text encoder of one device."""

    def __init__(self, device: str) -> None:
        self.device = resolve_device(device)
        self.tokenizer = load_net(VQTokenizer, model_folder("vq_tokenizer"), self.device)
        self.denoiser = load_net(TokenDenoiser, model_folder("token_denoiser"), self.device)
        text_encoder = TextEncoder(str(self.device))
        self._encode_text = lru_cache(maxsize=256)(lambda text: text_encoder([text])[0][0])

    def reconstruct(
        self, rounds: Rounds, *, generator: torch.Generator, previews: bool = False
    ) -> Iterator[Reconstruction]:
        """A preview a step if wanted, then the picture. Nothing missing: the sampler does not run."""
        for (picture,) in self._pictures([arrived_frame(rounds, generator)], previews):
            yield picture

    def reconstruct_batch(
        self, frames: Sequence[Rounds], *, generators: Sequence[torch.Generator]
    ) -> list[Reconstruction]:
        """The picture of each frame; those of one grid shape and the same sampler settings are made together."""
        arrived = [arrived_frame(rounds, generator) for rounds, generator in zip(frames, generators, strict=True)]
        return in_groups(
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
        """Denoise what is missing of B grids of one shape; the last step is the result. See `sample`.

        Args:
            tokens: int64 [B,h,w].
            received: bool [B,h,w].
            captions: B; None or empty: no text.
            settings: the same for all B.
            generators: B, on the CPU.
            trusted: the net is told which tokens were received; False: its trusted channel says nothing.
        """
        tokens, received = tokens.to(self.device), received.to(self.device)
        known = received.float() if trusted else torch.zeros_like(received, dtype=torch.float32)
        conditional, unconditional = self.bind(captions, known)
        yield from sample(
            conditional, tokens, received, codebook=self.tokenizer.codebook, settings=settings,
            generators=generators, unconditional=unconditional,
        )  # fmt: skip

    def bind(self, captions: Sequence[str | None], known: Tensor) -> tuple[Denoise, Denoise | None]:
        """The denoiser of B frames with their text, and without it (None: they have none).

        Args:
            captions: B; None or empty: no text.
            known: float32 [B,h,w] on this device, what its trusted channel says; 1: received.
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
        """Features [B,T,384] and mask [B,T], with the net's stand-in for no text where there is none in this frame."""
        if not any(captions):
            return None, None
        # One by one: features must not depend on how long the companions' captions are.
        parts = [self._encode_text(caption) if caption else self.denoiser.null_text[0] for caption in captions]
        masks = [torch.ones(len(part), dtype=torch.bool, device=self.device) for part in parts]
        return pad_sequence(parts, batch_first=True), pad_sequence(masks, batch_first=True)

    @torch.inference_mode()
    def _pictures(self, frames: Sequence[Frame], previews: bool) -> Iterator[list[Reconstruction]]:
        """Pictures of frames of one group, step by step; seconds are a frame's share of what its group took."""
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
            replace(picture, final=True, wanted=_wanted(frame), **guesses)
            for picture, frame, guesses in zip(pictures, frames, self._guesses(frames, step), strict=True)
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

    def _guesses(self, frames: Sequence[Frame], step: Step | None) -> list[dict[str, Any]]:
        """Each frame's `uncertain` and `quality_estimate`."""
        if step is None:
            return [{"quality_estimate": 1.0}] * len(frames)
        doubt, probability = step.uncertainty(self.tokenizer.codebook).cpu().numpy(), step.probability.cpu().numpy()
        return [
            {"uncertain": {TOKENS: least_certain(u, frame.grid.received)}, "quality_estimate": float(p.mean())}
            for frame, u, p in zip(frames, doubt, probability, strict=True)
        ]


def least_certain(uncertainty: Floats, received: Bools) -> Ints:
    """float32 [h, w], bool [h, w] -> int64 [M], the missing positions in raster order, the most uncertain first."""
    missing = np.flatnonzero(~received)
    order: Ints = missing[np.argsort(-uncertainty.ravel()[missing], kind="stable")]
    return order


def arrived_frame(rounds: Rounds, generator: torch.Generator) -> Frame:
    """What arrived in all rounds. Raises DecodeFailed where the tokens are not those of a picture of its size."""
    segments = merge_rounds(rounds)
    grid = TokenGrid(rounds, segments)
    # Names are the same in both; what the header leaves open is for the sampler's defaults.
    said = grid.header.model_dump(include={f.name for f in fields(SamplerSettings)}, exclude_none=True)
    settings = None if grid.received.all() else SamplerSettings(**said)
    return Frame(grid, segments, _caption(segments.get(CAPTION)), settings, generator)


def _caption(segment: ReceivedSegment | None) -> str | None:
    """The text, if all of it arrived: half a caption is as likely to mislead as to help."""
    if segment is None or not 0 < len(segment.elements) <= MAX_CAPTION_BYTES or not segment.received.all():
        return None
    return segment.elements.astype(np.uint8).tobytes().decode(errors="replace")


def _wanted(frame: Frame) -> dict[int, Ints]:
    """Elements that were sent and did not arrive, by segment; a caption is of no use where no token is missing."""
    segments = {} if frame.settings is None else frame.segments
    return {kind: missing_spans(~segment.erased) for kind, segment in segments.items() if segment.erased.any()}
