"""LinkService between two others: forwards everything, and does to packets what the profile says.

Session open, frame headers and frame ends pass as they are. Of a batch, erased packets are left out; a batch that has
none left is not forwarded. One item at a time is in hand: a slow next hop holds back the sender by flow control.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc

from channel_emulator.chain import frame_info
from channel_emulator.impairments import FrameInfo
from channel_emulator.statistics import RoundCounts
from channel_emulator.switchboard import Position, Switchboard
from common.errors import InvalidInput
from common.logs import frame_id, get_logger
from common.metrics import PACKETS, ROUNDS, timed
from common.rpc.call_status import CallStatus
from common.wire import batch_from_proto, batch_to_proto
from gocom.v1 import link_pb2, link_pb2_grpc

log = get_logger("channel_emulator")

_SERVICE = "channel_emulator"

Context = grpc.aio.ServicerContext[Any, Any]


class LinkProxy(link_pb2_grpc.LinkServiceServicer):
    """LinkService.Send, forwarded.

    Args:
        channel: to the next hop.
        switchboard: says which chain a frame that begins goes through.
    """

    def __init__(self, channel: grpc.aio.Channel, switchboard: Switchboard) -> None:
        self._stub: Any = link_pb2_grpc.LinkServiceStub(channel)
        self._switchboard = switchboard

    # The stubs know only handlers that yield; one that writes fits two flows that must not wait for each other.
    async def Send(  # type: ignore[override]
        self, request_iterator: AsyncIterator[link_pb2.SendRequest], context: Context
    ) -> None:
        """One session. Raises InvalidInput; ends with the next hop's status, code and details as they came."""
        call = self._stub.Send(timeout=context.time_remaining())
        status = CallStatus(call)
        forward = asyncio.create_task(self._forward(request_iterator, call))
        back = asyncio.create_task(_copy_back(call, context))
        try:
            await asyncio.wait({forward, back}, return_when=asyncio.FIRST_COMPLETED)
            if forward.done():
                forward.result()
            await back
        except grpc.aio.AioRpcError as error:
            await context.abort(*status.of(error))
        finally:
            # Also where the sender went away: this coroutine is cancelled then, and the next hop must hear of it.
            # That ends the way back as well. It is not cancelled itself: gRPC sends no status after a write cut short.
            call.cancel()
            forward.cancel()
            await asyncio.gather(forward, back, return_exceptions=True)

    async def _forward(self, requests: AsyncIterator[link_pb2.SendRequest], call: Any) -> None:
        session = _Session(self._switchboard)
        try:
            async for request in requests:
                passed = await session.take(request)
                if passed is not None:
                    await call.write(passed)
            session.close()
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            # The next hop ended the call; its status is read, and told, on the way back.
            return


async def _copy_back(call: Any, context: Context) -> None:
    async for response in call:
        await context.write(response)


@dataclass(slots=True)
class _Round:
    """A round of a frame that has begun."""

    info: FrameInfo
    position: Position
    counts: RoundCounts
    codec: str


class _Session:
    """Checks the order of a session's items, and impairs its packets."""

    def __init__(self, switchboard: Switchboard) -> None:
        self._switchboard = switchboard
        self._session_id: str | None = None
        self._round: _Round | None = None

    async def take(self, request: link_pb2.SendRequest) -> link_pb2.SendRequest | None:
        """What to forward for an item; None: nothing. Raises InvalidInput naming an item that is out of order."""
        item = request.WhichOneof("item")
        if item is None:
            raise InvalidInput("item: not set; there are open, header, batch, end")
        if (item == "open") != (self._session_id is None):
            raise InvalidInput("open: the session is open already" if item == "open" else f"{item}: comes before open")
        if item == "open":
            self._session_id = request.open.session_id
            return request
        if item == "header":
            self._begin(request.header)
            return request
        if self._round is None:
            raise InvalidInput(f"{item}: comes before the frame's header")
        if item == "end":
            self._end(self._round, request.end)
            return request
        return await _impair(self._round, request.batch)

    def close(self) -> None:
        """The sender has no more to say. Raises InvalidInput when it stopped half-way."""
        if self._session_id is None:
            raise InvalidInput("open: missing; the stream ended before it")
        if self._round is not None:
            raise InvalidInput(f"end: missing; the stream ended within frame {self._round.info.frame_index}")

    def _begin(self, header: link_pb2.FrameHeader) -> None:
        if self._round is not None:
            raise InvalidInput(f"header: comes before the end of frame {self._round.info.frame_index}")
        position = self._switchboard.position
        # The case's name, not an extension's: labels of metrics must be few.
        codec = header.WhichOneof("codec") or ""
        self._round = _Round(frame_info(header), position, position.statistics.new_round(), codec)

    def _end(self, current: _Round, end: link_pb2.FrameEnd) -> None:
        info, counts = current.info, current.counts
        current.position.statistics.add(info, counts)
        ROUNDS.labels(_SERVICE, current.codec).inc()
        log.info(
            "round forwarded",
            frame_id=frame_id(self._session_id or "", info.frame_index),
            round=info.round,
            revision=current.position.revision,
            packets_sent=end.packet_count,
            packets_in=counts.packets_in,
            packets_out=counts.packets_out,
        )
        self._round = None


async def _impair(current: _Round, message: link_pb2.PacketBatch) -> link_pb2.SendRequest | None:
    """A batch after the chain; None when nothing is left of it."""
    arrived = batch_from_proto(message)
    with timed(_SERVICE, "impair"):
        # In a thread: a large batch under many flips takes long enough to starve other sessions.
        left, counts = await asyncio.to_thread(current.position.chain.apply, arrived, current.info)
    current.counts.add(arrived, left, counts)
    gone = int(left.erased.sum())
    PACKETS.labels(_SERVICE, "received").inc(len(arrived))
    PACKETS.labels(_SERVICE, "erased").inc(gone)
    PACKETS.labels(_SERVICE, "sent").inc(len(arrived) - gone)
    return link_pb2.SendRequest(batch=batch_to_proto(left)) if gone < len(left) else None
