"""What a codec must be able to do at both ends. (A fault of the channel: channel_emulator/impairments/__init__.py.)"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Protocol

from gocom.common.csi import Csi
from gocom.common.image_files import ImageArray
from gocom.common.types import Budget, Feedback, Goal, GoMessage, ReceivedMessage, Reconstruction

if TYPE_CHECKING:
    import torch


class EncoderSession(Protocol):
    """One image on its way; keeps what later rounds need."""

    def first(self, csi: Csi, budget: Budget) -> GoMessage:
        """The first round. Raises BudgetTooSmall when the budget is below the codec's floor.

        It may be called again, with another budget, before the round is sent: the last call counts. So may `refine`.

        `csi` is for codecs that adapt to the channel; the bundled ones do not.
        """

    def refine(self, feedback: Feedback) -> GoMessage | None:
        """The next round, or None when there is nothing more to say."""


class SemanticEncoder(Protocol):
    """A codec at the transmitter."""

    def open(self, image: ImageArray, goal: Goal) -> EncoderSession:
        """Take an image, float32 [3, H, W] in [0, 1], and what is wanted of it."""


class GenerativeDecoder(Protocol):
    """A codec at the receiver.

    One whose pictures leave nothing to chance may have an attribute `draws = False`: the receiver then passes None for
    the generator, and needs no torch for it.
    """

    def reconstruct(
        self, rounds: Sequence[ReceivedMessage], *, generator: torch.Generator, previews: bool = False
    ) -> Iterator[Reconstruction]:
        """Pictures from all rounds so far, the last one final. Raises DecodeFailed when none can be made."""
