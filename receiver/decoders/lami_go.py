"""lami_go at the receiver: re-noise and denoise what is missing, keep what arrived (paper: algorithm 2)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from functools import lru_cache, partial

import numpy as np
import torch
from torch import Tensor

from common.errors import DecodeFailed
from common.models import model_folder
from common.nets.loading import load_net, resolve_device
from common.nets.text_encoder import TextEncoder
from common.nets.token_denoiser import TokenDenoiser
from common.nets.vq_tokenizer import VQTokenizer
from common.rounds import merge_rounds, missing_spans
from common.systems.lami_go import (
    CAPTION,
    CODEBOOK_SIZE,
    MAX_CAPTION_BYTES,
    PATCH_PX,
    TOKENS,
    LamiGoHeader,
    grid_shape,
    keep_mask,
)
from common.types import Bools, Ints, Provenance, ReceivedMessage, ReceivedSegment, Reconstruction
from receiver.decoders import DECODERS
from receiver.samplers.latent_mixture import sample

DEFAULT_STEPS, DEFAULT_RENOISE = 8, 4
PREVIEW_EVERY = 2


class TokenGrid:
    """What of the token grid is known: tokens int64 [h, w], received bool [h, w], kept bool [h, w]."""

    def __init__(self, rounds: Sequence[ReceivedMessage], segments: dict[int, ReceivedSegment]) -> None:
        frame = rounds[0].frame
        assert isinstance(frame.header, LamiGoHeader)
        self.header = frame.header
        shape = grid_shape(frame.width_px, frame.height_px)
        count = shape[0] * shape[1]
        keep = keep_mask(self.header, count)
        segment = segments.get(TOKENS)
        if segment is None or len(segment.elements) != int(keep.sum()):
            got = 0 if segment is None else len(segment.elements)
            raise DecodeFailed(f"lami_go: {got} tokens announced, the mask keeps {int(keep.sum())} of {count}")
        tokens, received = np.zeros(count, np.int64), np.zeros(count, bool)
        tokens[keep] = segment.elements
        received[keep] = segment.received
        self.tokens: Ints = tokens.reshape(shape)
        self.received: Bools = received.reshape(shape)
        self.kept: Bools = keep.reshape(shape)

    def provenance(self, width_px: int, height_px: int) -> np.ndarray:
        """uint8 [H, W]: each token's fate over the pixels it covers."""
        fate = np.where(self.received, Provenance.RECEIVED, Provenance.ERASED)
        fate = np.where(self.kept, fate, Provenance.WITHHELD).astype(np.uint8)
        return fate.repeat(PATCH_PX, 0).repeat(PATCH_PX, 1)[:height_px, :width_px]


@DECODERS.register("lami_go")
class LamiGoDecoder:
    """Denoiser, tokenizer and text encoder of one device."""

    def __init__(self, device: str) -> None:
        self.device = resolve_device(device)
        self.tokenizer = load_net(VQTokenizer, model_folder("vq_tokenizer"), self.device)
        self.denoiser = load_net(TokenDenoiser, model_folder("token_denoiser"), self.device)
        text_encoder = TextEncoder(str(self.device))
        self._encode_text = lru_cache(maxsize=256)(lambda text: text_encoder([text]))

    @torch.inference_mode()
    def reconstruct(
        self, rounds: Sequence[ReceivedMessage], *, generator: torch.Generator, previews: bool = False
    ) -> Iterator[Reconstruction]:
        """Previews every other step if wanted, then the picture. Nothing missing: the sampler does not run."""
        start = time.perf_counter()
        segments = merge_rounds(rounds)
        grid = TokenGrid(rounds, segments)
        caption = self._caption(segments.get(CAPTION))
        seconds = {"caption": time.perf_counter() - start}
        tokens = torch.from_numpy(grid.tokens)[None].to(self.device)
        if not grid.received.all():
            start = time.perf_counter()
            for step, tokens in enumerate(self._sample(grid, caption, generator), 1):
                if previews and step % PREVIEW_EVERY == 0:
                    yield self._picture(rounds, grid, tokens, caption, seconds, step=step, final=False)
            seconds["sample"] = time.perf_counter() - start
        yield self._picture(rounds, grid, tokens, caption, seconds, step=0, final=True, wanted=_wanted(segments))

    def _caption(self, segment: ReceivedSegment | None) -> str | None:
        """The text, if all of it arrived: half a caption is as likely to mislead as to help."""
        if segment is None or not 0 < len(segment.elements) <= MAX_CAPTION_BYTES or not segment.received.all():
            return None
        return segment.elements.astype(np.uint8).tobytes().decode(errors="replace")

    def _sample(self, grid: TokenGrid, caption: str | None, generator: torch.Generator) -> Iterator[Tensor]:
        tokens = torch.from_numpy(grid.tokens)[None].to(self.device)
        received = torch.from_numpy(grid.received)[None].to(self.device)
        text, mask = self._encode_text(caption) if caption else (None, None)
        steps = grid.header.num_inference_steps or DEFAULT_STEPS
        renoise = DEFAULT_RENOISE if grid.header.renoise_steps is None else grid.header.renoise_steps
        denoise = partial(self._denoise, received.float(), text, mask)
        return sample(
            denoise, tokens, received, codebook_size=CODEBOOK_SIZE, num_inference_steps=steps,
            renoise_steps=min(renoise, steps), generator=generator, argmax=grid.header.argmax,
        )  # fmt: skip

    def _denoise(self, trusted: Tensor, text: Tensor | None, mask: Tensor | None, tokens: Tensor, t: Tensor) -> Tensor:
        logits: Tensor = self.denoiser(tokens, t, trusted, text, mask)
        return logits

    def _picture(
        self,
        rounds: Sequence[ReceivedMessage],
        grid: TokenGrid,
        tokens: Tensor,
        caption: str | None,
        seconds: dict[str, float],
        *,
        step: int,
        final: bool,
        wanted: dict[int, Ints] | None = None,
    ) -> Reconstruction:
        start = time.perf_counter()
        frame = rounds[0].frame
        image = self.tokenizer.decode(tokens)[0, :, : frame.height_px, : frame.width_px].cpu().numpy()
        stages = dict(seconds) | {"decode": time.perf_counter() - start}
        provenance = grid.provenance(frame.width_px, frame.height_px)
        return Reconstruction(image, provenance, step, final, stages, wanted or {}, caption)


def _wanted(segments: dict[int, ReceivedSegment]) -> dict[int, Ints]:
    """Elements that were sent and did not arrive, by segment."""
    return {kind: missing_spans(s.received) for kind, s in segments.items() if not s.received.all()}
