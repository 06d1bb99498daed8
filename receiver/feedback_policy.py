"""The feedback policy: whether to ask for a further round of a frame, and for which elements."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from gocom.common.csi import LinkReport
from gocom.common.rounds import erased_spans, merge_rounds, positions_to_spans
from gocom.common.systems import SYSTEMS
from gocom.common.types import Feedback, FeedbackPolicy, Ints, ReceivedMessage, Reconstruction

ROUND_BYTES = 40
"""Approximate cost in bytes of the header, the end mark and the packet columns of a further round."""


def wanted_elements(rounds: Sequence[ReceivedMessage], picture: Reconstruction | None) -> dict[int, Ints]:
    """Return the elements that a further round should bring: spans int64 [S, 2] by segment kind.

    The dict is empty where no further round is allowed, or the picture is good enough.

    Args:
        rounds: all rounds so far.
        picture: the decoder's picture of these rounds; None: there is no picture, and all erased elements are wanted.
    """
    last, settings = rounds[-1].frame, rounds[0].frame.rounds
    if last.round + 1 >= settings.max_rounds:
        return {}
    if picture is None:
        return erased_spans(merge_rounds(rounds))
    if settings.quality_target and (picture.quality_estimate or 0.0) >= settings.quality_target:
        return {}
    wanted = dict(picture.wanted)
    if settings.feedback_policy is FeedbackPolicy.UNCERTAIN and picture.uncertain:
        wanted = least_certain(last.codec, picture, settings.round_budget_bytes)
    return {kind: spans for kind, spans in wanted.items() if len(spans)}


def least_certain(codec: str, picture: Reconstruction, budget_bytes: int) -> dict[int, Ints]:
    """Return what policy `uncertain` asks for: spans by segment kind.

    Erased elements of segments whose elements the decoder cannot guess come first. Then follow the missing elements of
    whose guess the decoder is least certain, as many as fit in the budget of the round. Their cost is estimated as
    fixed-length codes, an eighth more for packet headers, and ROUND_BYTES. The transmitter counts exactly, and leaves
    out elements that do not fit.

    Args:
        codec: name of the codec.
        picture: the decoder's picture, with its `wanted` and `uncertain` elements.
        budget_bytes: bytes that the further round may cost.
    """
    segments = SYSTEMS.get(codec).segments

    def element_bytes(kind: int) -> float:
        """Return the estimated cost of one element, in bytes."""
        return math.ceil(math.log2(segments[kind].alphabet_size)) / 8 * 1.125

    wanted = {kind: spans for kind, spans in picture.wanted.items() if kind not in picture.uncertain}
    # The factor 2 allows for repair packets, which are likely for elements that cannot be guessed.
    spent = sum(2 * int(s[:, 1].sum()) * element_bytes(kind) for kind, s in wanted.items())
    remaining = budget_bytes - ROUND_BYTES - spent
    for kind, positions in picture.uncertain.items():
        count = min(len(positions), max(0, int(remaining / element_bytes(kind))))
        wanted[kind] = positions_to_spans(np.sort(positions[:count]))
        remaining -= count * element_bytes(kind)
    return wanted


def feedback_for(
    rounds: Sequence[ReceivedMessage], wanted: Mapping[int, Ints], report: LinkReport | None = None
) -> Feedback:
    """Return the feedback message that requests elements after the rounds so far.

    Args:
        rounds: all rounds so far.
        wanted: requested elements, spans int64 [S, 2] by segment kind.
        report: the receiver's estimate of the link, sent in the same message; None: it has none.
    """
    first, last = rounds[0].frame, rounds[-1].frame
    named = {kind: spans for kind, spans in wanted.items() if len(spans)}
    return Feedback(last.frame_index, last.round, named, budget_bytes=first.rounds.round_budget_bytes, link=report)
