"""Encoder of lami_go: tokens, a mask of withheld tokens, a caption (LaMI-GO paper, algorithm 1)."""

from __future__ import annotations

import numpy as np
import torch

from gocom.common.byte_account import message_bytes
from gocom.common.csi import Csi
from gocom.common.errors import BudgetTooSmall
from gocom.common.image_files import ImageArray
from gocom.common.model_files import model_folder
from gocom.common.nets.loading import load_net, resolve_device
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.common.systems import first_message
from gocom.common.systems.lami_go import (
    CAPTION,
    EBM_POLICIES,
    MAX_CAPTION_BYTES,
    PATCH_PX,
    TOKENS,
    LamiGoHeader,
    LamiGoOptions,
    MaskingPolicy,
    ebm_keep_mask,
)
from gocom.common.types import Budget, ElementCoding, Feedback, Floats, Goal, GoMessage, Ints, Segment
from gocom.transmitter.captioner import TagCaptioner
from gocom.transmitter.encoders import ENCODERS
from gocom.transmitter.retransmission import resend


def pad_to_patches(image: ImageArray) -> ImageArray:
    """Repeat the last row and column until both sides are multiples of 8: float32 [3, H, W] -> [3, H', W']."""
    bottom, right = -image.shape[1] % PATCH_PX, -image.shape[2] % PATCH_PX
    return np.pad(image, ((0, 0), (0, bottom), (0, right)), mode="edge") if bottom or right else image


def cut_caption(text: str) -> bytes:
    """Return the UTF-8 bytes of a caption, cut between characters to at most MAX_CAPTION_BYTES."""
    return text.encode()[:MAX_CAPTION_BYTES].decode(errors="ignore").encode()


class LamiGoSession:
    """The encoding of one image.

    Attributes:
        tokens: int64 [N], in raster order.
        distance: float32 [N], distance of each token's latent to its codeword.
        caption: UTF-8 bytes; empty if no caption is sent.
        sent: message of the first round; None before it is encoded.
    """

    def __init__(self, image: ImageArray, tokens: Ints, distance: Floats, caption: bytes, goal: Goal) -> None:
        assert isinstance(goal.options, LamiGoOptions)
        self.goal, self.options = goal, goal.options
        self.height_px, self.width_px = image.shape[1:]
        self.tokens, self.distance, self.caption = tokens, distance, caption
        self.sent: GoMessage | None = None

    def first(self, csi: Csi, budget: Budget) -> GoMessage:
        """Return the tokens that the masking policy keeps; over the budget, withhold the smallest ratio that fits.

        EBM policies stay as they are then, and all others become PRM. Raises BudgetTooSmall.
        """
        message = self._message(self.options.mask_ratio, self.options.masking)
        if budget.max_bytes and message_bytes(message, self.goal.link) > budget.max_bytes:
            message = self._fit(budget.max_bytes)
        self.sent = message
        return message

    def refine(self, feedback: Feedback) -> GoMessage | None:
        """Resend the requested tokens."""
        return resend(self.sent, feedback, self.goal.link) if self.sent else None

    def _fit(self, max_bytes: int) -> GoMessage:
        """Find the smallest mask ratio that fits, by bisection in thousandths up to 0.9."""
        masking = self.options.masking if self.options.masking in EBM_POLICIES else MaskingPolicy.PRM
        chosen = self.options.mask_ratio if masking is self.options.masking else 0.0
        low, high, best = round(chosen * 1000), 900, None
        while low <= high:
            middle = (low + high) // 2
            message = self._message(middle / 1000, masking)
            if message_bytes(message, self.goal.link) <= max_bytes:
                high, best = middle - 1, message
            else:
                low = middle + 1
        if best is None:
            floor = message_bytes(self._message(0.9, masking), self.goal.link)
            raise BudgetTooSmall("lami_go", max_bytes, floor)
        return best

    def _message(self, ratio: float, masking: MaskingPolicy) -> GoMessage:
        options, goal = self.options, self.goal
        prm = masking is MaskingPolicy.PRM
        header = LamiGoHeader(
            masking=masking,
            mask_ratio_permille=round(ratio * 1000) if prm else 0,
            mask_seed=options.mask_seed if prm else None,
            num_inference_steps=options.num_inference_steps,
            renoise_steps=options.renoise_steps,
            draw=options.draw,
            mask_pattern=options.mask_pattern or 0 if masking is MaskingPolicy.PDM else 0,
            t_schedule=options.t_schedule,
            temperature=options.temperature,
            final_temperature=options.final_temperature,
            guidance_scale=options.guidance_scale,
        )
        segments = self._segments(ratio, masking)
        return first_message(goal, "lami_go", header, (self.width_px, self.height_px), segments)

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


@ENCODERS.register("lami_go")
class LamiGoEncoder:
    """Tokenizer and captioner on one device."""

    def __init__(self, device: str) -> None:
        self.device = resolve_device(device)
        self.tokenizer = load_net(VQTokenizer, model_folder("vq_tokenizer"), self.device)
        self.captioner = TagCaptioner(str(self.device))

    @torch.inference_mode()
    def open(self, image: ImageArray, goal: Goal) -> LamiGoSession:
        """Compute an image's nearest codewords (eq. 9), their distances (eq. 16), and its caption."""
        assert isinstance(goal.options, LamiGoOptions)
        x = torch.from_numpy(pad_to_patches(image))[None].to(self.device)
        tokens, distance = self.tokenizer.encode(x)
        text = goal.options.caption
        if text is None and goal.options.send_caption:
            text = self.captioner(image)
        caption = cut_caption(text or "") if goal.options.send_caption else b""
        return LamiGoSession(
            image, tokens.flatten().cpu().numpy(), distance.flatten().float().cpu().numpy(), caption, goal
        )
