"""Encoder of lami_go: tokens, a mask of withheld tokens, a caption (LaMI-GO paper, algorithm 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

import numpy as np
import torch

from gocom.common.codec_interfaces import Analysis
from gocom.common.image_files import ImageArray
from gocom.common.nets.net_interfaces import ImageTokenizer
from gocom.common.patch_grid import pad_to_patches
from gocom.common.systems.lami_go import (
    CAPTION,
    EBM_POLICIES,
    MAX_CAPTION_BYTES,
    TOKENS,
    LamiGoOptions,
    MaskingPolicy,
    ebm_keep_mask,
)
from gocom.common.types import ElementCoding, Floats, Goal, GoMessage, Ints, Segment
from gocom.common.zoo import Zoo
from gocom.transmitter.captioner import TagCaptioner
from gocom.transmitter.encoders import ENCODERS
from gocom.transmitter.resending_session import ResendingSession

MAX_MASKED_PERMILLE = 900
"""Maximum share of masked tokens, in thousandths."""


def cut_caption(text: str) -> bytes:
    """Return the UTF-8 bytes of a caption, cut between characters to at most MAX_CAPTION_BYTES."""
    return text.encode()[:MAX_CAPTION_BYTES].decode(errors="ignore").encode()


@dataclass(frozen=True, slots=True, eq=False)
class LamiGoAnalysis(Analysis):
    """An image and its tokens.

    Attributes:
        tokens: int64 [N], in raster order.
        distance: float32 [N], distance of each token's latent to its codeword.
        caption: returns the captioner's text, which is made once.
    """

    tokens: Ints
    distance: Floats
    caption: Callable[[], str]


class LamiGoSession(ResendingSession):
    """The encoding of one image. Its operating points are mask ratios, in thousandths.

    Attributes:
        tokens: int64 [N], in raster order.
        distance: float32 [N], distance of each token's latent to its codeword.
        caption: UTF-8 bytes; empty if no caption is sent.
    """

    def __init__(self, analysis: LamiGoAnalysis, goal: Goal) -> None:
        super().__init__("lami_go", analysis, goal)
        assert isinstance(goal.options, LamiGoOptions)
        self.options = options = goal.options
        self.tokens, self.distance = analysis.tokens, analysis.distance
        text = analysis.caption() if options.caption is None and options.send_caption else options.caption
        self.caption = cut_caption(text or "") if options.send_caption else b""
        own = options.masking in (MaskingPolicy.PRM, *EBM_POLICIES)
        self.operating_points = (MAX_MASKED_PERMILLE, round(options.mask_ratio * 1000) if own else 0)

    def message(self, operating_point: int | None = None) -> GoMessage:
        """Return the round with a share of the tokens masked; None: as the options mask them.

        At an operating point EBM policies stay as they are, and all others become PRM.
        """
        options = self.options
        if operating_point is None:
            return self.compose(self._segments(options.mask_ratio, options.masking))
        ratio = operating_point / 1000
        if options.masking in EBM_POLICIES:
            return self.compose(self._segments(ratio, options.masking))
        header = self.header(
            masking=MaskingPolicy.PRM, mask_ratio_permille=operating_point, mask_seed=options.mask_seed, mask_pattern=0
        )
        return self.compose(self._segments(ratio, MaskingPolicy.PRM), header)

    def _segments(self, ratio: float, masking: MaskingPolicy) -> tuple[Segment, ...]:
        options = self.options
        segments = []
        if self.caption:
            # The caption is never delivered with bit errors, even if damaged tokens are.
            letters = np.frombuffer(self.caption, np.uint8).astype(np.int64)
            ones = np.ones(len(letters), np.float32)
            segments.append(Segment(CAPTION, letters, ones, ElementCoding.CONTEXT, options.caption_repair_overhead))
        keep, count = None, round(ratio * len(self.tokens))
        if masking in EBM_POLICIES and count:
            keep = ebm_keep_mask(self.distance, count, farthest=masking is MaskingPolicy.EBM_FARTHEST)
        # A bit error in a packet's slice of the mask would shift all tokens after it.
        tolerant = options.coding is ElementCoding.FIXED and options.repair_overhead == 0 and keep is None
        segments.append(
            Segment(
                TOKENS, self.tokens, self._importance(), options.coding, options.repair_overhead, tolerant, keep=keep
            )
        )
        return tuple(segments)

    def _importance(self) -> Floats:
        """Return the rank of each token's distance, float32 [N] in [0, 1].

        A token far from its codeword is unusual and hard to guess (paper, table III).
        """
        rank = np.argsort(np.argsort(self.distance, kind="stable"), kind="stable")
        return (rank / max(1, len(rank) - 1)).astype(np.float32)


class LamiGoEncoder:
    """Encoder of lami_go.

    Args:
        tokenizer: the tokenizer whose codewords are sent.
        captioner: function from an image, float32 [3, H, W] in [0, 1], to its caption.
        device: device of the tokenizer.
    """

    def __init__(self, tokenizer: ImageTokenizer, captioner: Callable[[ImageArray], str], device: torch.device) -> None:
        self.tokenizer, self.captioner, self.device = tokenizer, captioner, device

    @classmethod
    def from_zoo(cls, zoo: Zoo) -> LamiGoEncoder:
        """Make the encoder with the zoo's tokenizer and classifier. Raises as `Zoo.get`."""
        return cls(zoo.get("vq_tokenizer"), TagCaptioner(zoo.get("classifier")), zoo.device)

    @torch.inference_mode()
    def analyse(self, image: ImageArray) -> LamiGoAnalysis:
        """Compute the nearest codewords (eq. 9) and their distances (eq. 16) of an image, float32 [3, H, W]."""
        x = torch.from_numpy(pad_to_patches(image, self.tokenizer.patch_px))[None].to(self.device)
        tokens, distance = (found.flatten().cpu().numpy() for found in self.tokenizer.encode(x))
        return LamiGoAnalysis(image, tokens, distance, cache(partial(self.captioner, image)))

    def open(self, analysis: LamiGoAnalysis, goal: Goal) -> LamiGoSession:
        """Start the encoding of an image."""
        return LamiGoSession(analysis, goal)


ENCODERS.add("lami_go", LamiGoEncoder.from_zoo)
