"""The transmitter's two services, and how to start them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc

from common.errors import InvalidInput, NotReady
from common.logs import get_logger
from common.models import held_knowledge
from common.rpc.channels import open_channel
from common.rpc.server import RunningServer, start_server
from common.settings import TransmitterSettings
from common.types import LinkSettings
from common.wire import check_session_id, link_from_proto, link_to_proto
from common.workers import CodecWorker
from gocom.v1 import feedback_pb2, feedback_pb2_grpc, link_pb2, link_pb2_grpc, transmitter_pb2, transmitter_pb2_grpc
from transmitter.encoders import ENCODERS
from transmitter.encoding import warm_up
from transmitter.feedback import refusal
from transmitter.link import ChannelStateSource
from transmitter.session import Outside, TransmitSession

log = get_logger("transmitter")

Context = grpc.aio.ServicerContext[Any, Any]
Requests = AsyncIterator[transmitter_pb2.TransmitRequest]


class Transmitter(transmitter_pb2_grpc.TransmitterServiceServicer, feedback_pb2_grpc.FeedbackServiceServicer):
    """TransmitterService and FeedbackService: see transmitter.proto and feedback.proto.

    Attributes:
        ready: encoders are loaded; until then Transmit is refused with UNAVAILABLE.
    """

    def __init__(self, outside: Outside) -> None:
        self.ready = False
        self._outside = outside
        self._sessions: dict[str, TransmitSession] = {}
        self._drained = asyncio.Event()

    def drain(self) -> None:
        """Take no further image; those taken go on."""
        self._drained.set()

    async def Transmit(
        self, request_iterator: Requests, context: Context
    ) -> AsyncIterator[transmitter_pb2.TransmitResponse]:
        """Images in, events out. Raises NotReady, and InvalidInput for a stream that contradicts itself."""
        if not self.ready or self._drained.is_set():
            raise NotReady("transmitter: shutting down" if self._drained.is_set() else "transmitter: loading models")
        first = await anext(request_iterator, None)
        if first is None:
            return
        session = self._open(first)
        reader = asyncio.create_task(self._read(session, first, request_iterator))
        try:
            while (event := await session.frames.events.get()) is not None:
                yield event
                session.frames.told(event)
            await reader
        finally:
            del self._sessions[first.session_id]
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await session.close()

    async def SendFeedback(
        self, request: feedback_pb2.SendFeedbackRequest, context: Context
    ) -> feedback_pb2.SendFeedbackResponse:
        """Ask for a further round. Raises InvalidInput for spans that do not fit the frame."""
        check_session_id(request.session_id)
        session = self._sessions.get(request.session_id)
        if session is None:
            return refusal(f"session {request.session_id} is not open")
        return await session.feedback(request)

    def _open(self, first: transmitter_pb2.TransmitRequest) -> TransmitSession:
        check_session_id(first.session_id)
        if first.session_id in self._sessions:
            raise InvalidInput(f"session_id: {first.session_id} is in use by another stream")
        link = link_from_proto(first.link) if first.HasField("link") else LinkSettings()
        session = TransmitSession(first.session_id, link, first.seed, self._outside)
        self._sessions[first.session_id] = session
        return session

    async def _read(self, session: TransmitSession, first: transmitter_pb2.TransmitRequest, requests: Requests) -> None:
        """Read images until the client or this service has had enough; then wait for the frames."""
        reading = asyncio.create_task(_submit_all(session, first, requests))
        drained = asyncio.create_task(self._drained.wait())
        try:
            await asyncio.wait({reading, drained}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
            else:
                reading.cancel()
                await asyncio.gather(reading, return_exceptions=True)
            await session.finish()
        except Exception:
            # The stream is refused from here on; the frames it brought before are still accounted for.
            try:
                await session.finish()
            finally:
                session.frames.events.put_nowait(None)
            raise
        finally:
            reading.cancel()
            drained.cancel()
            await asyncio.gather(reading, drained, return_exceptions=True)
        if self._drained.is_set():
            raise NotReady("transmitter: shutting down; images after the last event were not taken")


async def _submit_all(session: TransmitSession, first: transmitter_pb2.TransmitRequest, requests: Requests) -> None:
    await session.submit(first)
    async for request in requests:
        _check_same(session, first, request)
        await session.submit(request)


def _check_same(
    session: TransmitSession, first: transmitter_pb2.TransmitRequest, request: transmitter_pb2.TransmitRequest
) -> None:
    if request.session_id not in ("", first.session_id):
        raise InvalidInput(f"session_id: changed from {first.session_id!r} to {request.session_id!r} within a stream")
    if request.HasField("link") and request.link != link_to_proto(session.link):
        raise InvalidInput("link: changed within a stream")
    if request.seed not in (0, first.seed):
        raise InvalidInput(f"seed: changed from {first.seed} to {request.seed} within a stream")


async def serve(settings: TransmitterSettings) -> RunningServer:
    """Start the transmitter; returns when its encoders are warm and health says SERVING.

    Raises:
        NotReady: the address cannot be listened on, or a model is not there.
        UnknownName: a codec in `warm_codecs`.
    """
    channel = open_channel(settings.link_address, settings.max_message_bytes)
    encoders = CodecWorker(ENCODERS, settings.device, "encode")
    csi = ChannelStateSource(channel, settings.csi_refresh_s)
    held = await asyncio.to_thread(held_knowledge)
    knowledge = [link_pb2.KnowledgeHash(name=name, sha256=sha256) for name, sha256 in held.items()]
    service = Transmitter(Outside(settings, encoders, link_pb2_grpc.LinkServiceStub(channel), csi, knowledge))

    def add(server: grpc.aio.Server) -> list[str]:
        transmitter_pb2_grpc.add_TransmitterServiceServicer_to_server(service, server)
        feedback_pb2_grpc.add_FeedbackServiceServicer_to_server(service, server)
        return [
            transmitter_pb2.DESCRIPTOR.services_by_name["TransmitterService"].full_name,
            feedback_pb2.DESCRIPTOR.services_by_name["FeedbackService"].full_name,
        ]

    running: RunningServer | None = None
    try:
        running = await start_server(settings, add)
        running.on_drain.append(service.drain)
        for codec in settings.warm_codecs:
            await encoders.run(partial(warm_up, encoders, codec))
    except BaseException:
        if running is not None:
            await running.stop(0)
        await encoders.close()
        await channel.close()
        raise
    running.on_stop += [encoders.close, channel.close]
    service.ready = True
    await running.set_serving(True)
    log.info("ready", link=settings.link_address, warm=list(settings.warm_codecs))
    return running
