"""Client that sends feedback to the transmitter over a channel that may lose it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import grpc

from gocom.common.errors import Busy, GoComError, NotReady
from gocom.common.logs import frame_id, get_logger
from gocom.common.rpc.client_channels import open_channel
from gocom.common.rpc.status_mapping import error_from_rpc
from gocom.common.service_metrics import BYTES
from gocom.common.settings import SecuritySettings
from gocom.common.types import Feedback, FrameHeader, LinkSettings
from gocom.common.wire.feedback import MAX_ATTEMPTS, answer_waits, counted_message, feedback_to_proto
from gocom.v1 import feedback_pb2, feedback_pb2_grpc

log = get_logger("receiver")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
"""Shortest and longest pause, in seconds, between attempts while the transmitter is out of reach."""
LONGEST_SHARE = 1 / 16
"""Share of the patience that the longest pause may take if that is longer than LONGEST_PAUSE_S, so that MAX_ATTEMPTS
attempts suffice for all of a long patience."""


class FeedbackClient:
    """A client of the transmitter's FeedbackService, which asks for further rounds.

    The transmitter cannot answer a message that the channel loses, so a message without an answer is sent again. An
    earlier attempt may still be answered meanwhile. Answers are never lost, since each returns on the connection of its
    call.

    Args:
        address: host:port of the FeedbackService, or of a channel emulator that forwards to it.
        patience_s: seconds to wait for an answer in total. Until then, an unreachable transmitter is tried again.
        try_s: seconds to wait for an answer between the first attempt and the second; 0: there is only one attempt.
            See `gocom.common.wire.feedback.answer_waits`.
        security: TLS and token settings of this end; None: plain text, no token.

    Raises:
        InvalidInput: the security settings are invalid.
    """

    def __init__(self, address: str, patience_s: float, try_s: float, security: SecuritySettings | None = None) -> None:
        self._channel = open_channel(address, security=security, name="feedback_address")
        self._stub: Any = feedback_pb2_grpc.FeedbackServiceStub(self._channel)
        self._patience_s, self._waits = patience_s, answer_waits(try_s, patience_s)

    async def ask(
        self, session_id: str, feedback: Feedback, headers: Sequence[FrameHeader], link: LinkSettings
    ) -> bool:
        """Send feedback, and return whether a further round will follow; False also if no answer arrived in time.

        Args:
            session_id: session of the frame.
            feedback: what to ask for.
            headers: headers of the frame's rounds so far.
            link: packetizer settings of the session.
        """
        request = feedback_to_proto(feedback, headers, link)
        request.session_id = session_id
        exchange = _FeedbackExchange(self._stub, request, self._patience_s)
        try:
            answer = await exchange.run(self._waits)
        finally:
            await exchange.close()
        name = frame_id(session_id, request.frame_index)
        if answer is None:
            log.warning(
                "feedback was not answered", frame_id=name, attempts=request.attempt + 1, bytes=exchange.sent_bytes
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


class _FeedbackExchange:
    """All attempts to send one feedback message.

    Args:
        stub: FeedbackServiceStub.
        request: the message. Its field `attempt` is set to the number of the attempt, from 0 to MAX_ATTEMPTS - 1.
        patience_s: seconds after which the exchange is given up.

    Attributes:
        sent_bytes: total size of all attempts, in bytes.
    """

    def __init__(self, stub: Any, request: feedback_pb2.SendFeedbackRequest, patience_s: float) -> None:
        self.sent_bytes = self._sent = 0
        self._longest_pause_s = max(LONGEST_PAUSE_S, LONGEST_SHARE * patience_s)
        self._stub, self._request = stub, request
        self._name = frame_id(request.session_id, request.frame_index)
        self._deadline = time.monotonic() + patience_s
        self._calls: set[asyncio.Future[feedback_pb2.SendFeedbackResponse | GoComError]] = set()

    async def run(self, waits: Sequence[float]) -> feedback_pb2.SendFeedbackResponse | None:
        """Send the message until it is answered, and return the first answer.

        Args:
            waits: seconds to wait for an answer after each attempt, see `gocom.common.wire.feedback.answer_waits`.

        Returns:
            the answer; None: no answer arrived in time, or the message was refused.
        """
        pause = FIRST_PAUSE_S
        for wait in waits:
            self._send()
            attempt_deadline = min(time.monotonic() + wait, self._deadline)
            while self._calls and (remaining := attempt_deadline - time.monotonic()) > 0:
                done, self._calls = await asyncio.wait(
                    self._calls, timeout=remaining, return_when=asyncio.FIRST_COMPLETED
                )
                results = [call.result() for call in done]
                for answer in results:
                    if isinstance(answer, feedback_pb2.SendFeedbackResponse):
                        return answer
                for error in results:
                    log.warning("feedback failed", frame_id=self._name, error=str(error))
                    if not isinstance(error, NotReady | Busy) or time.monotonic() + pause >= self._deadline:
                        return None
                if not results:
                    continue
                # The transmitter may be restarting. If that also cut the link stream, this task is cancelled.
                await asyncio.sleep(pause)
                pause = min(2 * pause, self._longest_pause_s)
                self._send()
                attempt_deadline = min(time.monotonic() + wait, self._deadline)
        return None

    async def close(self) -> None:
        """Cancel the attempts that were not answered."""
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)

    def _send(self) -> None:
        """Send the message once more, unless MAX_ATTEMPTS are used up."""
        if self._sent == MAX_ATTEMPTS:
            return
        self._request.attempt = self._sent
        self._sent += 1
        request = feedback_pb2.SendFeedbackRequest()
        request.CopyFrom(self._request)  # gRPC serializes it later, when `attempt` may have changed
        size = len(counted_message(request))
        self.sent_bytes += size
        BYTES.labels("receiver").inc(size)
        call = self._stub.SendFeedback(request, timeout=max(0.1, self._deadline - time.monotonic()))
        self._calls.add(asyncio.ensure_future(_response(call)))


async def _response(call: Any) -> feedback_pb2.SendFeedbackResponse | GoComError:
    """Wait for a call to end, and return its response or its error."""
    try:
        response: feedback_pb2.SendFeedbackResponse = await call
    except grpc.aio.AioRpcError as failure:
        return error_from_rpc(failure)
    return response
