"""LinkService between two others: forwards everything, and does to packets what the profile says.

Session open, frame headers and frame ends pass as they are. Of a batch, erased packets are left out; a batch that has
none left is not forwarded. Two items at a time are in hand: a slow next hop holds back the sender by flow control.
From the first round on whose chain is timed, everything of a session goes through a DelayLine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from gocom.channel_emulator.active_profile import ActiveProfile
from gocom.channel_emulator.chain import frame_info
from gocom.channel_emulator.fault_bases.timed_fault import TimedBatch
from gocom.channel_emulator.proxy.delay_line import LINK_ENDED, DelayLine
from gocom.channel_emulator.proxy.hops import hop_metadata, hop_of, hop_stream
from gocom.channel_emulator.proxy.round_in_transit import RoundInTransit
from gocom.channel_emulator.proxy.stream_items import WireItem, read_item
from gocom.channel_emulator.statistics import RoundCounts
from gocom.common.errors import InvalidInput, NotReady
from gocom.common.logs import frame_id, get_logger
from gocom.common.packetizer import MAX_PACKETS
from gocom.common.rpc.true_status import CallStatus
from gocom.common.service_metrics import PACKETS, ROUNDS
from gocom.v1 import link_pb2

log = get_logger("channel_emulator")

LINK_SERVICE = link_pb2.DESCRIPTOR.services_by_name["LinkService"].full_name
_SERVICE = "channel_emulator"
_STOPPING = "channel emulator: shutting down; frames without an outcome were not forwarded"
_RECEIVED, _ERASED, _SENT = (PACKETS.labels(_SERVICE, fate) for fate in ("received", "erased", "sent"))

Context = grpc.aio.ServicerContext[Any, Any]


class LinkProxy:
    """LinkService.Send, forwarded.

    Args:
        channel: to the next hop.
        active_profile: says which chain a frame that begins goes through.
    """

    def __init__(self, channel: grpc.aio.Channel, active_profile: ActiveProfile) -> None:
        # Bytes both ways: see wire_items.py.
        self._send: Any = channel.stream_stream(f"/{LINK_SERVICE}/Send")
        self._active_profile = active_profile
        self._drained = asyncio.Event()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve LinkService there."""
        send: Any = grpc.stream_stream_rpc_method_handler(self.Send, request_deserializer=read_item)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(LINK_SERVICE, {"Send": send}),))

    def drain(self) -> None:
        """Forward the rounds that have begun, and no other; what comes back for them still passes."""
        self._drained.set()

    # It writes instead of yielding: two flows that must not wait for each other.
    async def Send(self, request_iterator: AsyncIterator[WireItem], context: Context) -> None:
        """One session. Raises InvalidInput, NotReady; else ends with the next hop's status, code and details."""
        hop = hop_of(context)
        call = self._send(timeout=context.time_remaining(), metadata=hop_metadata(hop))
        status, session = CallStatus(call), _Session(self._active_profile, hop, call.write)
        forward = asyncio.create_task(_forward(session, request_iterator, call))
        back = asyncio.create_task(_copy_back(call, context))
        drained = asyncio.create_task(self._drained.wait())
        ends: set[asyncio.Future[Any]] = {forward, back, drained, session.broken}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if session.broken.done():
                session.broken.result()
            elif drained.done() and not back.done():
                await _stop_reading(session, forward, call)
            elif forward.done():
                forward.result()
            await back
            if drained.done():
                raise NotReady(_STOPPING)
        except grpc.aio.AioRpcError as error:
            await context.abort(*status.of(error))
        finally:
            # Also where the sender went away: this coroutine is cancelled then, and the next hop must hear of it.
            # That ends the way back as well. It is not cancelled itself: gRPC sends no status after a write cut short.
            call.cancel()
            forward.cancel()
            drained.cancel()
            session.broken.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            if session.line is not None:
                await session.line.close()


async def _forward(session: _Session, requests: AsyncIterator[WireItem], call: Any) -> None:
    writing: asyncio.Task[None] | None = None
    try:
        async for item in requests:
            session.between.clear()
            passed = await session.take(item)
            if writing is not None:
                await writing
                writing = None
            if passed is not None and session.line is not None:
                await session.line.put(passed)
            elif passed is not None:
                # While one batch is written the next one is read and impaired.
                writing = asyncio.create_task(call.write(passed))
            if not session.in_round:
                if writing is not None:
                    await writing
                session.between.set()
        session.close()
        if session.line is not None:
            await session.line.emptied()
        await call.done_writing()
    except LINK_ENDED:
        # The next hop ended the call; its status is read, and told, on the way back.
        return
    finally:
        if writing is not None:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


async def _stop_reading(session: _Session, forward: asyncio.Task[None], call: Any) -> None:
    """End the way forth after the round that passes, if one does."""
    # Again and again: by the time this is told of a pause the next round may have begun.
    while not (forward.done() or session.between.is_set()):
        between = asyncio.create_task(session.between.wait())
        await asyncio.wait({forward, between}, return_when=asyncio.FIRST_COMPLETED)
        between.cancel()
    if forward.done():
        forward.result()
        return
    forward.cancel()
    await asyncio.gather(forward, return_exceptions=True)
    if session.line is not None:
        await session.line.emptied()
    if session.may_ask:
        # A round that a frame waits for would not come through: its sender begins it again elsewhere.
        call.cancel()
        raise NotReady(_STOPPING)
    if not call.done():
        await call.done_writing()


async def _copy_back(call: Any, context: Context) -> None:
    async for response in call:
        await context.write(response)


class _Session:
    """Checks the order of a session's items, and impairs its packets.

    Attributes:
        may_ask: a frame of it may have further rounds.
        between: set while the next hop or the line has all of what came, and no round is open.
        line: what everything goes through from the first timed round on.
        broken: gets what the line failed with, if it does.

    Args:
        active_profile: says which chain a frame that begins goes through.
        hop: emulators before this one.
        write: to the next hop.
    """

    def __init__(self, active_profile: ActiveProfile, hop: int, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._active_profile, self._hop, self._write = active_profile, hop, write
        self.line: DelayLine | None = None
        self.broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._session_id: str | None = None
        self._round: RoundInTransit | None = None
        self.may_ask = False
        self.between = asyncio.Event()
        self.between.set()

    @property
    def in_round(self) -> bool:
        """A round has begun and not ended."""
        return self._round is not None

    async def take(self, item: WireItem) -> bytes | TimedBatch | None:
        """What to forward for an item; None: nothing. Raises InvalidInput naming an item that is out of order."""
        kind, message = item.kind, item.message
        if kind is None:
            raise InvalidInput("item: not set; there are open, header, batch, end")
        if (kind == "open") != (self._session_id is None):
            raise InvalidInput("open: the session is open already" if kind == "open" else f"{kind}: comes before open")
        if kind == "open":
            self._session_id = message.open.session_id
            return item.raw
        if kind == "header":
            self._begin(message.header)
            return item.raw
        if self._round is None:
            raise InvalidInput(f"{kind}: comes before the frame's header")
        if kind == "end":
            await self._end(self._round, message.end)
            return item.raw
        if self._round.in_force.chain.timed:
            return await self._round.apply_timed(item)
        return await self._round.impair(item)

    def close(self) -> None:
        """The sender has no more to say. Raises InvalidInput when it stopped half-way."""
        if self._session_id is None:
            raise InvalidInput("open: missing; the stream ended before it")
        if self._round is not None:
            raise InvalidInput(f"end: missing; the stream ended within frame {self._round.info.frame_index}")

    def _begin(self, header: link_pb2.FrameHeader) -> None:
        if self._round is not None:
            raise InvalidInput(f"header: comes before the end of frame {self._round.info.frame_index}")
        self.may_ask |= header.max_rounds > 1
        in_force = self._active_profile.in_force
        # The case's name, not an extension's: labels of metrics must be few.
        codec = header.WhichOneof("codec") or ""
        info = frame_info(header)
        impairer = in_force.chain.impairer(info, stream=hop_stream(self._hop), copies=self._hop > 0)
        trace = self._active_profile.recording.begin(info.frame_index, info.round)
        self._round = RoundInTransit(info, in_force, impairer, RoundCounts(), codec, trace)
        if in_force.chain.timed and self.line is None:
            self.line = DelayLine(self._write, self.broken)

    async def _end(self, current: RoundInTransit, end: link_pb2.FrameEnd) -> None:
        if not current.packets <= end.packet_count <= MAX_PACKETS:
            # What is too large no trace holds; what is too small would leave out of it packets that passed.
            words = f"{current.packets}, the highest sequence number that came and one more, to {MAX_PACKETS}"
            raise InvalidInput(f"end.packet_count: {end.packet_count} is not in {words}")
        info, counts = current.info, current.counts
        current.in_force.statistics.add(info, counts, await current.scores())
        ROUNDS.labels(_SERVICE, current.codec).inc()
        _RECEIVED.inc(counts.packets_in)
        _SENT.inc(counts.packets_out)
        _ERASED.inc(counts.packets_erased)
        log.info(
            "round forwarded",
            frame_id=frame_id(self._session_id or "", info.frame_index),
            round=info.round,
            revision=current.in_force.revision,
            packets_sent=end.packet_count,
            packets_in=counts.packets_in,
            packets_out=counts.packets_out,
        )
        if current.trace is not None:
            await current.trace.end(end.packet_count)
        self._round = None
