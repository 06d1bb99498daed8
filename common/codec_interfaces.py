"""Protocols that the two ends of a codec implement.

The base class of channel faults is in channel_emulator/fault_bases/fault.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from gocom.common.csi import Csi
from gocom.common.image_files import ImageArray
from gocom.common.types import Budget, Feedback, Goal, GoMessage, ReceivedMessage, Reconstruction

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True, eq=False)
class Analysis:
    """An image, and in subclasses what an encoder knows about it whatever the goal: latents, tokens, an attention map.

    What only some goals need may be a function that computes it when it is first called.

    Attributes:
        image: float32 [3, H, W] in [0, 1].
    """

    image: ImageArray

    @property
    def width_px(self) -> int:
        """Width of the image."""
        return self.image.shape[2]

    @property
    def height_px(self) -> int:
        """Height of the image."""
        return self.image.shape[1]


AnalysisT = TypeVar("AnalysisT", bound=Analysis)
"""A codec's own type of Analysis. Code that is for every codec writes `SemanticEncoder[Any]`."""


class EncoderSession(Protocol):
    """The encoding of one image, with the state that later rounds need."""

    def first(self, csi: Csi, budget: Budget) -> GoMessage:
        """Return the message of the first round.

        It may be called again with another budget before the round is sent; then the last call is the one that counts.
        The same holds for `refine`.

        Args:
            csi: channel state, for codecs that adapt to it.
            budget: bytes that the round may cost.

        Raises:
            BudgetTooSmall: the budget is below the codec's floor.
        """

    def refine(self, feedback: Feedback, csi: Csi, budget: Budget) -> GoMessage | None:
        """Return the message of the next round, which answers feedback; None if there is nothing to send.

        Args:
            feedback: the receiver's request.
            csi: channel state, for codecs that adapt to it.
            budget: bytes that the round may cost, by the receiver's limit and the sender's.
        """


class SemanticEncoder(Protocol[AnalysisT]):
    """The transmitter's end of a codec.

    An encoder whose messages follow from the channel state has an attribute `adapts_to_channel = True`. Then the
    transmitter asks for the state of the channel before each round, instead of passing one that may be a while old.
    """

    def analyse(self, image: ImageArray) -> AnalysisT:
        """Return what the encoding of an image, float32 [3, H, W] in [0, 1], needs whatever the goal.

        It may be opened any number of times, so whoever encodes an image with several options analyses it once.
        """

    def open(self, analysis: AnalysisT, goal: Goal) -> EncoderSession:
        """Start the encoding of an image, with the options and limits of `goal`."""


class GenerativeDecoder(Protocol):
    """The receiver's end of a codec.

    A deterministic decoder may have an attribute `draws = False`. Then the receiver passes None as the generator, and
    does not need torch for this codec.
    """

    def reconstruct(
        self, rounds: Sequence[ReceivedMessage], *, generator: torch.Generator, previews: bool = False
    ) -> Iterator[Reconstruction]:
        """Yield pictures that are made from all rounds so far; the last one is final.

        Args:
            rounds: the received rounds of one frame, in order.
            generator: source of randomness, see `gocom.common.pipeline.sampler_generator`.
            previews: also yield pictures of intermediate sampler steps.

        Raises:
            DecodeFailed: no picture can be made.
        """
