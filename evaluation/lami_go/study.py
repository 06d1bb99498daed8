"""What the study consists of."""

from __future__ import annotations

from gocom.common.samplers.latent_mixture import SamplerSettings
from gocom.evaluation.lami_go import (
    coding,
    denoiser,
    erasure,
    mixture,
    noise,
    policies,
    ratio,
    refinement,
    showtime,
    steps,
)
from gocom.evaluation.lami_go.counts import COUNTS
from gocom.evaluation.lami_go.world import SETS, World
from gocom.evaluation.study.store import Study

PARTS = (denoiser, coding, policies, ratio, steps, mixture, noise, erasure, refinement, showtime)
STUDY = Study(World.codec, World, tuple(module.PART for module in PARTS), SETS, SamplerSettings(), COUNTS)
