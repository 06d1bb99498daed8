"""LinkService between two others: forwards everything, and applies the channel profile to packets.

Session open, frame headers and frame ends are forwarded unchanged. Erased packets are removed from a batch, and a batch
without packets is not forwarded. Two items at a time are in progress, so a slow next hop holds back the sender by flow
control. If the chain needs whole rounds, the batches of a round are held until its end. From the first round with a
timed chain on, everything in a session goes through a DelayLine.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from gocom.channel_emulator.active_profile import ActiveProfile
from gocom.channel_emulator.fault_bases.timed_fault import TimedBatch
from gocom.channel_emulator.proxy.delay_line import LINK_ENDED, DelayLine
from gocom.channel_emulator.proxy.header_reader import HeaderReader
from gocom.channel_emulator.proxy.hops import hop_metadata, hop_of, hop_stream
from gocom.channel_emulator.proxy.round_in_transit import RoundInTransit
from gocom.channel_emulator.proxy.wire_items import WireItem, read_item
from gocom.channel_emulator.statistics import RoundCounts
from gocom.common.errors import InvalidInput, NotReady
from gocom.common.logs import frame_id, get_logger
from gocom.common.rpc.call_status import CallStatus
from gocom.common.service_metrics import PACKETS, ROUNDS
from gocom.common.wire.frame_headers import check_version
from gocom.v1 import link_pb2

log = get_logger("channel_emulator")

LINK_SERVICE = link_pb2.DESCRIPTOR.services_by_name["LinkService"].full_name
_SERVICE = "channel_emulator"
_STOPPING = "channel emulator: shutting down; frames without an outcome were not forwarded"
_RECEIVED, _ERASED, _SENT = (PACKETS.labels(_SERVICE, fate) for fate in ("received", "erased", "sent"))

Context = grpc.aio.ServicerContext[Any, Any]


class LinkProxy:
    """The forwarding implementation of LinkService.Send.

    Args:
        channel: connection to the next hop.
        active_profile: the profile; each round passes through the chain that is current when it begins.
    """

    def __init__(self, channel: grpc.aio.Channel, active_profile: ActiveProfile) -> None:
        # Without serializers the call carries bytes in both directions; see wire_items.py.
        self._send: Any = channel.stream_stream(f"/{LINK_SERVICE}/Send")
        self._active_profile = active_profile
        self._drained = asyncio.Event()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Register LinkService with a server."""
        send: Any = grpc.stream_stream_rpc_method_handler(self.Send, request_deserializer=read_item)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(LINK_SERVICE, {"Send": send}),))

    def drain(self) -> None:
        """Forward the rounds that have begun and no others. Responses to them are still returned."""
        self._drained.set()

    # Send writes responses instead of yielding them, as the two directions must not wait for each other.
    async def Send(self, request_iterator: AsyncIterator[WireItem], context: Context) -> None:
        """Forward one session; end with the next hop's status code, details and metadata.

        Raises:
            InvalidInput: the hop count is not valid, or an item is out of order.
            NotReady: the service is shutting down.
        """
        hop = hop_of(context)
        call = self._send(timeout=context.time_remaining(), metadata=hop_metadata(hop))
        status, session = CallStatus(call), _Session(self._active_profile, hop, call.write)
        forward = asyncio.create_task(_forward(session, request_iterator, call))
        back = asyncio.create_task(_copy_back(call, context))
        drained = asyncio.create_task(self._drained.wait())
        ends: set[asyncio.Future[Any]] = {forward, back, drained, session.line_failure}
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            if session.line_failure.done():
                session.line_failure.result()
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
            # If the sender disconnects, this coroutine is cancelled, and the call to the next hop must end as well.
            # That ends `back` too, which is not cancelled itself: gRPC sends no status after a cancelled write.
            call.cancel()
            forward.cancel()
            drained.cancel()
            session.line_failure.cancel()
            await asyncio.gather(*ends, return_exceptions=True)
            if session.line is not None:
                await session.line.close()


async def _forward(session: _Session, requests: AsyncIterator[WireItem], call: Any) -> None:
    writing: asyncio.Task[None] | None = None
    try:
        async for item in requests:
            session.between_rounds.clear()
            for forwarded in await session.process(item):
                if writing is not None:
                    await writing
                    writing = None
                if session.line is not None:
                    await session.line.put(forwarded)
                    # With room in the line nothing waits, and a round that was held may have thousands of batches.
                    await asyncio.sleep(0)
                elif isinstance(forwarded, bytes):
                    # While one batch is being written, the next one is read and impaired.
                    writing = asyncio.create_task(call.write(forwarded))
            if not session.in_round:
                if writing is not None:
                    await writing
                session.between_rounds.set()
        session.close()
        if session.line is not None:
            await session.line.wait_until_empty()
        await call.done_writing()
    except LINK_ENDED:
        # The next hop ended the call; the other direction reads its status and reports it.
        return
    finally:
        if writing is not None:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)


async def _stop_reading(session: _Session, forward: asyncio.Task[None], call: Any) -> None:
    """Stop reading requests after the current round, if there is one."""
    # In a loop: when this task wakes up for a pause between rounds, the next round may already have begun.
    while not (forward.done() or session.between_rounds.is_set()):
        pause = asyncio.create_task(session.between_rounds.wait())
        await asyncio.wait({forward, pause}, return_when=asyncio.FIRST_COMPLETED)
        pause.cancel()
    if forward.done():
        forward.result()
        return
    forward.cancel()
    await asyncio.gather(forward, return_exceptions=True)
    if session.line is not None:
        await session.line.wait_until_empty()
    if session.may_have_further_rounds:
        # Further rounds of a frame could not be forwarded, so the call ends, and the sender starts the frame again.
        call.cancel()
        raise NotReady(_STOPPING)
    if not call.done():
        await call.done_writing()


async def _copy_back(call: Any, context: Context) -> None:
    async for response in call:
        await context.write(response)


class _Session:
    """The state of a session; checks the order of its items and impairs its packets.

    Attributes:
        may_have_further_rounds: whether a frame of the session may have further rounds.
        between_rounds: set while no round is open and everything is passed on to the next hop or the line.
        line: the delay line for everything from the first timed round on; None before.
        line_failure: receives the error of the line if it fails.

    Args:
        active_profile: the profile; each round passes through the chain that is current when it begins.
        hop: number of emulators before this one.
        write: sends a message to the next hop.
    """

    def __init__(self, active_profile: ActiveProfile, hop: int, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._active_profile, self._hop, self._write = active_profile, hop, write
        self.line: DelayLine | None = None
        self.line_failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._session_id: str | None = None
        self._headers: HeaderReader | None = None
        self._round: RoundInTransit | None = None
        self.may_have_further_rounds = False
        self.between_rounds = asyncio.Event()
        self.between_rounds.set()

    @property
    def in_round(self) -> bool:
        """Whether a round is open."""
        return self._round is not None

    async def process(self, item: WireItem) -> list[bytes | TimedBatch]:
        """Return what to forward for an item: nothing if no packet of a batch is left, or if the batch is held.

        Raises:
            InvalidInput: the item is out of order, or not valid.
            TooLarge: the round has to be held until its end, and is too long for that.
        """
        kind, message = item.kind, item.message
        if kind is None:
            raise InvalidInput("item: not set; there are open, header, batch, end")
        if (kind == "open") != (self._session_id is None):
            raise InvalidInput("open: the session is open already" if kind == "open" else f"{kind}: comes before open")
        if kind == "open":
            check_version(message.open)
            self._session_id, self._headers = message.open.session_id, HeaderReader(message.open)
            return [item.raw]
        if kind == "header":
            assert self._headers is not None
            self._begin(message.header, self._headers)
            return [item.raw]
        if self._round is None:
            raise InvalidInput(f"{kind}: comes before the frame's header")
        if kind == "end":
            held = await self._round.impair_held()
            await self._end(self._round)
            return [*held, item.raw]
        if self._round.profile_revision.chain.needs_whole_round:
            self._round.hold(item)
            return []
        if self._round.profile_revision.chain.timed:
            return [await self._round.apply_timed(item)]
        impaired = await self._round.impair(item)
        return [] if impaired is None else [impaired]

    def close(self) -> None:
        """Check the session after its last item.

        Raises:
            InvalidInput: it ended within a round, or before it was opened.
        """
        if self._session_id is None:
            raise InvalidInput("open: missing; the stream ended before it")
        if self._round is not None:
            raise InvalidInput(f"end: missing; the stream ended within frame {self._round.info.frame_index}")

    def _begin(self, header: link_pb2.FrameHeader, headers: HeaderReader) -> None:
        if self._round is not None:
            raise InvalidInput(f"header: comes before the end of frame {self._round.info.frame_index}")
        self.may_have_further_rounds |= headers.max_rounds(header) > 1
        profile_revision = self._active_profile.current
        codec, info = headers.codec(header), headers.read(header)
        impairer = profile_revision.chain.impairer(info, stream=hop_stream(self._hop), copies=self._hop > 0)
        recorder = self._active_profile.trace_recorder.begin(info.frame_index, info.round)
        self._round = RoundInTransit(info, profile_revision, impairer, RoundCounts(), codec, recorder)
        if profile_revision.chain.timed and self.line is None:
            self.line = DelayLine(self._write, self.line_failure)

    async def _end(self, current: RoundInTransit) -> None:
        info, counts = current.info, current.counts
        current.profile_revision.statistics.add(info, counts, await current.event_counts())
        ROUNDS.labels(_SERVICE, current.codec).inc()
        _RECEIVED.inc(counts.packets_in)
        _SENT.inc(counts.packets_out)
        _ERASED.inc(counts.packets_erased)
        log.info(
            "round forwarded",
            frame_id=frame_id(self._session_id or "", info.frame_index),
            round=info.round,
            revision=current.profile_revision.number,
            packets_sent=info.packets,
            packets_in=counts.packets_in,
            packets_out=counts.packets_out,
        )
        if current.recorder is not None:
            await current.recorder.end(info.packets)
        self._round = None
