"""Policy `erased`: ask for the elements that were sent and did not arrive."""

from __future__ import annotations

from collections.abc import Mapping

from gocom.common.types import Ints, Reconstruction
from gocom.receiver.element_policy import ElementPolicy
from gocom.receiver.policies import POLICIES


@POLICIES.register("erased")
class ErasedPolicy(ElementPolicy):
    """Asks for what the decoder wants: the elements that the channel erased."""

    def choose(self, codec: str, picture: Reconstruction) -> Mapping[int, Ints]:
        """Return the elements that the decoder wants: spans int64 [S, 2] by segment kind."""
        return picture.wanted
