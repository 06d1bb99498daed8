"""What the study consists of."""

from __future__ import annotations

from evaluation.lami_go import coding, denoiser, erasure, mixture, noise, policies, ratio, refinement, showtime, steps
from evaluation.lami_go.counts import COUNTS
from evaluation.lami_go.world import SETS, World
from evaluation.study.store import Study
from receiver.samplers.latent_mixture import SamplerSettings

PARTS = (denoiser, coding, policies, ratio, steps, mixture, noise, erasure, refinement, showtime)
STUDY = Study(World.codec, World, tuple(module.PART for module in PARTS), SETS, SamplerSettings(), COUNTS)
