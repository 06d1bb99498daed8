"""Protocols that the two ends of a codec implement.

The base class of channel faults is in channel_emulator/fault_bases/fault.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from gocom.common.csi import Csi
from gocom.common.image_files import ImageArray
from gocom.common.types import Budget, Feedback, Goal, GoMessage, ReceivedMessage, Reconstruction

if TYPE_CHECKING:
    import torch


class EncoderSession(Protocol):
    """The encoding of one image, with the state that later rounds need."""

    def first(self, csi: Csi, budget: Budget) -> GoMessage:
        """Return the message of the first round.

        It may be called again with another budget before the round is sent; then the last call is the one that counts.
        The same holds for `refine`.

        Args:
            csi: channel state, for codecs that adapt to it. The bundled codecs do not.
            budget: bytes that the round may cost.

        Raises:
            BudgetTooSmall: the budget is below the codec's floor.
        """

    def refine(self, feedback: Feedback) -> GoMessage | None:
        """Return the message of the next round, which answers feedback; None if there is nothing to send."""


class SemanticEncoder(Protocol):
    """The transmitter's end of a codec."""

    def open(self, image: ImageArray, goal: Goal) -> EncoderSession:
        """Start the encoding of an image, float32 [3, H, W] in [0, 1], with the options and limits of `goal`."""


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
