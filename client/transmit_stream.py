"""The Transmit stream of a send: requests to the transmitter, and its events. A stream that was cut is opened again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any

import grpc

from gocom.client.reconnect_policy import FIRST_PAUSE_S, ReconnectPolicy
from gocom.client.sent_frame import SentFrame
from gocom.common.rpc.call_status import CallStatus
from gocom.common.rpc.client_channels import STREAM_DEADLINE_S
from gocom.v1 import transmitter_pb2

_TOO_LARGE = re.compile(r"(Sent|Received) message larger than max \(\d+ vs\. (\d+)\)")
"""What gRPC says of a message that exceeds the limit of who sent or received it; the limit is the second number."""

Request = transmitter_pb2.TransmitRequest
MakeRequest = Callable[[SentFrame, transmitter_pb2.Resumption.ValueType], Request]


class TransmitStream:
    """The Transmit stream of one send. It hands frames over to the transmitter, again after a cut, and reads events.

    Args:
        stub: TransmitterServiceStub.
        where: name and address of the transmitter, for messages.
        frames: frames without a result, by index; each frame with a `todo` has yet to be handed over.
        make_request: function that makes the request of a frame, given its resumption.
        on_event: called with each event of the transmitter.
        reconnect: when to open the stream again, and when to give up.
    """

    def __init__(
        self,
        stub: Any,
        where: str,
        frames: Mapping[int, SentFrame],
        make_request: MakeRequest,
        on_event: Callable[[transmitter_pb2.TransmitResponse], None],
        reconnect: ReconnectPolicy,
    ) -> None:
        self._stub, self._where, self._frames = stub, where, frames
        self._make_request, self._on_event, self._reconnect = make_request, on_event, reconnect
        self._work = asyncio.Event()
        self._finished = False
        self._wrote = self._resuming = False

    def wake(self) -> None:
        """Hand over the frames that have a `todo`. Call it after a `todo` was set."""
        self._work.set()

    def finish(self) -> None:
        """Half-close the stream, since no further frame has to be handed over."""
        self._finished = True
        self._work.set()

    async def run(self) -> None:
        """Keep the stream open until `finish` was called and the stream has ended.

        Raises:
            GoComError: the transmitter refuses the stream, or has been out of reach for too long.
        """
        while True:
            error = await self._stream()
            if self._finished:
                return
            if error is not None and error.code() == grpc.StatusCode.INVALID_ARGUMENT and not self._wrote:
                # No request came on the stream for a minute. The caller's iterator is slower, and nothing is wrong.
                await asyncio.sleep(FIRST_PAUSE_S)
            else:
                await self._reconnect.wait_or_raise(error, self._where)
            for frame in self._frames.values():
                frame.mark_stream_lost()

    async def _stream(self) -> grpc.aio.AioRpcError | None:
        """Open one stream, and run it to its end. Return the error that ended it, or None if it ended without one.

        Raises:
            Exception: what making a request, or an event, has raised.
        """
        call = self._stub.Transmit(timeout=STREAM_DEADLINE_S)
        status = CallStatus(call)
        self._wrote = False
        tasks = [asyncio.create_task(self._write_all(call)), asyncio.create_task(self._read_all(call))]
        writer, reader = tasks
        try:
            # A writer that has failed ends the stream: without its requests the reader would wait for ever.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if writer.done():
                writer.result()
            await reader
        except grpc.aio.AioRpcError as error:
            return self._unless_too_large(_true_status(error, status))
        finally:
            for task in tasks:
                task.cancel()
            call.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._resuming = True
        return None

    def _unless_too_large(self, error: grpc.aio.AioRpcError) -> grpc.aio.AioRpcError | None:
        """Return the error, or None if it only says that a request is larger than either end allows.

        Frames with such a request fail; the others can be handed over on another stream.
        """
        limit = _TOO_LARGE.search(error.details() or "")
        if error.code() != grpc.StatusCode.RESOURCE_EXHAUSTED or limit is None:
            return error
        most = int(limit[2])
        whose = f"the transmitter accepts {most} (max_message_bytes)"
        if limit[1] == "Sent":
            whose = f"this client sends at most {most}"
        named = False
        for frame in list(self._frames.values()):
            size = self._make_request(frame, transmitter_pb2.RESUMPTION_UNSPECIFIED).ByteSize()
            if frame.handed_over and size > most:
                reason = f"image: the request has {size} bytes; {whose}"
                failed = transmitter_pb2.FrameFailed(kind=transmitter_pb2.FAILURE_KIND_INVALID, reason=reason)
                self._on_event(transmitter_pb2.TransmitResponse(frame_index=frame.index, failed=failed))
                named = True
        if not named:
            return error
        self._reconnect.mark_reached()
        self._reconnect.mark_progress()
        return None

    async def _read_all(self, call: Any) -> None:
        """Pass on events until the stream ends."""
        # Empty metadata without an exception may also mean that the call was refused, or has reached nobody.
        await call.initial_metadata()
        if not call.done():
            self._reconnect.mark_reached()
        async for event in call:
            self._reconnect.mark_progress()
            self._on_event(event)

    async def _write_all(self, call: Any) -> None:
        """Write the requests of all frames with a `todo`, until `finish` was called or the stream has ended."""
        # The transmitter may still have the session from before a cut. So the first request on a further stream says
        # that it resumes, even if its frame is new; otherwise the session would be taken for another client's.
        resuming = self._resuming
        try:
            while True:
                self._work.clear()
                for frame in list(self._frames.values()):
                    if frame.todo is not None:
                        todo, frame.todo, frame.handed_over = frame.todo, None, True
                        if resuming:
                            todo, resuming = todo or transmitter_pb2.RESUMPTION_RESUME, False
                        self._wrote = True
                        await call.write(self._make_request(frame, todo))
                if self._finished:
                    await call.done_writing()
                    return
                await self._work.wait()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return  # the stream has ended, and its reader gets the reason


def _true_status(error: grpc.aio.AioRpcError, status: CallStatus) -> grpc.aio.AioRpcError:
    """Return the error with the status that the server really sent, see CallStatus."""
    code, details, trailing = status.of(error)
    metadata = grpc.aio.Metadata(*trailing)
    return grpc.aio.AioRpcError(code, error.initial_metadata(), metadata, details=details)
