"""Settings of the sampler that imputes features. No torch."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ImputerSettings:
    """Settings of the sampler. The defaults are for the bundled net.

    Attributes:
        num_inference_steps: number of diffusion steps, 1 or more.
        eta: noise added at each step, from 0 (DDIM) to 1 (as much as DDPM).
        deterministic: start from zeros and add no noise, whatever `eta` is. The features then do not depend on the seed
            and are near the conditional mean. With the bundled net their error is smaller than that of random samples.
    """

    num_inference_steps: int = 10
    eta: float = 0.0
    deterministic: bool = True
