"""One send: images go to the transmitter, pictures come from the receiver, results are returned in order.

images --feed--> TransmitStream --events----+
                                            +--> SentFrame by index --next()--> SendResult
                SubscribeStream --pictures--+

Both streams are opened again when they are cut. The client then hands over again the frames that have not ended, and
later those whose picture the receiver has lost; both services recognize a frame by session and index.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from gocom.client.callers_code import in_daemon_thread, told_if_closed, was_cancelled
from gocom.client.picture_input import Size, Source
from gocom.client.reconnect_policy import ReconnectPolicy
from gocom.client.results import Preview, SendResult
from gocom.client.sent_frame import SentFrame
from gocom.client.subscribe_stream import SubscribeStream
from gocom.client.transmit_stream import TransmitStream
from gocom.common.errors import InvalidInput
from gocom.common.goals import ConsumerGoal
from gocom.common.image_decoding import decode_image
from gocom.common.rpc.client_channels import STREAM_DEADLINE_S
from gocom.common.rpc.own_process import OwnProcess
from gocom.common.types import MAX_SIDE_PX, FeedbackPolicy, LinkSettings, Parameters, PowerAllocation, RoundSettings
from gocom.common.wire.enums import enum_from_name
from gocom.common.wire.frame_messages import codec_to_proto, link_to_proto, rounds_to_proto
from gocom.v1 import receiver_pb2, transmitter_pb2

MAX_IN_FLIGHT = 4
"""Largest number of images that are read but whose result the caller has not taken."""
GRACE_S = 2.0
"""Seconds to wait for the receiver's outcome of a frame that the transmitter has reported as failed."""
FIRST_PATIENCE_S = 15.0
"""Seconds that a receiver may be out of reach before it has ever answered; a transmitter must answer at once."""
LOST_S = 2.0
"""Seconds after which a picture counts as lost by the receiver: it was made, and the subscription has stood so long,
but the picture has not arrived. Doubled with each repetition of the frame."""
FINISH_S = 2.0
"""Seconds that the transmitter may take to end its stream after the last frame."""
_END = object()
"""What stands for the end of the caller's pictures."""


@dataclass(frozen=True, slots=True)
class SendOptions:
    """The checked arguments of a send, the same for all its pictures; AsyncClient.send documents them."""

    codec: str
    options: Parameters
    seed: int
    max_rounds: int
    budget_bytes: int | None
    round_budget_bytes: int | None
    feedback_policy: FeedbackPolicy
    quality_target: float
    goal: ConsumerGoal | None
    power_allocation: PowerAllocation
    unequal_protection: float | None
    link: LinkSettings
    size: Size
    first_index: int
    timeout_s: float
    patience_s: float
    on_preview: Callable[[Preview], None] | None


class Transfer:
    """The state of one send.

    Args:
        transmitter, receiver: stubs of TransmitterService and ReceiverService.
        images: iterator, plain or asynchronous, of picture sources; at most MAX_IN_FLIGHT are read ahead.
        settings: the checked arguments of the send.
        addresses: host:port of "transmitter" and "receiver", for messages.
        process: the process of the client.
    """

    def __init__(
        self,
        transmitter: Any,
        receiver: Any,
        images: Iterator[Source] | AsyncIterator[Source],
        settings: SendOptions,
        addresses: Mapping[str, str | None],
        process: OwnProcess,
    ) -> None:
        self.session_id = uuid.uuid4().hex
        self._images, self._settings, self._process = images, settings, process
        self._frames: dict[int, SentFrame] = {}
        self._transmit_stream = TransmitStream(
            transmitter, f"transmitter at {addresses['transmitter']}", self._frames, self._request, self._take_event,
            ReconnectPolicy(0.0, settings.patience_s),
        )  # fmt: skip
        self._subscribe_stream = SubscribeStream(
            receiver, f"receiver at {addresses['receiver']}", self.session_id, settings.on_preview is not None,
            settings.goal, self._take_picture,
            ReconnectPolicy(min(FIRST_PATIENCE_S, settings.patience_s), settings.patience_s),
        )  # fmt: skip
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._next = settings.first_index
        self._end: int | None = None
        self._input_error: BaseException | None = None
        self._error: BaseException | None = None
        self._changed = asyncio.Event()
        self._sending = asyncio.create_task(self._guard(self._transmit()))
        jobs = (self._feed(), self._subscribe_stream.run(), self._watch_for_lost())
        self._tasks = [self._sending, *(asyncio.create_task(self._guard(job)) for job in jobs)]

    async def next(self) -> SendResult | None:
        """Return the result of the next frame, None after the last.

        Raises:
            GoComError: a service is out of reach or refuses.
            Exception: whatever the caller's iterator raised, after the results of the frames before, or on_preview.
        """
        self._process.check()
        while True:
            if self._end is not None and self._next >= self._end:
                await self._finish()
                if self._input_error is not None:
                    raise self._input_error
                return None
            frame = self._frames.get(self._next)
            remaining = self._remaining_seconds(frame)
            if frame is not None and (frame.settled or remaining <= 0):
                return await self._take_result(frame)
            if self._error is not None:
                raise self._error
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), min(remaining, STREAM_DEADLINE_S))
            except TimeoutError:
                continue

    async def close(self) -> None:
        """Cancel all tasks, and drop the frames that have no result yet. In a fork of the process it does nothing."""
        if not self._process.is_this:
            return
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _transmit(self) -> None:
        """Run the Transmit stream. A goal has to hold before the first picture is sent."""
        if self._settings.goal is not None:
            await self._subscribe_stream.subscribed.wait()
        await self._transmit_stream.run()

    async def _finish(self) -> None:
        """Half-close the Transmit stream, and wait up to FINISH_S for the transmitter to end it."""
        self._transmit_stream.finish()
        await asyncio.wait({self._sending}, timeout=FINISH_S)

    async def _take_result(self, frame: SentFrame) -> SendResult:
        """Return the result of the next frame, and make room for another. A frame that is not settled has timed out."""
        late = f"timeout: neither picture nor error within {self._settings.timeout_s:g} s"
        result = await asyncio.to_thread(frame.result, self.session_id, self._settings.codec, late)
        # Only now: if the wait above is cancelled, a further call of next() must still find the frame.
        del self._frames[frame.index]
        self._next += 1
        self._slots.release()
        return result

    def _remaining_seconds(self, frame: SentFrame | None) -> float:
        """Return the seconds until the frame is given up."""
        if frame is None:
            return STREAM_DEADLINE_S
        now = time.perf_counter()
        if frame.failure is not None:
            return frame.last_heard + GRACE_S - now
        return frame.started + self._settings.timeout_s - now

    async def _guard(self, job: Any) -> None:
        """Run a job, and keep its exception for the caller of next()."""
        try:
            with told_if_closed(self._process):
                await job
        except BaseException as error:  # a callback of the caller may raise anything, even SystemExit
            if was_cancelled():
                raise
            self._error = self._error or error
            self._changed.set()

    async def _feed(self) -> None:
        """Read the images, as far as there is room, and queue them for the Transmit stream."""
        index = self._next
        try:
            while True:
                await self._slots.acquire()
                source = await self._take_image()
                if source is _END:
                    break
                self._frames[index] = await asyncio.to_thread(SentFrame.load, index, source, self._settings.size)
                index += 1
                self._changed.set()
                self._transmit_stream.wake()
        except BaseException as error:  # raised by the caller's iterator
            if was_cancelled():
                raise
            self._input_error = error
        self._end = index
        self._changed.set()

    async def _take_image(self) -> Any:
        """Return the next picture, _END after the last. It is whatever the caller gave, None too."""
        if isinstance(self._images, AsyncIterator):
            return await anext(self._images, _END)
        return await in_daemon_thread(next, self._images, _END)

    def _request(
        self, frame: SentFrame, resumption: transmitter_pb2.Resumption.ValueType
    ) -> transmitter_pb2.TransmitRequest:
        settings = self._settings
        request = transmitter_pb2.TransmitRequest(
            session_id=self.session_id,
            frame_index=frame.index,
            image=frame.image_bytes,
            link=link_to_proto(settings.link),
            seed=settings.seed,
            budget_bytes=settings.budget_bytes or 0,
            resumption=resumption,
        )
        rounds = RoundSettings(
            settings.max_rounds, settings.round_budget_bytes or 0, settings.feedback_policy, settings.quality_target
        )
        if rounds != RoundSettings():
            request.rounds.CopyFrom(rounds_to_proto(rounds))
        if settings.power_allocation is not PowerAllocation.EQUAL:
            kinds = transmitter_pb2.PowerAllocation.DESCRIPTOR
            number = enum_from_name(kinds, settings.power_allocation.value, "power_allocation")
            request.power_allocation = cast(transmitter_pb2.PowerAllocation.ValueType, number)
        if settings.unequal_protection is not None:
            request.unequal_protection.share = settings.unequal_protection
        codec_to_proto(settings.codec, settings.options, request.codec)
        return request

    def _take_event(self, event: transmitter_pb2.TransmitResponse) -> None:
        frame = self._frames.get(event.frame_index)
        if frame is not None:
            frame.take_event(event)
            self._changed.set()

    async def _take_picture(self, picture: receiver_pb2.Reconstruction) -> None:
        frame = self._frames.get(picture.frame_index)
        if picture.final:
            if frame is not None:
                frame.take_final(picture)
                self._changed.set()
        elif self._settings.on_preview is not None and picture.image_png:
            try:
                image = await asyncio.to_thread(
                    decode_image, picture.image_png, field_name="preview", max_side_px=MAX_SIDE_PX
                )
            except InvalidInput:  # the final picture may still be one
                return
            self._settings.on_preview(Preview(picture.frame_index, picture.step, image))

    async def _watch_for_lost(self) -> None:
        """Hand over again each completed frame whose picture does not arrive: its receiver has died or dropped it."""
        while True:
            await asyncio.sleep(LOST_S / 4)
            since = self._subscribe_stream.live_since
            if since is None:
                continue
            for frame in self._frames.values():
                # Longer with each repetition: the picture may only be slow to arrive.
                patience = LOST_S * 2**frame.repeats
                if frame.lacks_picture and time.perf_counter() - max(frame.last_heard, since) > patience:
                    frame.hand_over_again()
                    self._transmit_stream.wake()
