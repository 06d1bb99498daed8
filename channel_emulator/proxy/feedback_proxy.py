"""FeedbackService between receiver and transmitter: messages that the channel loses get no answer.

    receiver --SendFeedback--> FeedbackProxy --chain--> --SendFeedback--> transmitter (or another emulator)

The call for a lost message ends at the caller's deadline, as with a lost datagram. A message that arrives is forwarded
as the received bytes, and its answer is returned unchanged.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from gocom.channel_emulator.active_profile import ActiveProfile
from gocom.channel_emulator.proxy.feedback_as_packets import attempt_of
from gocom.channel_emulator.proxy.hops import hop_metadata, hop_of, hop_stream
from gocom.channel_emulator.proxy.round_in_transit import MAX_WORK
from gocom.channel_emulator.statistics import RoundCounts
from gocom.common.errors import Busy, NotReady
from gocom.common.logs import frame_id, get_logger
from gocom.common.rpc.call_status import status_parts
from gocom.common.service_metrics import PACKETS
from gocom.common.wire.frame_messages import check_session_id
from gocom.v1 import feedback_pb2

log = get_logger("channel_emulator")

FEEDBACK_SERVICE = feedback_pb2.DESCRIPTOR.services_by_name["FeedbackService"].full_name
MAX_UNANSWERED_CALLS = 256
"""Largest number of calls for lost messages that wait at a time; further lost messages are refused."""
MAX_SILENCE_S = 300.0
"""Time in seconds after which the call for a lost message ends if its deadline is later, or it has none."""
_RECEIVED, _ERASED, _SENT = (
    PACKETS.labels("channel_emulator_reverse", fate) for fate in ("received", "erased", "sent")
)

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class _Message:
    """A request and its serialized bytes."""

    raw: bytes
    request: feedback_pb2.SendFeedbackRequest


def _read(raw: bytes) -> _Message:
    """Parse a request. Raise DecodeError unless it is a SendFeedbackRequest."""
    return _Message(raw, feedback_pb2.SendFeedbackRequest.FromString(raw))


class FeedbackProxy:
    """The forwarding implementation of FeedbackService.SendFeedback.

    Args:
        channel: connection to the transmitter, or to the next emulator.
        active_profile: the profile of the reverse direction.
    """

    def __init__(self, channel: grpc.aio.Channel, active_profile: ActiveProfile) -> None:
        self._send: Any = channel.unary_unary(f"/{FEEDBACK_SERVICE}/SendFeedback")
        self._active_profile = active_profile
        self._unanswered = 0
        self._drained = asyncio.Event()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register FeedbackService with a server."""
        send: Any = grpc.unary_unary_rpc_method_handler(self.SendFeedback, request_deserializer=_read)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(FEEDBACK_SERVICE, {"SendFeedback": send}),)
        )

    def drain(self) -> None:
        """End the calls for lost messages; calls for forwarded messages still get their answers."""
        self._drained.set()

    async def SendFeedback(self, message: _Message, context: Context) -> bytes:
        """Forward one message and return the answer, or end with the status of the next hop.

        Raises:
            InvalidInput: the session id, the hop count or the attempt number is not valid.
            TooLarge: the message is too long.
            Busy: the message is lost, and too many calls for lost messages wait already.
            NotReady: the message is lost, and the service is shutting down.
        """
        check_session_id(message.request.session_id)
        hop = hop_of(context)
        if not await self._arrives(message.request, hop):
            await self._wait_for_deadline(context)
        try:
            answer: bytes = await self._send(message.raw, timeout=context.time_remaining(), metadata=hop_metadata(hop))
        except grpc.aio.AioRpcError as error:
            await context.abort(*status_parts(error))
        return answer

    async def _arrives(self, request: feedback_pb2.SendFeedbackRequest, hop: int) -> bool:
        """Draw whether this attempt arrives, and count it."""
        profile_revision = self._active_profile.current
        attempt = attempt_of(profile_revision.chain, request, hop_stream(hop))
        if attempt.impairer.work(attempt.packets) <= MAX_WORK:
            impaired = attempt.impairer.apply(attempt.packets)
        else:
            impaired = await asyncio.to_thread(attempt.impairer.apply, attempt.packets)
        counts, lost = RoundCounts(), int(np.count_nonzero(impaired.erased))
        counts.add(attempt.packets, impaired)
        profile_revision.statistics.add(attempt.info, counts, attempt.impairer.event_counts(), request.attempt)
        _RECEIVED.inc(counts.packets_in)
        _SENT.inc(counts.packets_out)
        _ERASED.inc(lost)
        log.info(
            "feedback lost" if lost else "feedback forwarded",
            frame_id=frame_id(request.session_id, request.frame_index),
            round=request.round,
            attempt=request.attempt,
            revision=profile_revision.number,
            packets_in=counts.packets_in,
            packets_out=counts.packets_out,
        )
        return not lost

    async def _wait_for_deadline(self, context: Context) -> None:
        """Wait until the deadline of a call for a lost message. Never returns.

        Raises:
            Busy: MAX_UNANSWERED_CALLS calls wait already.
            NotReady: the service is shutting down.
        """
        if self._unanswered >= MAX_UNANSWERED_CALLS:
            raise Busy(
                f"channel emulator: the message is lost, and so are {MAX_UNANSWERED_CALLS} others that wait already"
            )
        remaining_s = context.time_remaining()
        # gRPC ends the call at its deadline; waiting a second longer keeps this service from sending a status first.
        wait_s = MAX_SILENCE_S if remaining_s is None else min(remaining_s + 1, MAX_SILENCE_S)
        self._unanswered += 1
        try:
            await asyncio.wait_for(self._drained.wait(), wait_s)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "feedback was lost on the channel")
        finally:
            self._unanswered -= 1
        raise NotReady("channel emulator: shutting down; the message was lost")
