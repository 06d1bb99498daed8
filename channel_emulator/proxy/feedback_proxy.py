"""FeedbackService between receiver and transmitter: forwards what the channel leaves, and is silent about the rest.

    receiver --SendFeedback--> FeedbackProxy --chain--> --SendFeedback--> transmitter (or another emulator)

A message that is lost gets no answer until the caller's deadline, as a datagram would. One that arrives is forwarded as
the bytes it came in, and its answer goes back as it is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from gocom.channel_emulator.active_profile import ActiveProfile
from gocom.channel_emulator.proxy.feedback_packets import attempt_of
from gocom.channel_emulator.proxy.hops import hop_metadata, hop_of, hop_stream
from gocom.channel_emulator.proxy.round_in_transit import MAX_WORK
from gocom.channel_emulator.statistics import RoundCounts
from gocom.common.errors import Busy, NotReady
from gocom.common.logs import frame_id, get_logger
from gocom.common.rpc.true_status import status_parts
from gocom.common.service_metrics import PACKETS
from gocom.common.wire.messages import check_session_id
from gocom.v1 import feedback_pb2

log = get_logger("channel_emulator")

FEEDBACK_SERVICE = feedback_pb2.DESCRIPTOR.services_by_name["FeedbackService"].full_name
MAX_SILENT = 256
"""Calls without an answer at a time; the messages of more of them are refused instead of lost."""
LONGEST_SILENCE_S = 300.0
"""A call without a deadline, or with a later one, ends so long after its message was lost."""
_RECEIVED, _ERASED, _SENT = (
    PACKETS.labels("channel_emulator_reverse", fate) for fate in ("received", "erased", "sent")
)

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True, slots=True)
class _Message:
    """A request, and the bytes it came in."""

    raw: bytes
    request: feedback_pb2.SendFeedbackRequest


def _read(raw: bytes) -> _Message:
    """Raises DecodeError where they are no SendFeedbackRequest."""
    return _Message(raw, feedback_pb2.SendFeedbackRequest.FromString(raw))


class FeedbackProxy:
    """FeedbackService.SendFeedback, forwarded.

    Args:
        channel: to the transmitter, or the next emulator.
        active_profile: of the way back.
    """

    def __init__(self, channel: grpc.aio.Channel, active_profile: ActiveProfile) -> None:
        self._send: Any = channel.unary_unary(f"/{FEEDBACK_SERVICE}/SendFeedback")
        self._active_profile = active_profile
        self._silent = 0
        self._drained = asyncio.Event()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve FeedbackService there."""
        send: Any = grpc.unary_unary_rpc_method_handler(self.SendFeedback, request_deserializer=_read)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(FEEDBACK_SERVICE, {"SendFeedback": send}),)
        )

    def drain(self) -> None:
        """End the calls that wait for nothing; those whose messages arrived still get their answers."""
        self._drained.set()

    async def SendFeedback(self, message: _Message, context: Context) -> bytes:
        """One message. Raises InvalidInput, TooLarge, Busy, NotReady; else ends with the status of who answers."""
        check_session_id(message.request.session_id)
        hop = hop_of(context)
        if not await self._crosses(message.request, hop):
            await self._say_nothing(context)
        try:
            answer: bytes = await self._send(message.raw, timeout=context.time_remaining(), metadata=hop_metadata(hop))
        except grpc.aio.AioRpcError as error:
            await context.abort(*status_parts(error))
        return answer

    async def _crosses(self, request: feedback_pb2.SendFeedbackRequest, hop: int) -> bool:
        """Whether this attempt arrives."""
        in_force = self._active_profile.in_force
        attempt = attempt_of(in_force.chain, request, hop_stream(hop))
        if attempt.impairer.work(attempt.packets) <= MAX_WORK:
            left = attempt.impairer.apply(attempt.packets)
        else:
            left = await asyncio.to_thread(attempt.impairer.apply, attempt.packets)
        counts, lost = RoundCounts(), int(np.count_nonzero(left.erased))
        counts.add(attempt.packets, left)
        in_force.statistics.add(attempt.info, counts, attempt.impairer.scores(), request.attempt)
        _RECEIVED.inc(counts.packets_in)
        _SENT.inc(counts.packets_out)
        _ERASED.inc(lost)
        log.info(
            "feedback lost" if lost else "feedback forwarded",
            frame_id=frame_id(request.session_id, request.frame_index),
            round=request.round,
            attempt=request.attempt,
            revision=in_force.revision,
            packets_in=counts.packets_in,
            packets_out=counts.packets_out,
        )
        return not lost

    async def _say_nothing(self, context: Context) -> None:
        """Never returns. Raises NotReady when the service stops, Busy where too many calls wait like this."""
        if self._silent >= MAX_SILENT:
            raise Busy(f"channel emulator: the message is lost, and so are {MAX_SILENT} others that wait already")
        left = context.time_remaining()
        # A second beyond the deadline, at which gRPC ends the call: a status from here could come before it.
        seconds = LONGEST_SILENCE_S if left is None else min(left + 1, LONGEST_SILENCE_S)
        self._silent += 1
        try:
            await asyncio.wait_for(self._drained.wait(), seconds)
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, "feedback was lost on the channel")
        finally:
            self._silent -= 1
        raise NotReady("channel emulator: shutting down; the message was lost")
