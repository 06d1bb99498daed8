"""The transmitter's two gRPC services, TransmitterService and FeedbackService, and the function that starts them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import grpc

from gocom.common.codec_worker import CodecWorker
from gocom.common.errors import InvalidInput, NotReady
from gocom.common.logs import get_logger
from gocom.common.rpc.client_channels import open_channel
from gocom.common.rpc.server import RunningServer, start_server
from gocom.common.settings import TransmitterSettings
from gocom.common.wire.frame_messages import check_session_id
from gocom.common.zoo import held_knowledge, open_zoo
from gocom.transmitter.channel_state import ChannelStateSource
from gocom.transmitter.encoders import ENCODERS
from gocom.transmitter.feedback_handling import refusal
from gocom.transmitter.frame_encoding import warm_up
from gocom.transmitter.frame_table import ClientStream
from gocom.transmitter.outbox import Outbox, outbox_path
from gocom.transmitter.session_table import SessionTable, check_same
from gocom.transmitter.transmit_session import TransmitDependencies, TransmitSession
from gocom.v1 import feedback_pb2, feedback_pb2_grpc, link_pb2, link_pb2_grpc, transmitter_pb2, transmitter_pb2_grpc

log = get_logger("transmitter")

Context = grpc.aio.ServicerContext[Any, Any]
Requests = AsyncIterator[transmitter_pb2.TransmitRequest]


class Transmitter(transmitter_pb2_grpc.TransmitterServiceServicer, feedback_pb2_grpc.FeedbackServiceServicer):
    """Servicer of TransmitterService and FeedbackService; see transmitter.proto and feedback.proto.

    Attributes:
        ready: whether the encoders are loaded; until then every call is refused with UNAVAILABLE.
    """

    def __init__(self, sessions: SessionTable, first_item_s: float) -> None:
        self.ready = False
        self._sessions = sessions
        self._first_item_s = first_item_s
        self._drained = asyncio.Event()

    def drain(self) -> None:
        """Stop taking new images; frames that were accepted go on."""
        self._drained.set()

    async def Transmit(
        self, request_iterator: Requests, context: Context
    ) -> AsyncIterator[transmitter_pb2.TransmitResponse]:
        """Take images from the client and yield the events of their frames.

        Raises:
            NotReady: models are loading, or the service shuts down.
            Busy: too many sessions are open.
            InvalidInput: a request of the stream contradicts the session.
        """
        if not self.ready or self._drained.is_set():
            raise NotReady("transmitter: shutting down" if self._drained.is_set() else "transmitter: loading models")
        # Sent at once, so that the client knows that it is heard before its first picture is there.
        await context.send_initial_metadata(())
        first = await self._first(request_iterator)
        if first is None:
            return
        session = self._sessions.open(first)
        stream = session.attach_stream()
        reader = asyncio.create_task(self._read(session, stream, first, request_iterator))
        try:
            while (event := await stream.events.get()) is not None:
                if isinstance(event, Exception):
                    raise event
                yield event
                session.frames.mark_written(stream, event)
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await self._sessions.detach_stream(first.session_id, session, stream)

    async def SendFeedback(
        self, request: feedback_pb2.SendFeedbackRequest, context: Context
    ) -> feedback_pb2.SendFeedbackResponse:
        """Queue the further round that feedback asks for. Raises InvalidInput for spans that do not fit the frame."""
        check_session_id(request.session_id)
        if not self.ready:
            raise NotReady("transmitter: loading models")
        session = self._sessions.get(request.session_id)
        if session is None:
            return refusal(f"session {request.session_id} is not open")
        return await session.feedback(request)

    async def _first(self, requests: Requests) -> transmitter_pb2.TransmitRequest | None:
        """Return the first request of a stream; None if the stream ended without one.

        Raises:
            NotReady: the service shuts down before a request arrives.
            InvalidInput: no request arrives in time.
        """
        coming = asyncio.ensure_future(anext(requests, None))
        drained = asyncio.create_task(self._drained.wait())
        try:
            await asyncio.wait({coming, drained}, timeout=self._first_item_s, return_when=asyncio.FIRST_COMPLETED)
            if self._drained.is_set():
                raise NotReady("transmitter: shutting down")
            if not coming.done():
                raise InvalidInput(f"session_id: missing; no request came within {self._first_item_s:g} s")
            return coming.result()
        finally:
            coming.cancel()
            drained.cancel()
            await asyncio.gather(coming, drained, return_exceptions=True)

    async def _read(
        self,
        session: TransmitSession,
        stream: ClientStream,
        first: transmitter_pb2.TransmitRequest,
        requests: Requests,
    ) -> None:
        """Read requests until the stream ends, a request is invalid or the service drains; then wait for the frames."""
        reading = stream.reading = asyncio.create_task(_submit_all(session, first, requests))
        drained = asyncio.create_task(self._drained.wait())
        try:
            await asyncio.wait({reading, drained}, return_when=asyncio.FIRST_COMPLETED)
            reading.cancel()
            (refused,) = await asyncio.gather(reading, return_exceptions=True)
            # Even when a request was invalid: frames that the stream brought before it still get their terminal events.
            await session.finish()
        finally:
            reading.cancel()
            drained.cancel()
            await asyncio.gather(reading, drained, return_exceptions=True)
            stream.events.put_nowait(None)
        if isinstance(refused, Exception):
            raise refused
        if self._drained.is_set():
            raise NotReady("transmitter: shutting down; images after the last event were not taken")


async def _submit_all(session: TransmitSession, first: transmitter_pb2.TransmitRequest, requests: Requests) -> None:
    await session.submit(first)
    async for request in requests:
        check_same(session, first.session_id, request)
        await session.submit(request)


async def serve(settings: TransmitterSettings) -> RunningServer:
    """Start the transmitter and return when its encoders are warm and its health status is SERVING.

    Raises:
        InvalidInput: the security settings are invalid.
        NotReady: the service cannot listen on its address, a model is missing, or the outbox cannot be opened.
        UnknownName: a codec in `warm_codecs` is unknown.
    """
    channel = open_channel(settings.link_address, settings.max_message_bytes, settings, "link_address")
    zoo = open_zoo(settings.device)
    zoo.log = log
    encoders = CodecWorker(ENCODERS, zoo, "encode")
    csi = ChannelStateSource(channel, settings)
    held = await asyncio.to_thread(held_knowledge)
    knowledge = [link_pb2.KnowledgeHash(name=name, sha256=sha256) for name, sha256 in held.items()]
    outbox = Outbox(outbox_path(settings.outbox, settings.port), settings.outbox_bytes)
    sessions = SessionTable(
        TransmitDependencies(settings, encoders, link_pb2_grpc.LinkServiceStub(channel), csi, knowledge, outbox)
    )
    service = Transmitter(sessions, settings.first_item_s)

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
        running.until_idle.append(sessions.idle)  # until then the receiver may still ask for further rounds
        await outbox.open()
        for codec in settings.warm_codecs:
            await encoders.run(partial(warm_up, encoders, codec))
        await sessions.recover()
    except BaseException:
        if running is not None:
            await running.stop(0)
        for close in (sessions.close, encoders.close, channel.close, outbox.close):
            await close()
        raise
    running.on_stop += [sessions.close, encoders.close, channel.close, outbox.close]
    service.ready = True
    await running.set_serving(True)
    log.info("ready", link=settings.link_address, warm=list(settings.warm_codecs))
    return running
