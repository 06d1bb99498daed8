"""Base class of decoders that sample what is missing of a latent: batches, previews, timing and provenance.

rounds --arrived_frame--> received latent --sample, step by step--> latent --decode--> picture
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, replace
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import numpy as np
import torch
from torch import Tensor

from gocom.common.patch_grid import paint_patches
from gocom.common.picture_labels import write_label
from gocom.common.rounds import erased_spans
from gocom.common.systems import shared_values
from gocom.common.types import Bytes, Ints, Parameters, Provenance, ReceivedMessage, ReceivedSegment, Reconstruction

Rounds = Sequence[ReceivedMessage]


class Settings(Protocol):
    """Settings of a sampler, a hashable dataclass whose fields have the names that the codec's header has for them."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    @property
    def num_inference_steps(self) -> int:
        """Number of steps."""


SettingsT = TypeVar("SettingsT", bound=Settings)
StepT = TypeVar("StepT")


@dataclass(frozen=True, slots=True, eq=False)
class ArrivedFrame(Generic[SettingsT]):
    """What arrived of an image in all rounds.

    Attributes:
        width_px, height_px: size of the image.
        segments: the merged segments by kind.
        latent: tokens int64 [h, w] or features float32 [C, h, w]; what the values are where nothing arrived does not
            matter.
        received: bool of the latent's shape, True where it arrived.
        patch_provenance: uint8 [h, w], the Provenance of each patch.
        settings: settings of the sampler; None if nothing is missing.
        generator: source of the sampler's randomness, on the CPU.
        caption: caption that arrived, if any.
        patch_px: side in pixels of the patch that a position of the latent stands for.
    """

    width_px: int
    height_px: int
    segments: Mapping[int, ReceivedSegment]
    latent: Tensor
    received: Tensor
    patch_provenance: Bytes
    settings: SettingsT | None
    generator: torch.Generator
    caption: str | None = None
    patch_px: int = 8

    def provenance(self) -> Bytes:
        """Return the Provenance of each pixel, which is that of its patch: uint8 [H, W]."""
        return paint_patches(self.patch_provenance, self.width_px, self.height_px, self.patch_px)

    def wanted(self) -> dict[int, Ints]:
        """Return the elements that were sent and did not arrive, as spans by segment kind; none with a whole latent."""
        return {} if self.settings is None else erased_spans(self.segments)


@dataclass(frozen=True, slots=True)
class Confidence:
    """How certain a decoder is of a picture; `uncertain` and `quality_estimate` are as in Reconstruction."""

    uncertain: Mapping[int, Ints] = field(default_factory=dict)
    quality_estimate: float | None = None


def sampler_settings(defaults: SettingsT, header: Parameters) -> SettingsT:
    """Return settings of a sampler: what the header says, and the given ones for what it leaves open."""
    return replace(defaults, **shared_values(header, defaults.__dataclass_fields__))


def element_provenance(segments: Iterable[ReceivedSegment]) -> Bytes:
    """Return the Provenance of each element of a latent that several segments of its length bring: uint8 [N].

    An element that any of them received is received, and one that any of them lost is erased.
    """
    segments = list(segments)
    fates = np.full(len(segments[0].elements), Provenance.WITHHELD, np.uint8)
    for segment in segments:
        fates[segment.erased] = Provenance.ERASED
    for segment in segments:
        fates[segment.received] = Provenance.RECEIVED
    return fates


class SamplingDecoder(ABC, Generic[SettingsT, StepT]):
    """A GenerativeDecoder that samples what is missing of a latent, also of several frames in one batch.

    A codec implements `arrived_frame`, `sample` and `decode`, and `confidence` if it knows how certain it is.

    Args:
        device: device of the nets.
        label: what to write on each picture, so that none is mistaken for a result; "": nothing.
    """

    label: str = ""

    def __init__(self, device: torch.device, label: str = "") -> None:
        self.device, self.label = device, label

    @abstractmethod
    def arrived_frame(self, rounds: Rounds, generator: torch.Generator) -> ArrivedFrame[SettingsT]:
        """Merge all rounds of a frame, without any net. Raises DecodeFailed if they do not fit the size of the image.

        Args:
            rounds: the received rounds of one frame, in order.
            generator: source of the sampler's randomness, on the CPU.
        """

    @abstractmethod
    def sample(
        self, frames: Sequence[ArrivedFrame[SettingsT]], settings: SettingsT, latent: Tensor, received: Tensor
    ) -> Iterator[tuple[Tensor, StepT]]:
        """Sample what is missing of B frames, and yield the latent after each step with what else `confidence` needs.

        Args:
            frames: the frames.
            settings: the settings of all of them.
            latent: their latents on the device, [B, ...]; the result of a step is of the same shape and type.
            received: bool [B, ...], where they arrived, on the device.
        """

    @abstractmethod
    def decode(self, latent: Tensor) -> Tensor:
        """Return the pictures, float32 [B, 3, H', W'] in [0, 1], of latents on the device, [B, ...]."""

    def confidence(self, frames: Sequence[ArrivedFrame[SettingsT]], last: StepT | None) -> Sequence[Confidence]:
        """Return how certain the picture of each frame is.

        Args:
            frames: the frames.
            last: what `sample` yielded with the last latent; None: nothing was missing.
        """
        return [Confidence()] * len(frames)

    def reconstruct(
        self, rounds: Rounds, *, generator: torch.Generator, previews: bool = False
    ) -> Iterator[Reconstruction]:
        """Yield a preview after each step but the last if wanted, then the picture. With a whole latent no step runs.

        Raises DecodeFailed.
        """
        for (picture,) in self._pictures([self.arrived_frame(rounds, generator)], previews):
            yield picture

    def reconstruct_batch(
        self, frames: Sequence[Rounds], *, generators: Sequence[torch.Generator]
    ) -> list[Reconstruction]:
        """Return the picture of each frame. Frames of equal grid and settings go through the nets together.

        Raises DecodeFailed.
        """
        arrived = [self.arrived_frame(rounds, generator) for rounds, generator in zip(frames, generators, strict=True)]
        groups: dict[Any, list[int]] = {}
        for index, frame in enumerate(arrived):
            groups.setdefault((frame.latent.shape, frame.settings), []).append(index)
        made: dict[int, Reconstruction] = {}
        for indices in groups.values():
            *_, pictures = self._pictures([arrived[index] for index in indices], previews=False)
            made |= zip(indices, pictures, strict=True)
        return [made[index] for index in range(len(arrived))]

    @torch.inference_mode()
    def _pictures(self, frames: Sequence[ArrivedFrame[SettingsT]], previews: bool) -> Iterator[list[Reconstruction]]:
        """Yield the pictures of one group of frames step by step. Seconds are each frame's share of the total."""
        latent = torch.stack([frame.latent for frame in frames]).to(self.device)
        settings, seconds = frames[0].settings, dict[str, float]()
        last: StepT | None = None
        if settings is not None:
            received = torch.stack([frame.received for frame in frames]).to(self.device)
            sampling, start = 0.0, time.perf_counter()
            for step, (estimate, found) in enumerate(self.sample(frames, settings, latent, received), 1):
                latent, last = estimate, found
                sampling += time.perf_counter() - start
                seconds = {"sample": sampling / len(frames)}
                if previews and step < settings.num_inference_steps:
                    yield self._decode(frames, latent, seconds, step)
                start = time.perf_counter()
        pictures = self._decode(frames, latent, seconds)
        yield [
            replace(
                picture, final=True, wanted=frame.wanted(), uncertain=sure.uncertain,
                quality_estimate=sure.quality_estimate,
            )
            for picture, frame, sure in zip(pictures, frames, self.confidence(frames, last), strict=True)
        ]  # fmt: skip

    def _decode(
        self, frames: Sequence[ArrivedFrame[SettingsT]], latent: Tensor, seconds: Mapping[str, float], step: int = 0
    ) -> list[Reconstruction]:
        start = time.perf_counter()
        images = self.decode(latent).cpu().numpy()
        if self.label:
            images = np.stack([write_label(image, self.label) for image in images])
        stages = {**seconds, "decode": (time.perf_counter() - start) / len(frames)}
        return [
            Reconstruction(
                image[:, : frame.height_px, : frame.width_px], frame.provenance(), step, False, stages,
                caption=frame.caption,
            )
            for image, frame in zip(images, frames, strict=True)
        ]  # fmt: skip
