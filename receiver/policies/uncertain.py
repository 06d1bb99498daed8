"""Policy `uncertain`: ask for the elements of which the decoder is least certain, as many as the budget allows."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from gocom.common.rounds import positions_to_spans
from gocom.common.systems import SYSTEMS
from gocom.common.types import Ints, Reconstruction
from gocom.receiver.element_policy import ElementPolicy
from gocom.receiver.policies import POLICIES

ROUND_BYTES = 40
"""Approximate cost in bytes of the header, the end mark and the packet columns of a further round."""


@POLICIES.register("uncertain")
class UncertainPolicy(ElementPolicy):
    """Asks for the least certain elements, erased or withheld; for the erased ones where the decoder rates none."""

    def choose(self, codec: str, picture: Reconstruction) -> Mapping[int, Ints]:
        """Return the least certain elements that fit in the budget: spans int64 [S, 2] by segment kind."""
        if not picture.uncertain:
            return picture.wanted
        return least_certain(codec, picture, self.settings.round_budget_bytes)


def least_certain(codec: str, picture: Reconstruction, budget_bytes: int) -> dict[int, Ints]:
    """Return the least certain elements that fit in a budget: spans int64 [S, 2] by segment kind.

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
