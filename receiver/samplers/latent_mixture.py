"""Latent mixture integration (LaMI-GO, eq. 12-13, algorithm 2) around a Paella-style token denoiser.

In the paper M = 1 means masked. Here `received` is True where a token arrived; it is put back after every step, so
what the channel delivered is never re-invented.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(tokens int64 [B,h,w], t float [B]) -> logits [B,K,h,w]."""


FIRST_TEMPERATURE, LAST_TEMPERATURE = 1.0, 0.2
"""Sharpness of the draws at the first and the last step, linear in between, as Paella's own sampler has it."""


def multinomial(logits: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw one index a row from softmax(logits / temperature): [M,K] -> int64 [M].

    By inversion of the cumulative sum with uniforms drawn on the CPU: those are the same for every kernel and device.
    """
    cumulative = (logits.double() / temperature).softmax(1).cumsum(1)
    uniform = torch.rand((len(logits), 1), generator=generator, dtype=torch.float64).to(logits.device)
    return torch.searchsorted(cumulative, uniform).squeeze(1).clamp_max(logits.shape[1] - 1)


def renoise(tokens: Tensor, noise: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Gamma: put the first random draw back at a random `share` of the positions."""
    back = torch.rand(tokens.shape, generator=generator, dtype=torch.float64).to(tokens.device) < share
    return torch.where(back, noise, tokens)


def sample(
    denoise: Denoise,
    tokens: Tensor,
    received: Tensor,
    *,
    codebook_size: int,
    num_inference_steps: int,
    renoise_steps: int,
    generator: torch.Generator,
    argmax: bool = False,
) -> Iterator[Tensor]:
    """Tokens after each step; the last is the result.

    Args:
        denoise: the net, with its text condition bound.
        tokens: int64 [B,h,w]; values where `received` is False do not matter.
        received: bool [B,h,w].
        codebook_size: K.
        num_inference_steps: T.
        renoise_steps: tau; steps before the tau-th look at a re-noised grid (the first is noise: 1 is like 0).
        generator: CPU generator, the only source of randomness.
        argmax: take the likeliest codeword instead of drawing one.

    Yields:
        int64 [B,h,w], received positions as given.
    """
    noise = torch.randint(codebook_size, tokens.shape, generator=generator).to(tokens.device)
    current = torch.where(received, tokens, noise)
    # t falls from the share that is really unknown to 0: at t near 1 such a net ignores its input, received tokens too.
    unknown = float((~received).float().mean())
    for step in range(num_inference_steps):
        t = unknown * (1 - step / num_inference_steps)
        if 0 < step < renoise_steps:
            share = t / max(unknown, 1e-6)
            current = torch.where(received, tokens, renoise(current, noise, share, generator))
        logits = denoise(current, torch.full((tokens.shape[0],), t, device=tokens.device))
        missing = logits.permute(0, 2, 3, 1)[~received]  # received positions stay as they are, so only these are drawn
        current = tokens.clone()
        part = step / max(1, num_inference_steps - 1)
        temperature = FIRST_TEMPERATURE + part * (LAST_TEMPERATURE - FIRST_TEMPERATURE)
        current[~received] = missing.argmax(1) if argmax else multinomial(missing, temperature, generator)
        yield current
