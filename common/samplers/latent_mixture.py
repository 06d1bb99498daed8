"""Latent mixture integration (LaMI-GO, eq. 12-13, algorithm 2) with a token denoiser like Paella's, or a masked one.

In the paper M = 1 means masked. Here `received` is True where a token arrived. Received tokens are kept at every step,
so the sampler never replaces what the channel delivered.

For a denoiser like Paella's noise is random codewords. All missing tokens are drawn at every step, and the first tau
steps put noise back at random positions (the paper's Gamma). A masked denoiser (MaskGIT, Chang et al. 2022) knows noise
by a token of its own, and learned to predict only what that token hides. Then sampling is the reverse process of an
absorbing state (D3PM, Austin et al. 2021): each missing position is noise up to a step of its own, is drawn at that
step for the last time, and keeps its token from there on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gocom.common.nets.net_interfaces import Denoise
from gocom.common.systems.lami_go import TokenDraw, TSchedule

Generators = Sequence[torch.Generator]
"""Generators on the CPU, one for each frame, so that the draws for a frame do not depend on the rest of the batch."""


@dataclass(frozen=True, slots=True)
class SamplerSettings:
    """Settings of the sampler. The defaults apply to what the codec's header leaves unset.

    Attributes:
        num_inference_steps: number of denoising steps T, 1 or more.
        renoise_steps: tau: the input of the steps before the tau-th is re-noised. The first step starts from noise
            anyway, so 1 has the same effect as 0. Without effect if noise is a token of its own.
        t_schedule: start of the noise level t that the net gets; from there t falls linearly to 0. PAPER starts at 1.
            MATCHED starts at the share of tokens that are really missing, because for t near 1 such a net ignores its
            input, received tokens included.
        temperature: temperature of the draws at the first step, above 0.
        final_temperature: temperature at the last step, above 0; it is linear in between, as in Paella's own sampler.
        guidance_scale: scale of the classifier-free guidance by the text; 0: the text is ignored, 1: no guidance.
        draw: how codewords are chosen from the net's probabilities.
    """

    num_inference_steps: int = 8
    renoise_steps: int = 4
    t_schedule: TSchedule = TSchedule.MATCHED
    temperature: float = 1.0
    final_temperature: float = 0.2
    guidance_scale: float = 1.0
    draw: TokenDraw = TokenDraw.EXPECTED

    def temperature_at(self, step: int) -> float:
        """Return the temperature of a step, counted from 0."""
        progress = step / max(1, self.num_inference_steps - 1)
        return self.temperature + progress * (self.final_temperature - self.temperature)


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """Result of one sampling step.

    Attributes:
        tokens: int64 [B,h,w]; received tokens are unchanged.
        missing: bool [B,h,w], True where the token was not received but drawn; there are M such tokens.
        logits: float32 [M,K], logits that the tokens were last drawn from, in raster order, with guidance but before
            the temperature.
    """

    tokens: Tensor
    missing: Tensor
    logits: Tensor

    @property
    def probability(self) -> Tensor:
        """Probability of each drawn token according to the net, float32 [B,h,w]; 1 where the token was received."""
        chosen = self.logits.softmax(1).gather(1, self.tokens[self.missing][:, None]).squeeze(1)
        return torch.ones_like(self.missing, dtype=chosen.dtype).masked_scatter(self.missing, chosen)

    def uncertainty(self, codebook: Tensor) -> Tensor:
        """Return the expected squared distance from the drawn codeword to the right one.

        It is small where the net hesitates only between codewords that are alike.

        Args:
            codebook: float32 [K,D].

        Returns:
            float32 [B,h,w], the sum over k of p_k ||w_k - w_drawn||^2; 0 where the token was received.
        """
        drawn, rows = torch.unique(self.tokens[self.missing], return_inverse=True)
        # cdist may use a matrix product, whose rounding errors would give equal codewords a distance above 0.
        squared = torch.cdist(codebook[drawn], codebook, compute_mode="donot_use_mm_for_euclid_dist").square()
        expected = (self.logits.softmax(1) * squared[rows]).sum(1)
        return torch.zeros_like(self.missing, dtype=expected.dtype).masked_scatter(self.missing, expected)


def multinomial(logits: Tensor, temperature: float, uniform: Tensor) -> Tensor:
    """Draw one index per row from softmax(logits / temperature), int64 [M].

    The cumulative sum is inverted at uniform numbers, which are drawn on the CPU and so are the same on every device.

    Args:
        logits: [M,K].
        temperature: above 0.
        uniform: float64 [M] in [0,1).
    """
    shifted = logits.double() - logits.amax(1, keepdim=True)  # at most 0, so that no temperature makes it overflow
    cumulative = (shifted / temperature).softmax(1).cumsum(1)
    return torch.searchsorted(cumulative, uniform[:, None]).squeeze(1).clamp_max(logits.shape[1] - 1)


def nearest_to_expected(logits: Tensor, codebook: Tensor) -> Tensor:
    """Return the index of the codeword nearest to the expected codeword, int64 [M]. It has the least squared error.

    Args:
        logits: [M,K].
        codebook: [K,D].
    """
    return torch.cdist(logits.softmax(1) @ codebook, codebook).argmin(1)


def renoise(tokens: Tensor, noise: Tensor, share: float, generators: Generators) -> Tensor:
    """Put the initial noise back at randomly chosen positions (the paper's Gamma); return int64 [B,h,w].

    Args:
        tokens: int64 [B,h,w].
        noise: int64 [B,h,w], the random tokens that sampling started from.
        share: probability in [0,1] that a position is chosen.
        generators: B generators.
    """
    return torch.where(_uniform(tokens, generators) < share, noise, tokens)


def _uniform(tokens: Tensor, generators: Generators) -> Tensor:
    """Return uniform numbers in [0,1), float64 of the shape of B grids and on their device."""
    drawn = [torch.rand(tokens.shape[1:], generator=g, dtype=torch.float64) for g in generators]
    return torch.stack(drawn).to(tokens.device)


def guided(denoise: Denoise, unconditional: Denoise, scale: float) -> Denoise:
    """Return a denoiser with classifier-free guidance (Ho and Salimans 2022, as in Paella).

    It moves the logits away from those without the text.

    Args:
        denoise: the net with its text.
        unconditional: the net without the text.
        scale: 0: only `unconditional` is used; 1: only `denoise` is used; more: the text has more weight.
    """
    if scale == 1:
        return denoise
    if scale == 0:
        return unconditional

    def denoise_guided(tokens: Tensor, t: Tensor) -> Tensor:
        without_text = unconditional(tokens, t)
        return without_text + scale * (denoise(tokens, t) - without_text)

    return denoise_guided


def sample(
    denoise: Denoise,
    tokens: Tensor,
    received: Tensor,
    *,
    codebook: Tensor,
    settings: SamplerSettings,
    generators: Generators,
    unconditional: Denoise | None = None,
    noise_token: int | None = None,
) -> Iterator[Step]:
    """Draw the missing tokens of B grids together. Yield T steps; the last one is the result.

    Args:
        denoise: the net, with its text and its trusted channel bound.
        tokens: int64 [B,h,w]; values where `received` is False are ignored.
        received: bool [B,h,w], True where a token arrived; on the same device as `tokens`.
        codebook: float32 [K,D].
        settings: settings for all B grids.
        generators: B generators.
        unconditional: the same net without its text; None: there is no text, and `guidance_scale` has no effect.
        noise_token: the token that stands for noise; None: noise is random codewords.
    """
    predict = denoise if unconditional is None else guided(denoise, unconditional, settings.guidance_scale)
    missing, device = ~received, tokens.device
    # A position is the noise token while the share of noise is above its last share: such positions only get fewer.
    last_share = None if noise_token is None else _uniform(tokens, generators)
    if noise_token is None:
        noise = torch.stack([torch.randint(len(codebook), tokens.shape[1:], generator=g) for g in generators]).to(
            device
        )
    else:
        noise = torch.full_like(tokens, noise_token)
    unknown = missing.flatten(1).float().mean(1)
    initial_t = torch.ones_like(unknown) if settings.t_schedule is TSchedule.PAPER else unknown
    current, noisy, logits = torch.where(received, tokens, noise), missing, None
    for step in range(settings.num_inference_steps):
        # This share of the missing tokens is noise; in the MATCHED schedule, t is the share of noise in the whole grid.
        share = 1 - step / settings.num_inference_steps
        if last_share is not None:
            noisy = missing & (last_share < share)
            current = torch.where(noisy, noise, current)
        elif 0 < step < settings.renoise_steps:
            current = torch.where(received, tokens, renoise(current, noise, share, generators))
        found = predict(current, initial_t * share).permute(0, 2, 3, 1)[noisy]
        logits = found if logits is None or last_share is None else logits.index_put((noisy[missing],), found)
        last = step == settings.num_inference_steps - 1
        if settings.draw is TokenDraw.ARGMAX:
            drawn = found.argmax(1)
        elif last and settings.draw is TokenDraw.EXPECTED:
            drawn = nearest_to_expected(found, codebook)
        else:
            counts = noisy.flatten(1).sum(1).tolist()
            uniform = torch.cat(
                [torch.rand(n, generator=g, dtype=torch.float64) for n, g in zip(counts, generators, strict=True)]
            )
            drawn = multinomial(found, settings.temperature_at(step), uniform.to(device))
        current = current.masked_scatter(noisy, drawn)
        yield Step(current, missing, logits)
