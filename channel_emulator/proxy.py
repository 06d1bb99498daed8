"""LinkService between two others: forwards everything, and does to packets what the profile says.

Session open, frame headers and frame ends pass as they are. Of a batch, erased packets are left out; a batch that has
none left is not forwarded. One item at a time is in hand: a slow next hop holds back the sender by flow control.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from channel_emulator.chain import Passage, frame_info
from channel_emulator.impairments import FrameInfo
from channel_emulator.statistics import RoundCounts
from channel_emulator.switchboard import Position, Switchboard
from common.errors import InvalidInput, NotReady
from common.logs import frame_id, get_logger
from common.metrics import PACKETS, ROUNDS, SECONDS
from common.rpc.call_status import CallStatus
from common.wire import batch_from_proto, batch_into_proto
from gocom.v1 import link_pb2, link_pb2_grpc

log = get_logger("channel_emulator")

MAX_WORK = 8192
"""Random numbers drawn on the event loop for one batch, some milliseconds; more of them are worth a thread."""
_BYTES_A_NUMBER = 128
"""Payload bytes that are copied in the time of a random number, or less."""

_SERVICE = "channel_emulator"
_RECEIVED, _ERASED, _SENT = (PACKETS.labels(_SERVICE, fate) for fate in ("received", "erased", "sent"))
_SECONDS = SECONDS.labels(_SERVICE, "impair")

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
        self._drained = asyncio.Event()

    def drain(self) -> None:
        """Forward the rounds that have begun, and no other; what comes back for them still passes."""
        self._drained.set()

    # The stubs know only handlers that yield; one that writes fits two flows that must not wait for each other.
    async def Send(  # type: ignore[override]
        self, request_iterator: AsyncIterator[link_pb2.SendRequest], context: Context
    ) -> None:
        """One session. Raises InvalidInput, NotReady; else ends with the next hop's status, code and details."""
        call = self._stub.Send(timeout=context.time_remaining())
        status, session = CallStatus(call), _Session(self._switchboard)
        forward = asyncio.create_task(_forward(session, request_iterator, call))
        back = asyncio.create_task(_copy_back(call, context))
        drained = asyncio.create_task(self._drained.wait())
        try:
            await asyncio.wait({forward, back, drained}, return_when=asyncio.FIRST_COMPLETED)
            if drained.done() and not back.done():
                await _stop_reading(session, forward, call)
            elif forward.done():
                forward.result()
            await back
            if drained.done():
                raise NotReady("channel emulator: shutting down; frames without an outcome were not forwarded")
        except grpc.aio.AioRpcError as error:
            await context.abort(*status.of(error))
        finally:
            # Also where the sender went away: this coroutine is cancelled then, and the next hop must hear of it.
            # That ends the way back as well. It is not cancelled itself: gRPC sends no status after a write cut short.
            call.cancel()
            forward.cancel()
            drained.cancel()
            await asyncio.gather(forward, back, drained, return_exceptions=True)


async def _forward(session: _Session, requests: AsyncIterator[link_pb2.SendRequest], call: Any) -> None:
    try:
        async for request in requests:
            session.between.clear()
            passed = await session.take(request)
            if passed is not None:
                await call.write(passed)
            if not session.in_round:
                session.between.set()
        session.close()
        await call.done_writing()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        # The next hop ended the call; its status is read, and told, on the way back.
        return


async def _stop_reading(session: _Session, forward: asyncio.Task[None], call: Any) -> None:
    """End the way forth after the round that passes, if one does."""
    between = asyncio.create_task(session.between.wait())
    await asyncio.wait({forward, between}, return_when=asyncio.FIRST_COMPLETED)
    between.cancel()
    if forward.done():
        forward.result()
        return
    forward.cancel()
    await asyncio.gather(forward, return_exceptions=True)
    await call.done_writing()


async def _copy_back(call: Any, context: Context) -> None:
    async for response in call:
        await context.write(response)


@dataclass(slots=True)
class _Round:
    """A round of a frame that has begun."""

    info: FrameInfo
    position: Position
    passage: Passage
    counts: RoundCounts
    codec: str


class _Session:
    """Checks the order of a session's items, and impairs its packets.

    Attributes:
        between: set while the next hop has all of what came, and no round is open.
    """

    def __init__(self, switchboard: Switchboard) -> None:
        self._switchboard = switchboard
        self._session_id: str | None = None
        self._round: _Round | None = None
        self.between = asyncio.Event()
        self.between.set()

    @property
    def in_round(self) -> bool:
        """A round has begun and not ended."""
        return self._round is not None

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
        return await _impair(self._round, request)

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
        info = frame_info(header)
        passage, counts = position.chain.passage(info), position.statistics.new_round()
        self._round = _Round(info, position, passage, counts, codec)

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


async def _impair(current: _Round, request: link_pb2.SendRequest) -> link_pb2.SendRequest | None:
    """A batch after the chain; None when nothing is left of it."""
    arrived = batch_from_proto(request.batch)
    began = time.perf_counter()
    if current.passage.work(arrived) + len(arrived.payload) / _BYTES_A_NUMBER <= MAX_WORK:
        left, counts = current.passage.apply(arrived)
    else:
        # In a thread: a large batch under many flips takes long enough to starve other sessions.
        left, counts = await asyncio.to_thread(current.passage.apply, arrived)
    _SECONDS.observe(time.perf_counter() - began)
    current.counts.add(arrived, left, counts)
    gone = int(np.count_nonzero(left.erased))
    _RECEIVED.inc(len(arrived))
    _ERASED.inc(gone)
    _SENT.inc(len(arrived) - gone)
    if gone == len(left):
        return None
    batch_into_proto(request.batch, arrived, left)
    return request
