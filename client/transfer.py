"""One send: images go to the transmitter, pictures come from the receiver, results leave in order.

images --feed--> Transmit --events--+
                                    +--> SentFrame by index --next()--> SendResult
Subscribe (resumed by cursor) ------+
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc

from client.frames import SentFrame
from client.pictures import Size, Source, load_picture
from client.results import Preview, SendResult
from common.errors import GoComError, NotReady
from common.images import decode_image
from common.rpc.channels import STREAM_DEADLINE_S
from common.rpc.status import error_from_rpc
from common.types import FeedbackPolicy, LinkSettings, Parameters, RoundSettings
from common.wire import codec_to_proto, link_to_proto, set_rounds
from gocom.v1 import receiver_pb2, transmitter_pb2

MAX_IN_FLIGHT = 4
"""Images handed over and not yet taken by the caller."""
GRACE_S = 2.0
"""Wait for the receiver's account of a frame that the transmitter already called lost."""
PATIENCE_S = 15.0
"""How long a receiver may be out of reach before that is an error."""

_RESUMABLE = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.INTERNAL,  # how grpc reports a stream that was reset under it
    grpc.StatusCode.CANCELLED,
)


@dataclass(frozen=True, slots=True)
class SendOptions:
    """What is the same for all pictures of a send; see AsyncClient.send."""

    codec: str
    options: Parameters
    seed: int
    max_rounds: int
    budget_bytes: int | None
    round_budget_bytes: int | None
    feedback_policy: FeedbackPolicy
    quality_target: float
    link: LinkSettings
    size: Size
    first_index: int
    timeout_s: float
    on_preview: Callable[[Preview], None] | None


class Transfer:
    """The state of one send.

    Args:
        transmitter, receiver: stubs of TransmitterService and ReceiverService.
        images: sources; an iterator, or an async one. It is read only as far as there is room.
        wanted: options.
        addresses: of "transmitter" and "receiver", for messages.
    """

    def __init__(
        self,
        transmitter: Any,
        receiver: Any,
        images: Iterator[Source] | AsyncIterator[Source],
        wanted: SendOptions,
        addresses: Mapping[str, str | None],
    ) -> None:
        self.session_id = uuid.uuid4().hex
        self._receiver, self._images, self._wanted = receiver, images, wanted
        self._addresses = addresses
        self._call = transmitter.Transmit(timeout=STREAM_DEADLINE_S)
        self._frames: dict[int, SentFrame] = {}
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._next = wanted.first_index
        self._end: int | None = None
        self._input_error: Exception | None = None
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        jobs = (self._feed(), self._listen(), self._subscribe())
        self._tasks = [asyncio.create_task(self._guard(job)) for job in jobs]

    async def next(self) -> SendResult | None:
        """The next frame's result, None after the last. Raises GoComError when the services cannot go on."""
        while True:
            if self._end is not None and self._next >= self._end:
                if self._input_error is not None:
                    raise self._input_error
                return None
            frame = self._frames.get(self._next)
            left = self._seconds_left(frame)
            if frame is not None and (frame.settled or left <= 0):
                return await self._settle(frame)
            if self._error is not None:
                raise self._error
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), min(left, STREAM_DEADLINE_S))
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Drop what is still under way."""
        self._call.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _settle(self, frame: SentFrame) -> SendResult:
        del self._frames[frame.index]
        self._next += 1
        self._slots.release()
        late = f"timeout: neither picture nor error within {self._wanted.timeout_s:g} s"
        return await asyncio.to_thread(frame.result, self.session_id, self._wanted.codec, late)

    def _seconds_left(self, frame: SentFrame | None) -> float:
        """Until the frame at hand is given up."""
        if frame is None:
            return STREAM_DEADLINE_S
        now = time.perf_counter()
        if frame.failure is not None:
            return frame.ended + GRACE_S - now
        return frame.started + self._wanted.timeout_s - now

    async def _guard(self, job: Any) -> None:
        """Whatever a task dies of reaches the caller of next()."""
        try:
            await job
        except asyncio.CancelledError:
            raise
        except grpc.aio.AioRpcError as error:
            self._fail(named(error, f"transmitter at {self._addresses['transmitter']}"))
        except Exception as error:
            self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._error = self._error or error
        self._changed.set()

    async def _feed(self) -> None:
        index = self._next
        try:
            while True:
                await self._slots.acquire()
                source = await self._take_image()
                if source is None:
                    break
                picture = await asyncio.to_thread(load_picture, source, self._wanted.size)
                self._frames[index] = SentFrame(index, picture)
                index += 1
                self._changed.set()
                await self._call.write(self._request(index - 1, picture.data))
        except asyncio.InvalidStateError:
            return  # the stream has ended, and _listen says why
        except grpc.aio.AioRpcError:
            return
        except Exception as error:  # of the caller's iterator, or a picture that cannot be read
            self._input_error = error
        self._end = index
        self._changed.set()
        await self._call.done_writing()

    async def _take_image(self) -> Source | None:
        if isinstance(self._images, AsyncIterator):
            return await anext(self._images, None)
        return await asyncio.to_thread(next, self._images, None)

    def _request(self, index: int, data: bytes) -> transmitter_pb2.TransmitRequest:
        wanted = self._wanted
        request = transmitter_pb2.TransmitRequest(
            session_id=self.session_id,
            frame_index=index,
            image=data,
            link=link_to_proto(wanted.link),
            seed=wanted.seed,
            budget_bytes=wanted.budget_bytes or 0,
        )
        rounds = RoundSettings(
            wanted.max_rounds, wanted.round_budget_bytes or 0, wanted.feedback_policy, wanted.quality_target
        )
        set_rounds(request, rounds)
        codec_to_proto(wanted.codec, wanted.options, request)
        return request

    async def _listen(self) -> None:
        async for event in self._call:
            frame = self._frames.get(event.frame_index)
            if frame is not None:
                frame.take_event(event)
                self._changed.set()
        lost = transmitter_pb2.FrameFailed(
            kind=transmitter_pb2.FAILURE_KIND_LINK,
            reason="the transmitter ended the stream without a word on this frame",
        )
        for frame in self._frames.values():
            if not frame.completed and frame.failure is None:
                frame.failure = lost
        self._changed.set()

    async def _subscribe(self) -> None:
        """Follow the receiver's record of the session; reading it is idempotent, so a cut is resumed at the cursor."""
        cursor, lost_since = 0, None
        where = f"receiver at {self._addresses['receiver']}"
        while True:
            began = time.perf_counter()
            request = receiver_pb2.SubscribeRequest(
                session_id=self.session_id, cursor=cursor, previews=self._wanted.on_preview is not None
            )
            try:
                async for response in self._receiver.Subscribe(request, timeout=STREAM_DEADLINE_S):
                    cursor, lost_since = response.cursor, None
                    await self._take_picture(response.reconstruction)
            except grpc.aio.AioRpcError as error:
                if cursor and error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                    cursor = 0  # the receiver was started anew, and its record with it
                elif error.code() not in _RESUMABLE:
                    raise named(error, where) from error
                lived = time.perf_counter() - began > 1
                lost_since = began if lost_since is None or lived else lost_since
                if time.perf_counter() - lost_since > PATIENCE_S and not lived:
                    raise named(error, where) from error
            await asyncio.sleep(0.1)

    async def _take_picture(self, picture: receiver_pb2.Reconstruction) -> None:
        frame = self._frames.get(picture.frame_index)
        if picture.final:
            if frame is not None:
                frame.take_final(picture)
                self._changed.set()
        elif self._wanted.on_preview is not None and picture.image_png:
            image = await asyncio.to_thread(decode_image, picture.image_png, field_name="preview")
            self._wanted.on_preview(Preview(picture.frame_index, picture.step, image))


def named(error: grpc.aio.AioRpcError, where: str) -> GoComError:
    """The exception of a status; one that a service is out of reach says which."""
    result = error_from_rpc(error)
    if type(result) is not NotReady:
        return result
    wrapped = NotReady(f"{where}: {result}")
    wrapped.__cause__ = error
    return wrapped
