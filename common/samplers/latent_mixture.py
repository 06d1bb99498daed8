"""Latent mixture integration (LaMI-GO, eq. 12-13, algorithm 2) around a Paella-style token denoiser.

In the paper M = 1 means masked. Here `received` is True where a token arrived; it is put back after every step, so
what the channel delivered is never re-invented.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gocom.common.systems.lami_go import TokenDraw, TSchedule

Denoise = Callable[[Tensor, Tensor], Tensor]
"""(tokens int64 [B,h,w], t float32 [B] in [0, 1]) -> logits [B,K,h,w]."""
Generators = Sequence[torch.Generator]
"""One on the CPU for each frame, all of its randomness: so what is drawn does not depend on its companions."""


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """How missing tokens are drawn; the defaults are for what a header leaves open.

    Attributes:
        num_inference_steps: T, from 1.
        renoise_steps: tau; steps before the tau-th look at a re-noised grid (the first is noise: 1 is like 0).
        t_schedule: what the net is told of the noise. PAPER: t falls from 1 to 0. MATCHED: from the share that is
            really unknown, because at t near 1 such a net ignores its input, received tokens too.
        temperature: of the draws at the first step, above 0.
        final_temperature: at the last step; linear in between, as Paella's own sampler has it.
        guidance_scale: of the text; 0: the text is ignored, 1: no guidance.
        draw: how codewords are taken from what the net says.
    """

    num_inference_steps: int = 8
    renoise_steps: int = 4
    t_schedule: TSchedule = TSchedule.MATCHED
    temperature: float = 1.0
    final_temperature: float = 0.2
    guidance_scale: float = 1.0
    draw: TokenDraw = TokenDraw.EXPECTED

    def temperature_at(self, step: int) -> float:
        """Of a step, counted from 0."""
        part = step / max(1, self.num_inference_steps - 1)
        return self.temperature + part * (self.final_temperature - self.temperature)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The grids after one step.

    Attributes:
        tokens: int64 [B,h,w], received ones as given.
        missing: bool [B,h,w], True where the token was drawn; M of them.
        logits: float32 [M,K] they were drawn from (guidance included, temperature not), in raster order.
    """

    tokens: Tensor
    missing: Tensor
    logits: Tensor

    @property
    def probability(self) -> Tensor:
        """float32 [B,h,w]: what the net gave the token that was drawn; 1 where it was received."""
        chosen = self.logits.softmax(1).gather(1, self.tokens[self.missing][:, None]).squeeze(1)
        return torch.ones_like(self.missing, dtype=chosen.dtype).masked_scatter(self.missing, chosen)

    def uncertainty(self, codebook: Tensor) -> Tensor:
        """Expected squared distance from the codeword drawn to the right one; hesitation among near-alikes is little.

        Args:
            codebook: float32 [K,D].

        Returns:
            float32 [B,h,w], sum over k of p_k ||w_k - w_drawn||^2; 0 where the token was received.
        """
        # Without the shortcut over a matrix product, which is wrong in the last digits: equal codewords are 0 apart.
        squared = torch.cdist(codebook, codebook, compute_mode="donot_use_mm_for_euclid_dist").square()
        expected = (self.logits.softmax(1) * squared[self.tokens[self.missing]]).sum(1)
        return torch.zeros_like(self.missing, dtype=expected.dtype).masked_scatter(self.missing, expected)


def multinomial(logits: Tensor, temperature: float, uniform: Tensor) -> Tensor:
    """One index a row from softmax(logits / temperature): [M,K] and float64 [M] in [0, 1) -> int64 [M].

    By inversion of the cumulative sum: uniforms that were drawn on the CPU are the same for every kernel and device.
    """
    below = logits.double() - logits.amax(1, keepdim=True)  # at most 0, so no temperature makes it overflow
    cumulative = (below / temperature).softmax(1).cumsum(1)
    return torch.searchsorted(cumulative, uniform[:, None]).squeeze(1).clamp_max(logits.shape[1] - 1)


def nearest_to_expected(logits: Tensor, codebook: Tensor) -> Tensor:
    """The codeword nearest to the expected one, of least squared error: [M,K], [K,D] -> int64 [M]."""
    return torch.cdist(logits.softmax(1) @ codebook, codebook).argmin(1)


def renoise(tokens: Tensor, noise: Tensor, share: float, generators: Generators) -> Tensor:
    """Gamma: put the first random draw back at a random `share` of the positions of [B,h,w]."""
    uniform = torch.stack([torch.rand(tokens.shape[1:], generator=g, dtype=torch.float64) for g in generators])
    return torch.where(uniform.to(tokens.device) < share, noise, tokens)


def guided(denoise: Denoise, unconditional: Denoise, scale: float) -> Denoise:
    """Classifier-free guidance (Ho and Salimans 2022, as in Paella): away from what the net says without the text."""
    if scale == 1:
        return denoise
    if scale == 0:
        return unconditional

    def both(tokens: Tensor, t: Tensor) -> Tensor:
        without = unconditional(tokens, t)
        return without + scale * (denoise(tokens, t) - without)

    return both


def sample(
    denoise: Denoise,
    tokens: Tensor,
    received: Tensor,
    *,
    codebook: Tensor,
    settings: SamplerSettings,
    generators: Generators,
    unconditional: Denoise | None = None,
) -> Iterator[Step]:
    """Fill B grids together; yields T steps, the last of which is the result.

    Args:
        denoise: the net, with its text and its trusted channel bound.
        tokens: int64 [B,h,w]; values where `received` is False do not matter.
        received: bool [B,h,w], on the same device.
        codebook: float32 [K,D].
        settings: the same for all B.
        generators: B.
        unconditional: the same net without its text; None: it has none, and `guidance_scale` means nothing.
    """
    predict = denoise if unconditional is None else guided(denoise, unconditional, settings.guidance_scale)
    missing, device = ~received, tokens.device
    counts = missing.flatten(1).sum(1).tolist()
    noise = torch.stack([torch.randint(len(codebook), tokens.shape[1:], generator=g) for g in generators]).to(device)
    unknown = missing.flatten(1).float().mean(1)
    first_t = torch.ones_like(unknown) if settings.t_schedule is TSchedule.PAPER else unknown
    current = torch.where(received, tokens, noise)
    for step in range(settings.num_inference_steps):
        # Of the missing tokens this share is noise; of the whole grid, `first_t` times as many.
        share = 1 - step / settings.num_inference_steps
        if 0 < step < settings.renoise_steps:
            current = torch.where(received, tokens, renoise(current, noise, share, generators))
        logits = predict(current, first_t * share).permute(0, 2, 3, 1)[missing]  # received ones are not drawn
        last = step == settings.num_inference_steps - 1
        if settings.draw is TokenDraw.ARGMAX:
            drawn = logits.argmax(1)
        elif last and settings.draw is TokenDraw.EXPECTED:
            drawn = nearest_to_expected(logits, codebook)
        else:
            uniform = torch.cat(
                [torch.rand(n, generator=g, dtype=torch.float64) for n, g in zip(counts, generators, strict=True)]
            )
            drawn = multinomial(logits, settings.temperature_at(step), uniform.to(device))
        current = tokens.masked_scatter(missing, drawn)
        yield Step(current, missing, logits)
