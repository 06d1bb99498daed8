"""lami_go: caption and VQ tokens; missing tokens are re-noised and denoised (latent mixture integration).

Wijesinghe, Wanninayaka, Wang, Chao, Zhang, Ding: "LaMI-GO: Latent Mixture Integration for Goal-Oriented
Communications Achieving High Spectrum Efficiency". In the paper's equations M = 1 means masked; here True = present.
"""

from __future__ import annotations

from enum import Enum
from functools import cache
from typing import Annotated

import numpy as np
from pydantic import Field

from common.entropy.tables import FrequencyTable, load_table
from common.models import model_folder
from common.random import CounterRng
from common.systems import SYSTEMS, SegmentSpec, System
from common.types import Bools, ElementCoding, Parameters

CODEBOOK_SIZE = 1024
PATCH_PX = 8
CAPTION, TOKENS = 0, 1
MAX_CAPTION_BYTES = 512


class MaskingPolicy(str, Enum):
    """Which tokens the transmitter withholds."""

    NONE = "none"
    PRM = "prm"


Steps = Annotated[int, Field(ge=1, le=1000)]
RenoiseSteps = Annotated[int, Field(ge=0, le=1000)]


class LamiGoHeader(Parameters):
    """What the receiver must know besides the common header."""

    masking: MaskingPolicy = MaskingPolicy.NONE
    mask_ratio_permille: Annotated[int, Field(ge=0, le=900)] = 0
    mask_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    num_inference_steps: Steps | None = None
    renoise_steps: RenoiseSteps | None = None
    argmax: bool = False


class LamiGoOptions(Parameters):
    """What a user may set."""

    masking: MaskingPolicy = MaskingPolicy.PRM
    mask_ratio: Annotated[float, Field(ge=0, le=0.9)] = 0.25
    mask_seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    coding: ElementCoding = ElementCoding.RANGE
    num_inference_steps: Steps | None = None
    renoise_steps: RenoiseSteps | None = None
    caption: Annotated[str, Field(max_length=400)] | None = None
    send_caption: bool = True
    repair_overhead: Annotated[float, Field(ge=0, le=8)] = 0.0
    caption_repair_overhead: Annotated[float, Field(ge=0, le=8)] = 1.0
    argmax: bool = False


def grid_shape(width_px: int, height_px: int) -> tuple[int, int]:
    """(rows, columns) of tokens for an image whose sides are padded to multiples of 8."""
    return -(-height_px // PATCH_PX), -(-width_px // PATCH_PX)


def keep_mask(header: LamiGoHeader, count: int) -> Bools:
    """bool [count], True where the token is sent. PRM: exactly round(p * count) withheld, positions from the seed."""
    keep = np.ones(count, bool)
    if header.masking is MaskingPolicy.PRM:
        withheld = round(header.mask_ratio_permille * count / 1000)
        keep[CounterRng(header.mask_seed, "prm").permutation(count)[:withheld]] = False
    return keep


@cache
def token_table() -> FrequencyTable:
    """How often each codeword was used on the training pictures."""
    return load_table(model_folder("lami_go_tables") / "tables.safetensors", "tokens")


@cache
def caption_table() -> FrequencyTable:
    """How often each byte occurred in the training captions."""
    return load_table(model_folder("lami_go_tables") / "tables.safetensors", "caption_bytes")


SYSTEMS.add(
    "lami_go",
    System(
        name="lami_go",
        header=LamiGoHeader,
        options=LamiGoOptions,
        segments=(
            SegmentSpec("caption", 256, caption_table),
            SegmentSpec("tokens", CODEBOOK_SIZE, token_table),
        ),
        knowledge=("vq_tokenizer", "token_denoiser", "lami_go_tables"),
        summary="caption and VQ tokens; what the channel ate is denoised back (LaMI-GO)",
    ),
)
