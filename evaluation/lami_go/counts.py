"""How many pictures and seeds each part takes: what decides how long the study runs."""

from __future__ import annotations

from dataclasses import dataclass

ERASURE = "packet_erasure:rate=0.2"
"""The channel of the parts that have one loss rate only."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Pictures of each set that a part uses (fewer where a set has fewer), and channel seeds where there is loss."""

    denoiser: int = 320
    denoiser_variants: int = 48
    coding: int = 24
    policies: int = 12
    policies_seeds: int = 2
    steps: int = 6
    noise: int = 8
    noise_seeds: int = 2
    noise_captions: int = 24
    noise_captions_seeds: int = 2
    erasure: int = 24
    erasure_seeds: int = 5
    refinement: int = 24
    refinement_seeds: int = 3
    showtime: int = 8
    ratio: int = 12
    mixture: int = 8


COUNTS = Counts()
