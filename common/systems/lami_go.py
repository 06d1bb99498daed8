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

from gocom.common.counter_rng import CounterRng
from gocom.common.entropy.frequency_tables import FrequencyTable, NeighbourTables, load_neighbours, load_table
from gocom.common.model_files import model_folder
from gocom.common.systems import SYSTEMS, SegmentSpec, System
from gocom.common.types import Bools, ElementCoding, Floats, Parameters

CODEBOOK_SIZE = 1024
PATCH_PX = 8
CAPTION, TOKENS = 0, 1
MAX_CAPTION_BYTES = 512

PDM_PATTERNS = (
    ((1, 0), (0, 0)),
    ((1, 0), (0, 1)),
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
)
"""Patterns both ends know, 1 = withheld: the paper's eq. 15 (1/4), a chessboard (1/2), diagonals (1/3)."""


class MaskingPolicy(str, Enum):
    """Which tokens the transmitter withholds."""

    NONE = "none"
    PRM = "prm"
    PDM = "pdm"
    EBM = "ebm"
    EBM_FARTHEST = "ebm_farthest"


EBM_POLICIES = (MaskingPolicy.EBM, MaskingPolicy.EBM_FARTHEST)
"""Those whose mask only the sender knows."""


class TSchedule(str, Enum):
    """From where the denoiser's noise level t falls: the share really unknown, or 1 as in the paper."""

    MATCHED = "matched"
    PAPER = "paper"


class TokenDraw(str, Enum):
    """How codewords are taken from their probabilities.

    MULTINOMIAL draws them, as the paper does (eq. 5); ARGMAX takes the likeliest; EXPECTED draws them but at the last
    step, where it takes the codeword nearest to the expected one: the least squared error of the latent.
    """

    MULTINOMIAL = "multinomial"
    ARGMAX = "argmax"
    EXPECTED = "expected"


Steps = Annotated[int, Field(ge=1, le=1000)]
RenoiseSteps = Annotated[int, Field(ge=0, le=1000)]
MaskSeed = Annotated[int, Field(ge=0, lt=2**32)]
MaskPattern = Annotated[int, Field(ge=0, lt=len(PDM_PATTERNS))]
Temperature = Annotated[float, Field(ge=0.001, le=10)]
Guidance = Annotated[float, Field(ge=0, le=20)]


class LamiGoHeader(Parameters):
    """What the receiver must know besides the common header."""

    masking: MaskingPolicy = MaskingPolicy.NONE
    mask_ratio_permille: Annotated[int, Field(ge=0, le=900)] = 0
    mask_seed: MaskSeed = 0
    num_inference_steps: Steps | None = None
    renoise_steps: RenoiseSteps | None = None
    draw: TokenDraw | None = None
    mask_pattern: MaskPattern = 0
    t_schedule: TSchedule | None = None
    temperature: Temperature | None = None
    final_temperature: Temperature | None = None
    guidance_scale: Guidance | None = None


class LamiGoOptions(Parameters):
    """What a user may set."""

    masking: MaskingPolicy = MaskingPolicy.PRM
    mask_ratio: Annotated[float, Field(ge=0, le=0.9)] = 0.25
    mask_seed: MaskSeed | None = None
    coding: ElementCoding = ElementCoding.CONTEXT
    num_inference_steps: Steps | None = None
    renoise_steps: RenoiseSteps | None = None
    caption: Annotated[str, Field(max_length=400)] | None = None
    send_caption: bool = True
    repair_overhead: Annotated[float, Field(ge=0, le=8)] = 0.0
    caption_repair_overhead: Annotated[float, Field(ge=0, le=8)] = 1.0
    draw: TokenDraw | None = None
    mask_pattern: MaskPattern | None = None
    t_schedule: TSchedule | None = None
    temperature: Temperature | None = None
    final_temperature: Temperature | None = None
    guidance_scale: Guidance | None = None


def grid_shape(width_px: int, height_px: int) -> tuple[int, int]:
    """(rows, columns) of tokens for an image whose sides are padded to multiples of 8."""
    return -(-height_px // PATCH_PX), -(-width_px // PATCH_PX)


def keep_mask(header: Parameters, width_px: int, height_px: int) -> Bools | None:
    """bool [h * w], True where the token is sent; None where the header does not say it (none, EBM).

    PRM: exactly round(p * count) withheld, positions from the seed. PDM: the pattern, repeated over the grid.
    """
    assert isinstance(header, LamiGoHeader)
    rows, columns = grid_shape(width_px, height_px)
    if header.masking is MaskingPolicy.PRM:
        keep = np.ones(rows * columns, bool)
        withheld = round(header.mask_ratio_permille * len(keep) / 1000)
        keep[CounterRng(header.mask_seed, "prm").permutation(len(keep))[:withheld]] = False
        return keep
    if header.masking is MaskingPolicy.PDM:
        pattern = np.array(PDM_PATTERNS[header.mask_pattern], bool)
        repeats = (-(-rows // len(pattern)), -(-columns // pattern.shape[1]))
        tiled: Bools = ~np.tile(pattern, repeats)[:rows, :columns].ravel()
        return tiled
    return None


def closest_first(distance: Floats, count: int, farthest: bool) -> Bools:
    """EBM (eq. 16-17): bool [N], False at the `count` tokens closest to (or farthest from) their codeword.

    Args:
        distance: float32 [N], of the latent to its codeword.
    """
    keep = np.ones(len(distance), bool)
    keep[np.argsort(-distance if farthest else distance, kind="stable")[:count]] = False
    return keep


@cache
def token_table() -> FrequencyTable:
    """How often each codeword was used on the training pictures."""
    return load_table(model_folder("lami_go_tables") / "tables.safetensors", "tokens")


@cache
def caption_table() -> FrequencyTable:
    """How often each byte occurred in the training captions."""
    return load_table(model_folder("lami_go_tables") / "tables.safetensors", "caption_bytes")


@cache
def token_neighbours() -> NeighbourTables:
    """How often each codeword followed those to its left and above it."""
    return load_neighbours(model_folder("lami_go_tables") / "tables.safetensors", "tokens")


@cache
def caption_neighbours() -> NeighbourTables:
    """How often each byte followed the one before it."""
    return load_neighbours(model_folder("lami_go_tables") / "tables.safetensors", "caption_bytes")


def _columns(width_px: int, height_px: int) -> int:
    return grid_shape(width_px, height_px)[1]


def _count(width_px: int, height_px: int) -> int:
    rows, columns = grid_shape(width_px, height_px)
    return rows * columns


SYSTEMS.add(
    "lami_go",
    System(
        name="lami_go",
        header=LamiGoHeader,
        options=LamiGoOptions,
        segments=(
            SegmentSpec("caption", 256, caption_table, caption_neighbours, limit=MAX_CAPTION_BYTES),
            SegmentSpec("tokens", CODEBOOK_SIZE, token_table, token_neighbours, _columns, _count, keep_mask),
        ),
        knowledge=("vq_tokenizer", "token_denoiser", "lami_go_tables"),
        summary="caption and VQ tokens; what the channel ate is denoised back (LaMI-GO)",
    ),
)
