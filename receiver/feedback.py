"""The feedback policy: whether to ask for more, for what, and asking."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from common.errors import GoComError, NotReady
from common.feedback import feedback_to_proto
from common.logs import frame_id, get_logger
from common.rounds import merge_rounds, missing_spans, spans_of
from common.rpc.channels import open_channel
from common.rpc.status import error_from_rpc
from common.settings import SecuritySettings
from common.systems import SYSTEMS
from common.types import Feedback, FeedbackPolicy, Ints, LinkReport, LinkSettings, ReceivedMessage, Reconstruction
from gocom.v1 import feedback_pb2_grpc

log = get_logger("receiver")

ROUND_BYTES = 40
"""About what the header, the end and the packet columns of a further round cost."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
"""Between attempts: the call is idempotent."""


def wanted_elements(rounds: Sequence[ReceivedMessage], picture: Reconstruction | None) -> dict[int, Ints]:
    """Spans by segment kind that a further round should bring; empty: none is left to ask for, or is of use.

    Args:
        rounds: all rounds so far.
        picture: what was made of them; None: nothing could be, so everything that is missing is wanted.
    """
    last, settings = rounds[-1].frame, rounds[0].frame.rounds
    if last.round + 1 >= settings.max_rounds:
        return {}
    if picture is None:
        erased = {kind: missing_spans(~segment.erased) for kind, segment in merge_rounds(rounds).items()}
        return {kind: spans for kind, spans in erased.items() if len(spans)}
    if settings.quality_target and (picture.quality_estimate or 0.0) >= settings.quality_target:
        return {}
    wanted = dict(picture.wanted)
    if settings.feedback_policy is FeedbackPolicy.UNCERTAIN and picture.uncertain:
        wanted = least_certain(last.codec, picture, settings.round_budget_bytes)
    return {kind: spans for kind, spans in wanted.items() if len(spans)}


def least_certain(codec: str, picture: Reconstruction, budget_bytes: int) -> dict[int, Ints]:
    """Spans by segment kind: what is erased of segments that cannot be guessed, then the least certain guesses.

    As many as the answer is likely to hold within its budget: fixed-length bits, an eighth on top for packet headers,
    ROUND_BYTES for the rest. The transmitter knows better, and leaves out what does not fit.
    """
    segments = SYSTEMS.get(codec).segments

    def element_bytes(kind: int) -> float:
        return math.ceil(math.log2(segments[kind].alphabet_size)) / 8 * 1.125

    wanted = {kind: spans for kind, spans in picture.wanted.items() if kind not in picture.uncertain}
    # Twice: what cannot be guessed is likely to be sent with repair.
    spent = sum(2 * int(s[:, 1].sum()) * element_bytes(kind) for kind, s in wanted.items())
    left = budget_bytes - ROUND_BYTES - spent
    for kind, positions in picture.uncertain.items():
        count = min(len(positions), max(0, int(left / element_bytes(kind))))
        wanted[kind] = spans_of(np.sort(positions[:count]))
        left -= count * element_bytes(kind)
    return wanted


def feedback_for(
    rounds: Sequence[ReceivedMessage], wanted: Mapping[int, Ints], report: LinkReport | None = None
) -> Feedback:
    """What is said to the transmitter after these rounds; `report`: what is made of the link."""
    first, last = rounds[0].frame, rounds[-1].frame
    counts = {segment.kind: segment.element_count for segment in first.segments}
    # Feedback names elements of the first round; what only a later one had cannot be named.
    known = {
        kind: spans
        for kind, spans in wanted.items()
        if kind in counts and len(spans) and int(spans[-1].sum()) <= counts[kind]
    }
    return Feedback(last.frame_index, last.round, known, budget_bytes=first.rounds.round_budget_bytes, link=report)


class FeedbackClient:
    """Asks the transmitter for further rounds.

    Args:
        address: host:port of its FeedbackService.
        patience_s: how long a transmitter that is out of reach is asked again.
        security: of this end; None: plain text, and no token.

    Raises:
        InvalidInput: of the security settings.
    """

    def __init__(self, address: str, patience_s: float, security: SecuritySettings | None = None) -> None:
        self._channel = open_channel(address, security=security)
        self._stub: Any = feedback_pb2_grpc.FeedbackServiceStub(self._channel)
        self._patience_s = patience_s

    async def ask(
        self, session_id: str, rounds: Sequence[ReceivedMessage], wanted: Mapping[int, Ints], link: LinkSettings,
        report: LinkReport | None = None,
    ) -> bool:  # fmt: skip
        """True when a further round will come. Whatever goes wrong is a no: the picture there is has to do."""
        frame = rounds[-1].frame
        request = feedback_to_proto(feedback_for(rounds, wanted, report), rounds[0].frame, link)
        request.session_id = session_id
        name = frame_id(session_id, frame.frame_index)
        pause, until = FIRST_PAUSE_S, time.monotonic() + self._patience_s
        while True:
            try:
                answer = await self._stub.SendFeedback(request, timeout=max(0.1, until - time.monotonic()))
                break
            except grpc.aio.AioRpcError as failure:
                error: GoComError = error_from_rpc(failure)
                log.warning("feedback failed", frame_id=name, error=str(error))
                if not isinstance(error, NotReady) or time.monotonic() + pause >= until:
                    return False
            # The transmitter may be on its way back; and if the link fell with it, this wait ends with the link.
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
        log.info("feedback sent", frame_id=name, will_send=answer.will_send, reason=answer.reason)
        return bool(answer.will_send)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()
