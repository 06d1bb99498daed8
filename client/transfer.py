"""One send: images go to the transmitter, pictures come from the receiver, results leave in order.

images --feed--> Uplink (Transmit) --events--+
                                             +--> SentFrame by index --next()--> SendResult
                Downlink (Subscribe) --------+

Both streams are opened again when they are cut. Frames that have not ended are handed over once more, and so are those
whose picture the receiver lost; both services know a frame again by session and index.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gocom.client.picture_input import Size, Source, load_picture
from gocom.client.results import Preview, SendResult
from gocom.client.sent_frames import SentFrame
from gocom.client.stream_errors import Patience
from gocom.client.subscribe_stream import Downlink
from gocom.client.transmit_stream import Uplink
from gocom.common.image_files import decode_image
from gocom.common.rpc.client_channels import STREAM_DEADLINE_S
from gocom.common.types import FeedbackPolicy, LinkSettings, Parameters, PowerAllocation, RoundSettings
from gocom.common.wire.enums import enum_from_name
from gocom.common.wire.messages import codec_to_proto, link_to_proto, set_rounds
from gocom.v1 import receiver_pb2, transmitter_pb2

MAX_IN_FLIGHT = 4
"""Images handed over and not yet taken by the caller."""
GRACE_S = 2.0
"""Wait for the receiver's account of a frame that the transmitter already called lost."""
FIRST_PATIENCE_S = 15.0
"""How long a receiver that never answered may be out of reach; a transmitter must be there at once."""
LOST_S = 2.0
"""A picture that has not come so long after it was made, with the subscription standing, is not kept any more."""
FINISH_S = 2.0
"""How long the transmitter may take to end a stream that has no frames left."""


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
        self._images, self._wanted = images, wanted
        self._frames: dict[int, SentFrame] = {}
        self._uplink = Uplink(
            transmitter, f"transmitter at {addresses['transmitter']}", self._frames, self._request, self._take_event,
            Patience(0.0, wanted.patience_s),
        )  # fmt: skip
        self._downlink = Downlink(
            receiver, f"receiver at {addresses['receiver']}", self.session_id, wanted.on_preview is not None,
            self._take_picture, Patience(min(FIRST_PATIENCE_S, wanted.patience_s), wanted.patience_s),
        )  # fmt: skip
        self._slots = asyncio.Semaphore(MAX_IN_FLIGHT)
        self._next = wanted.first_index
        self._end: int | None = None
        self._input_error: Exception | None = None
        self._error: Exception | None = None
        self._changed = asyncio.Event()
        self._sending = asyncio.create_task(self._guard(self._uplink.run()))
        jobs = (self._feed(), self._downlink.run(), self._watch_for_lost())
        self._tasks = [self._sending, *(asyncio.create_task(self._guard(job)) for job in jobs)]

    async def next(self) -> SendResult | None:
        """The next frame's result, None after the last. Raises GoComError when the services cannot go on."""
        while True:
            if self._end is not None and self._next >= self._end:
                await self._finish()
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
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _finish(self) -> None:
        """Let the transmitter end its stream by itself."""
        self._uplink.finish()
        await asyncio.wait({self._sending}, timeout=FINISH_S)

    async def _settle(self, frame: SentFrame) -> SendResult:
        late = f"timeout: neither picture nor error within {self._wanted.timeout_s:g} s"
        result = await asyncio.to_thread(frame.result, self.session_id, self._wanted.codec, late)
        # Not before: a caller that gives up waiting may ask again.
        del self._frames[frame.index]
        self._next += 1
        self._slots.release()
        return result

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
        except Exception as error:
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
                self._uplink.wake()
        except Exception as error:  # of the caller's iterator, or a picture that cannot be read
            self._input_error = error
        self._end = index
        self._changed.set()

    async def _take_image(self) -> Source | None:
        if isinstance(self._images, AsyncIterator):
            return await anext(self._images, None)
        return await asyncio.to_thread(next, self._images, None)

    def _request(
        self, frame: SentFrame, resumption: transmitter_pb2.Resumption.ValueType
    ) -> transmitter_pb2.TransmitRequest:
        wanted = self._wanted
        request = transmitter_pb2.TransmitRequest(
            session_id=self.session_id,
            frame_index=frame.index,
            image=frame.picture.data,
            link=link_to_proto(wanted.link),
            seed=wanted.seed,
            budget_bytes=wanted.budget_bytes or 0,
            resumption=resumption,
        )
        rounds = RoundSettings(
            wanted.max_rounds, wanted.round_budget_bytes or 0, wanted.feedback_policy, wanted.quality_target
        )
        set_rounds(request, rounds)
        if wanted.power_allocation is not PowerAllocation.EQUAL:
            kinds = transmitter_pb2.PowerAllocation.DESCRIPTOR
            request.power_allocation = enum_from_name(kinds, wanted.power_allocation.value, "power_allocation")
        if wanted.unequal_protection is not None:
            request.unequal_protection.share = wanted.unequal_protection
        codec_to_proto(wanted.codec, wanted.options, request)
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
        elif self._wanted.on_preview is not None and picture.image_png:
            image = await asyncio.to_thread(decode_image, picture.image_png, field_name="preview")
            self._wanted.on_preview(Preview(picture.frame_index, picture.step, image))

    async def _watch_for_lost(self) -> None:
        """Hand frames over again whose picture was made and is not there: its receiver died, or has dropped it."""
        while True:
            await asyncio.sleep(LOST_S / 4)
            since = self._downlink.live_since
            if since is None:
                continue
            for frame in self._frames.values():
                # Longer each time: it may as well be on its way, and slow.
                patience = LOST_S * 2**frame.repeats
                if frame.lacks_picture and time.perf_counter() - max(frame.ended, since) > patience:
                    frame.hand_over_again()
                    self._uplink.wake()
