"""Protocols of the nets that codecs talk to. The small nets of ours and pretrained ones from a hub both have them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from torch import Tensor

from gocom.common.samplers.imputer_settings import ImputerSettings

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_ddim import DDIMScheduler

Denoise = Callable[[Tensor, Tensor], Tensor]
"""Denoiser of a token grid: (tokens int64 [B,h,w], t float32 [B] in [0,1]) -> logits float32 [B,K,h,w]."""


class ImageTokenizer(Protocol):
    """Autoencoder between images and grids of codeword indices. An index stands for a square patch of the image."""

    @property
    def codebook(self) -> Tensor:
        """The codewords, float32 [K,D]."""

    @property
    def patch_px(self) -> int:
        """Side in pixels of the patch that a token stands for."""

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the nearest codewords (LaMI-GO eq. 9) of images and the distances to them (eq. 16).

        Args:
            x: float32 [B,3,H,W] in [0,1], H and W multiples of `patch_px`.

        Returns:
            (tokens int64 [B,h,w], distance of each latent to its codeword, float32 [B,h,w]).
        """

    def decode(self, tokens: Tensor) -> Tensor:
        """Return the images, float32 [B,3,H,W] in [0,1], of tokens, int64 [B,h,w]."""


class LatentAutoencoder(Protocol):
    """Autoencoder between images and a latent of about unit variance."""

    @property
    def latent_channels(self) -> int:
        """Channels of the latent, C."""

    @property
    def patch_px(self) -> int:
        """Side in pixels of the patch that a position of the latent stands for."""

    def encode(self, x: Tensor) -> Tensor:
        """Return the features, float32 [B,C,h,w], of images, float32 [B,3,H,W] in [0,1].

        H and W are multiples of `patch_px`.
        """

    def decode(self, y: Tensor) -> Tensor:
        """Return the images, float32 [B,3,H,W] in [0,1], of features, float32 [B,C,h,w]."""


class CaptionedDenoiser(Protocol):
    """Net that predicts the tokens of a grid of which some are noise, with the help of a caption."""

    @property
    def noise_token(self) -> int | None:
        """The token that stands for noise in the net's input, an index beyond the codebook.

        None: the net was trained with uniformly random codewords as noise.
        """

    def bind(self, captions: Sequence[str | None], known: Tensor) -> tuple[Denoise, Denoise | None]:
        """Return the denoiser of B grids with their captions, and the denoiser without them.

        The second is None if no grid has a caption; then the first needs no guidance.

        Args:
            captions: B texts; None or an empty one stands for no text.
            known: float32 [B,h,w] on the net's device, 1 where a token is known to be right.
        """


class Imputer(Protocol):
    """Conditional diffusion model that fills in the erased features of a latent."""

    @property
    def grid_step(self) -> int:
        """Divisor of the sides of the net's grid: the factor by which the net makes it smaller inside."""

    @property
    def default_settings(self) -> ImputerSettings:
        """Settings of the sampler that suit the net, for what the codec's header leaves unset."""

    def scheduler(self) -> DDIMScheduler:
        """Return a new scheduler with the noise schedule that the net was trained with."""

    def predict(self, noisy: Tensor, features: Tensor, received: Tensor, t: Tensor) -> Tensor:
        """Return what the scheduler's `prediction_type` names, float32 [B,C,h,w].

        Args:
            noisy: noisy features, float32 [B,C,h,w], h and w multiples of `grid_step`.
            features: received features, float32 [B,C,h,w]; values where `received` is 0 are ignored.
            received: float32 [B,C,h,w], 1 where a feature was received, 0 elsewhere.
            t: diffusion timestep of each frame, int64 [B].
        """
