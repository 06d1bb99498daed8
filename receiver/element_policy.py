"""Base class of the policies that ask for elements by name, and the feedback that names them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

from gocom.common.goals import Round
from gocom.common.rounds import erased_spans, merge_rounds
from gocom.common.types import Feedback, Ints, Reconstruction, RoundSettings


class ElementPolicy(ABC):
    """A policy that asks for elements until no round is left, none is wanted, or the picture is good enough.

    Args:
        settings: limits on further rounds.
    """

    def __init__(self, settings: RoundSettings) -> None:
        self.settings = settings

    @abstractmethod
    def choose(self, codec: str, picture: Reconstruction) -> Mapping[int, Ints]:
        """Return the elements that a further round should bring to the picture: spans int64 [S, 2] by segment kind."""

    def next(self, history: Sequence[Round]) -> Feedback | None:
        """Return the request for the next round. While there is no picture, it asks for all erased elements."""
        last, settings = history[-1], self.settings
        if last.received.frame.round + 1 >= settings.max_rounds:
            return None
        picture = last.reconstruction
        if picture is None:
            wanted: Mapping[int, Ints] = erased_spans(merge_rounds([round_.received for round_ in history]))
        elif settings.quality_target and (picture.quality_estimate or 0.0) >= settings.quality_target:
            return None
        else:
            wanted = self.choose(last.received.frame.codec, picture)
        feedback = feedback_for(history, wanted, settings.round_budget_bytes)
        return feedback if feedback.wanted else None


def feedback_for(history: Sequence[Round], wanted: Mapping[int, Ints], budget_bytes: int) -> Feedback:
    """Return the feedback that requests elements after the rounds so far.

    Args:
        history: all rounds so far.
        wanted: requested elements, spans int64 [S, 2] by segment kind.
        budget_bytes: bytes that the further round may cost; 0: no limit.
    """
    last = history[-1].received.frame
    named = {kind: spans for kind, spans in wanted.items() if len(spans)}
    return Feedback(last.frame_index, last.round, named, budget_bytes=budget_bytes)
