"""The feedback policy: whether to ask for more, for what, and asking."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import grpc

from common.errors import GoComError, NotReady
from common.logs import frame_id, get_logger
from common.rounds import merge_rounds, missing_spans
from common.rpc.channels import open_channel
from common.rpc.status import error_from_rpc
from common.types import Ints, ReceivedMessage, Reconstruction
from gocom.v1 import feedback_pb2, feedback_pb2_grpc

log = get_logger("receiver")

ATTEMPTS = 2
"""One retry: the call is idempotent."""


def wanted_elements(rounds: Sequence[ReceivedMessage], picture: Reconstruction | None) -> dict[int, Ints]:
    """Spans by segment kind that a further round should bring; empty: none is left to ask for, or is of use.

    Args:
        rounds: all rounds so far.
        picture: what was made of them; None: nothing could be, so everything that is missing is wanted.
    """
    last = rounds[-1].frame
    if last.round + 1 >= last.max_rounds:
        return {}
    if picture is not None:
        return {kind: spans for kind, spans in picture.wanted.items() if len(spans)}
    missing = {kind: missing_spans(segment.received) for kind, segment in merge_rounds(rounds).items()}
    return {kind: spans for kind, spans in missing.items() if len(spans)}


class FeedbackClient:
    """Asks the transmitter for further rounds.

    Args:
        address: host:port of its FeedbackService.
        deadline_s: of one attempt.
    """

    def __init__(self, address: str, deadline_s: float) -> None:
        self._channel = open_channel(address)
        self._stub: Any = feedback_pb2_grpc.FeedbackServiceStub(self._channel)
        self._deadline_s = deadline_s

    async def ask(self, session_id: str, rounds: Sequence[ReceivedMessage], wanted: Mapping[int, Ints]) -> bool:
        """True when a further round will come. Whatever goes wrong is a no: the picture there is has to do."""
        frame = rounds[-1].frame
        request = feedback_pb2.SendFeedbackRequest(
            session_id=session_id,
            frame_index=frame.frame_index,
            round=frame.round,
            budget_bytes=frame.round_budget_bytes,
        )
        for kind, spans in wanted.items():
            request.wanted.add(kind=kind, spans=spans.ravel().tolist())
        name = frame_id(session_id, frame.frame_index)
        for attempt in range(ATTEMPTS):
            try:
                answer = await self._stub.SendFeedback(request, timeout=self._deadline_s)
            except grpc.aio.AioRpcError as failure:
                error: GoComError = error_from_rpc(failure)
                log.warning("feedback failed", frame_id=name, attempt=attempt, error=str(error))
                if not isinstance(error, NotReady):
                    return False
                continue
            log.info("feedback sent", frame_id=name, will_send=answer.will_send, reason=answer.reason)
            return bool(answer.will_send)
        return False

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()
