"""The feedback policy: whether to ask for more, for what, and asking, over a channel that may lose it."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import grpc
import numpy as np

from gocom.common.csi import LinkReport
from gocom.common.errors import Busy, GoComError, NotReady
from gocom.common.logs import frame_id, get_logger
from gocom.common.rounds import merge_rounds, missing_spans, spans_of
from gocom.common.rpc.client_channels import open_channel
from gocom.common.rpc.status_mapping import error_from_rpc
from gocom.common.service_metrics import BYTES
from gocom.common.settings import SecuritySettings
from gocom.common.systems import SYSTEMS
from gocom.common.types import Feedback, FeedbackPolicy, Ints, LinkSettings, ReceivedMessage, Reconstruction
from gocom.common.wire.feedback import MAX_ATTEMPTS, answer_waits, bare_message, feedback_to_proto
from gocom.v1 import feedback_pb2, feedback_pb2_grpc

log = get_logger("receiver")

ROUND_BYTES = 40
"""About what the header, the end and the packet columns of a further round cost."""
FIRST_PAUSE_S, LONGEST_PAUSE_S, LONGEST_SHARE = 0.1, 1.0, 1 / 16
"""Between attempts while the transmitter is out of reach: the call is idempotent. The longest is that share of a long
patience, so that MAX_ATTEMPTS last."""


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

    Feedback that a channel loses is never answered. So it is sent again while nothing is heard, and what was sent
    before may still be answered meanwhile. An answer is never lost: it goes back on the connection of its call.

    Args:
        address: host:port of its FeedbackService, or of a channel emulator before it.
        patience_s: how long an answer is waited for in all, and a transmitter that is out of reach asked again.
        try_s: how long the first attempt is waited for before there is a second; 0: there is none. See
            `gocom.common.wire.feedback.answer_waits`.
        security: of this end; None: plain text, and no token.

    Raises:
        InvalidInput: of the security settings.
    """

    def __init__(self, address: str, patience_s: float, try_s: float, security: SecuritySettings | None = None) -> None:
        self._channel = open_channel(address, security=security)
        self._stub: Any = feedback_pb2_grpc.FeedbackServiceStub(self._channel)
        self._patience_s, self._waits = patience_s, answer_waits(try_s, patience_s)

    async def ask(
        self, session_id: str, rounds: Sequence[ReceivedMessage], wanted: Mapping[int, Ints], link: LinkSettings,
        report: LinkReport | None = None,
    ) -> bool:  # fmt: skip
        """True when a further round will come. Whatever goes wrong is a no: the picture there is has to do."""
        request = feedback_to_proto(feedback_for(rounds, wanted, report), rounds[0].frame, link)
        request.session_id = session_id
        asking = _Asking(self._stub, request, self._patience_s)
        try:
            answer = await asking.run(self._waits)
        finally:
            await asking.close()
        name = frame_id(session_id, request.frame_index)
        if answer is None:
            log.warning(
                "feedback was not answered", frame_id=name, attempts=request.attempt + 1, bytes=asking.sent_bytes
            )
            return False
        log.info(
            "feedback sent", frame_id=name, attempts=request.attempt + 1, will_send=answer.will_send,
            reason=answer.reason,
        )  # fmt: skip
        return bool(answer.will_send)

    async def close(self) -> None:
        """Close the channel."""
        await self._channel.close()


class _Asking:
    """One feedback message, sent until it is answered.

    Args:
        stub: FeedbackServiceStub.
        request: the message; its `attempt` counts up with each time it is sent, MAX_ATTEMPTS times at most.
        patience_s: all the time there is.

    Attributes:
        sent_bytes: of all attempts.
    """

    def __init__(self, stub: Any, request: feedback_pb2.SendFeedbackRequest, patience_s: float) -> None:
        self.sent_bytes = self._sent = 0
        self._longest_pause_s = max(LONGEST_PAUSE_S, LONGEST_SHARE * patience_s)
        self._stub, self._request = stub, request
        self._name = frame_id(request.session_id, request.frame_index)
        self._until = time.monotonic() + patience_s
        self._calls: set[asyncio.Future[feedback_pb2.SendFeedbackResponse | GoComError]] = set()

    async def run(self, waits: Sequence[float]) -> feedback_pb2.SendFeedbackResponse | None:
        """The first answer to any attempt; None: there was none in time, or the message was refused."""
        pause = FIRST_PAUSE_S
        for wait in waits:
            self._send()
            silent_at = min(time.monotonic() + wait, self._until)
            while self._calls and (left := silent_at - time.monotonic()) > 0:
                ended, self._calls = await asyncio.wait(self._calls, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                heard = [call.result() for call in ended]
                for answer in heard:
                    if isinstance(answer, feedback_pb2.SendFeedbackResponse):
                        return answer
                for error in heard:
                    log.warning("feedback failed", frame_id=self._name, error=str(error))
                    if not isinstance(error, NotReady | Busy) or time.monotonic() + pause >= self._until:
                        return None
                if not heard:
                    continue
                # The transmitter may be on its way back; and if the link fell with it, this wait ends with the link.
                await asyncio.sleep(pause)
                pause = min(2 * pause, self._longest_pause_s)
                self._send()
                silent_at = min(time.monotonic() + wait, self._until)
        return None

    async def close(self) -> None:
        """What is not answered yet need not be."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def _send(self) -> None:
        """One attempt more, if there may be one."""
        if self._sent == MAX_ATTEMPTS:
            return
        self._request.attempt = self._sent
        self._sent += 1
        request = feedback_pb2.SendFeedbackRequest()
        request.CopyFrom(self._request)  # it is read when the call begins, which is later
        size = len(bare_message(request))
        self.sent_bytes += size
        BYTES.labels("receiver").inc(size)
        call = self._stub.SendFeedback(request, timeout=max(0.1, self._until - time.monotonic()))
        self._calls.add(asyncio.ensure_future(_response(call)))


async def _response(call: Any) -> feedback_pb2.SendFeedbackResponse | GoComError:
    try:
        response: feedback_pb2.SendFeedbackResponse = await call
    except grpc.aio.AioRpcError as failure:
        return error_from_rpc(failure)
    return response
