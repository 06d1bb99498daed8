"""lami_go: caption and VQ tokens; missing tokens are re-noised and denoised (latent mixture integration).

Wijesinghe, Wanninayaka, Wang, Chao, Zhang, Ding: "LaMI-GO: Latent Mixture Integration for Goal-Oriented
Communications Achieving High Spectrum Efficiency". In the paper's equations M = 1 means masked; here True means sent.
"""

from __future__ import annotations

import math
from enum import Enum
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import Field

from gocom.common.counter_rng import CounterRng
from gocom.common.entropy.frequency_tables import FrequencyTable, NeighbourTables, load_neighbours, load_table
from gocom.common.net_geometry import token_geometry
from gocom.common.patch_grid import grid_shape
from gocom.common.systems import SYSTEMS, SegmentSpec, System
from gocom.common.types import Bools, ElementCoding, Floats, FrameView, Parameters
from gocom.common.zoo import net_config, net_folder

CAPTION, TOKENS = 0, 1
MAX_CAPTION_BYTES = 512

PDM_PATTERNS = (
    ((1, 0), (0, 0)),
    ((1, 0), (0, 1)),
    ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
)
"""Patterns of PDM, where 1 means withheld: the paper's eq. 15 (1/4), a chessboard (1/2), diagonals (1/3)."""


class MaskingPolicy(str, Enum):
    """Which tokens the transmitter withholds.

    NONE: none.
    PRM: pseudo-random masking by a seed.
    PDM: pre-determined masking by a pattern.
    EBM: entropy-based masking, which withholds the tokens closest to their codewords.
    EBM_FARTHEST: the tokens farthest from their codewords, for comparison.
    """

    NONE = "none"
    PRM = "prm"
    PDM = "pdm"
    EBM = "ebm"
    EBM_FARTHEST = "ebm_farthest"


EBM_POLICIES = (MaskingPolicy.EBM, MaskingPolicy.EBM_FARTHEST)
"""Policies whose mask only the sender knows."""


class TSchedule(str, Enum):
    """Start of the noise level t, which falls to 0: the share of tokens that is missing, or 1 as in the paper."""

    MATCHED = "matched"
    PAPER = "paper"


class TokenDraw(str, Enum):
    """How codewords are chosen from their probabilities.

    MULTINOMIAL: drawn at every step, as in the paper (eq. 5).
    ARGMAX: the likeliest at every step.
    EXPECTED: drawn, but at the last step the one nearest to the expected codeword: least squared error of the latent.
    """

    MULTINOMIAL = "multinomial"
    ARGMAX = "argmax"
    EXPECTED = "expected"


MaskSeed = Annotated[int, Field(ge=0, lt=2**32)]
MaskPattern = Annotated[int, Field(ge=0, lt=len(PDM_PATTERNS))]
Temperature = Annotated[float, Field(ge=0.001, le=10)]


class LamiGoSampling(Parameters):
    """Settings of the receiver's sampler, as the sender asks for them; None: the receiver's default.

    Attributes:
        num_inference_steps: number of denoising steps T.
        renoise_steps: tau, re-noising ends before the tau-th step.
        draw: how codewords are chosen.
        t_schedule: start of the noise level.
        temperature: temperature of the draws at the first step.
        final_temperature: temperature of the draws at the last step.
        guidance_scale: scale of the classifier-free guidance; 1: no guidance.
    """

    num_inference_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    renoise_steps: Annotated[int, Field(ge=0, le=1000)] | None = None
    draw: TokenDraw | None = None
    t_schedule: TSchedule | None = None
    temperature: Temperature | None = None
    final_temperature: Temperature | None = None
    guidance_scale: Annotated[float, Field(ge=0, le=20)] | None = None


class LamiGoHeader(LamiGoSampling):
    """Codec header: what the receiver must know in addition to the common frame header.

    Attributes:
        masking: masking policy.
        mask_ratio_permille: share of withheld tokens in thousandths, for PRM only.
        mask_seed: seed of the mask, for PRM only; None: the frame index.
        mask_pattern: index into PDM_PATTERNS, for PDM only.
    """

    masking: MaskingPolicy = MaskingPolicy.NONE
    mask_ratio_permille: Annotated[int, Field(ge=0, le=900)] = 0
    mask_seed: MaskSeed | None = None
    mask_pattern: MaskPattern = 0


class LamiGoOptions(LamiGoSampling):
    """Options that a user may set.

    Attributes:
        masking: masking policy.
        mask_ratio: share of tokens to withhold; with PDM the pattern determines it.
        mask_seed: seed of the mask of PRM; None: the frame index.
        coding: entropy coding of the tokens.
        caption: text to send; None: that of the captioner.
        send_caption: whether to send a caption.
        repair_overhead: RaptorQ repair packets of the tokens as a share of their source packets.
        caption_repair_overhead: the same for the caption; 1 sends a caption of one packet twice.
        mask_pattern: index into PDM_PATTERNS; None: 0.
    """

    masking: MaskingPolicy = MaskingPolicy.PRM
    mask_ratio: Annotated[float, Field(ge=0, le=0.9)] = 0.25
    mask_seed: MaskSeed | None = None
    coding: ElementCoding = ElementCoding.CONTEXT
    caption: Annotated[str, Field(max_length=400)] | None = None
    send_caption: bool = True
    repair_overhead: Annotated[float, Field(ge=0, le=8)] = 0.0
    caption_repair_overhead: Annotated[float, Field(ge=0, le=8)] = 1.0
    mask_pattern: MaskPattern | None = None


def keep_mask(frame: FrameView) -> Bools | None:
    """Return the mask of the tokens that are sent, bool [h * w]; None if the header does not determine it (NONE, EBM).

    PRM withholds exactly round(ratio * count) tokens at positions that follow from the seed. PDM repeats its pattern
    over the grid.
    """
    header = frame.header
    assert isinstance(header, LamiGoHeader)
    rows, columns = token_grid(frame.width_px, frame.height_px)
    if header.masking is MaskingPolicy.PRM:
        keep = np.ones(rows * columns, bool)
        withheld = round(header.mask_ratio_permille * len(keep) / 1000)
        seed = frame.frame_index if header.mask_seed is None else header.mask_seed
        keep[CounterRng(seed, "prm").permutation(len(keep))[:withheld]] = False
        return keep
    if header.masking is MaskingPolicy.PDM:
        pattern = np.array(PDM_PATTERNS[header.mask_pattern], bool)
        repeats = (-(-rows // len(pattern)), -(-columns // pattern.shape[1]))
        tiled: Bools = ~np.tile(pattern, repeats)[:rows, :columns].ravel()
        return tiled
    return None


def ebm_keep_mask(distance: Floats, count: int, farthest: bool) -> Bools:
    """Return the mask of entropy-based masking (eq. 16-17), bool [N], False for the tokens to withhold.

    Args:
        distance: float32 [N], distance of the latent of each token to its codeword.
        count: number of tokens to withhold.
        farthest: withhold the tokens farthest from their codewords; False: the closest ones.
    """
    keep = np.ones(len(distance), bool)
    keep[np.argsort(-distance if farthest else distance, kind="stable")[:count]] = False
    return keep


def codebook_size() -> int:
    """Return the number of codewords of the tokenizer, K. Raises NotReady if it is missing, Mismatch."""
    return token_geometry(net_config("vq_tokenizer"))[0]


def patch_px() -> int:
    """Return the side in pixels of the square that a token stands for. Raises NotReady, Mismatch."""
    return token_geometry(net_config("vq_tokenizer"))[1]


def token_grid(width_px: int, height_px: int) -> tuple[int, int]:
    """Return (rows, columns) of the tokens of an image. Raises NotReady, Mismatch."""
    return grid_shape(width_px, height_px, patch_px())


@cache
def token_table() -> FrequencyTable:
    """Return the frequencies of the codewords in the training pictures.

    They were counted with the bundled tokenizer. For a codebook of another size all codewords are equally frequent.
    """
    table, size = load_table(_tables(), "tokens"), codebook_size()
    return table if len(table.frequencies) == size else FrequencyTable.uniform(size)


@cache
def caption_table() -> FrequencyTable:
    """Return the frequencies of the bytes in the training captions."""
    return load_table(_tables(), "caption_bytes")


@cache
def token_neighbours() -> NeighbourTables:
    """Return the frequencies of the codewords by the classes of the codewords to their left and above them.

    For a codebook of another size than the bundled one, see `token_table`.
    """
    tables, size = load_neighbours(_tables(), "tokens"), codebook_size()
    return tables if tables.frequencies.shape[1] == size else NeighbourTables.uniform(size)


@cache
def caption_neighbours() -> NeighbourTables:
    """Return the frequencies of the bytes by the class of the byte before."""
    return load_neighbours(_tables(), "caption_bytes")


def _tables() -> Path:
    return net_folder("lami_go_tables") / "tables.safetensors"


def _columns(width_px: int, height_px: int) -> int:
    return token_grid(width_px, height_px)[1]


def _count(width_px: int, height_px: int) -> int:
    return math.prod(token_grid(width_px, height_px))


def _header_fields(options: LamiGoOptions) -> dict[str, Any]:
    """Return the header fields of the masking policy that the options choose."""
    prm, pdm = options.masking is MaskingPolicy.PRM, options.masking is MaskingPolicy.PDM
    return {
        "mask_ratio_permille": round(options.mask_ratio * 1000) if prm else 0,
        "mask_seed": options.mask_seed if prm else None,
        "mask_pattern": options.mask_pattern or 0 if pdm else 0,
    }


SYSTEMS.add(
    "lami_go",
    System(
        name="lami_go",
        header=LamiGoHeader,
        options=LamiGoOptions,
        segments=(
            SegmentSpec("caption", 256, caption_table, caption_neighbours, max_elements=MAX_CAPTION_BYTES),
            SegmentSpec("tokens", codebook_size, token_table, token_neighbours, _columns, _count, keep_mask),
        ),
        knowledge=("vq_tokenizer", "token_denoiser", "lami_go_tables"),
        header_fields=_header_fields,
        summary="caption and VQ tokens; what the channel ate is denoised back (LaMI-GO)",
    ),
)
