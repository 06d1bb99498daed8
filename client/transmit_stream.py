"""The Transmit stream of a send: requests out, events in, opened again when it was cut."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from gocom.client.reconnect_patience import Patience
from gocom.client.sent_frame import SentFrame
from gocom.common.rpc.call_status import CallStatus
from gocom.common.rpc.client_channels import STREAM_DEADLINE_S
from gocom.v1 import transmitter_pb2

STOOD_S = 5.0
"""A stream that lasted so long had a service at its other end, also if that had nothing to say."""

Request = transmitter_pb2.TransmitRequest
MakeRequest = Callable[[SentFrame, transmitter_pb2.Resumption.ValueType], Request]


class Uplink:
    """Hands frames over to the transmitter until each has ended.

    Args:
        stub: TransmitterServiceStub.
        where: who is meant in messages.
        frames: those under way, by index; one with a `todo` is (still) to be handed over.
        make_request: the request of a frame.
        on_event: gets what the transmitter says.
        patience: with a transmitter that is out of reach.
    """

    def __init__(
        self,
        stub: Any,
        where: str,
        frames: Mapping[int, SentFrame],
        make_request: MakeRequest,
        on_event: Callable[[transmitter_pb2.TransmitResponse], None],
        patience: Patience,
    ) -> None:
        self._stub, self._where, self._frames = stub, where, frames
        self._make_request, self._on_event, self._patience = make_request, on_event, patience
        self._work = asyncio.Event()
        self._finished = False
        self._resuming = False

    def wake(self) -> None:
        """A frame has something to do."""
        self._work.set()

    def finish(self) -> None:
        """No further frame will have."""
        self._finished = True
        self._work.set()

    async def run(self) -> None:
        """Until `finish` and the end of the stream. Raises GoComError when the transmitter refuses, or stays away."""
        while True:
            error = await self._stream()
            if self._finished:
                return
            await self._patience.lost(error, self._where)
            for frame in self._frames.values():
                frame.mark_stream_lost()

    async def _stream(self) -> grpc.aio.AioRpcError | None:
        """One stream, to its end; -> why it ended, None: without a word."""
        call = self._stub.Transmit(timeout=STREAM_DEADLINE_S)
        status, began = CallStatus(call), time.monotonic()
        writer = asyncio.create_task(self._write_all(call))
        try:
            async for event in call:
                self._patience.heard()
                self._on_event(event)
        except grpc.aio.AioRpcError as error:
            return _true_status(error, status)
        finally:
            writer.cancel()
            call.cancel()
            await asyncio.gather(writer, return_exceptions=True)
            self._resuming = True
            if time.monotonic() - began > STOOD_S:
                self._patience.heard()
        return None

    async def _write_all(self, call: Any) -> None:
        # The session may be there still, though nothing of it has to be resumed: it must not be taken for another's.
        resuming = self._resuming
        try:
            while True:
                self._work.clear()
                for frame in list(self._frames.values()):
                    if frame.todo is not None:
                        todo, frame.todo, frame.handed_over = frame.todo, None, True
                        if resuming:
                            todo, resuming = todo or transmitter_pb2.RESUMPTION_RESUME, False
                        await call.write(self._make_request(frame, todo))
                if self._finished:
                    await call.done_writing()
                    return
                await self._work.wait()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the stream has ended, and its reader says why


def _true_status(error: grpc.aio.AioRpcError, status: CallStatus) -> grpc.aio.AioRpcError:
    """The error with the status that the server sent."""
    code, details, trailing = status.of(error)
    metadata = grpc.aio.Metadata(*trailing)
    return grpc.aio.AioRpcError(code, error.initial_metadata(), metadata, details=details)
