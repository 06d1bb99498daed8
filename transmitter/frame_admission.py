"""From a client's request to a frame that waits for its encoder, and from the outbox to the same."""

from __future__ import annotations

import asyncio
import random

from gocom.common.errors import GoComError, InvalidInput
from gocom.common.types import LinkSettings
from gocom.common.wire.messages import link_to_proto
from gocom.transmitter.frame_encoding import FrameRequest, read_request
from gocom.transmitter.frame_table import Frame, FrameTable
from gocom.transmitter.outbox import Outbox
from gocom.v1 import transmitter_pb2

MAX_BEGUN = 10
"""Runs of the service in which a frame is begun: one whose encoding kills the process must not do so for ever."""


class Intake:
    """Frames of a session that are to be encoded.

    Args:
        frames: of the session; link, seed: its own.
        outbox: keeps what is accepted.
        queue_frames: images that wait at most. Few, since they are large; frames that begin again bring none.
    """

    def __init__(self, frames: FrameTable, link: LinkSettings, seed: int, outbox: Outbox, queue_frames: int) -> None:
        self._frames, self._link, self._seed, self._outbox = frames, link, seed, outbox
        self._images = asyncio.Semaphore(queue_frames)
        self._waiting: asyncio.Queue[Frame] = asyncio.Queue()
        self._submitting = asyncio.Lock()

    async def submit(self, request: transmitter_pb2.TransmitRequest) -> None:
        """Take one image. A bad one fails its frame only. Raises InvalidInput for a frame index that was used."""
        # One at a time: two streams may bring the same frame, while one takes the session over from the other.
        async with self._submitting:
            await self._frames.room()
            await self._outbox.room()
            if not await self._told_again(request):
                await self._images.acquire()
                await self._take(request)

    async def recover(self, index: int, begun: int) -> None:
        """Go on with a frame that the outbox kept while the service was down.

        Args:
            index: of the frame.
            begun: in how many runs of the service it was begun before.
        """
        frame = self._frames.add(index)
        frame.repeated, frame.begun = True, begun
        try:
            self._accept(frame, await self.load(frame))
            if begun >= MAX_BEGUN:
                raise GoComError(f"the transmitter stopped {begun} times after it had begun the frame")
        except Exception as error:
            self._frames.fail_by(frame, error)
            return
        self.again(frame)

    def again(self, frame: Frame) -> None:
        """Queue a frame whose image the outbox has."""
        self._waiting.put_nowait(frame)

    async def next(self) -> tuple[Frame, FrameRequest | None]:
        """The frame to encode now. Where its request is None, `load` gives it."""
        frame = await self._waiting.get()
        request, frame.request = frame.request, None
        if request is not None:
            self._images.release()
        if not frame.cuts:
            await self._outbox.begin(self._frames.session_id, frame.index, frame.begun + 1)
        return frame, request

    async def load(self, frame: Frame) -> FrameRequest:
        """What was asked for, out of the outbox. Raises GoComError when it is not there."""
        request = await self._outbox.request(self._frames.session_id, frame.index)
        return await asyncio.to_thread(read_request, request, self._link)

    async def _take(self, request: transmitter_pb2.TransmitRequest) -> None:
        """Check and keep a frame that is new, and queue it. Holds a permit of `_images`."""
        index, name = request.frame_index, self._frames.session_id
        try:
            frame = self._frames.add(index)
        except InvalidInput:
            self._images.release()
            raise
        frame.repeated = bool(request.resumption)
        try:
            read = await asyncio.to_thread(read_request, request, self._link)
            await self._outbox.accept(name, index, self._complete(request))
        except asyncio.CancelledError:
            # Not accepted: who sends it again sends it as new.
            self._images.release()
            self._outbox.forget(name, index)
            self._frames.drop(frame)
            raise
        except Exception as error:
            self._images.release()
            self._frames.fail_by(frame, error)
            return
        self._accept(frame, read)
        frame.request = read
        self._waiting.put_nowait(frame)

    async def _told_again(self, request: transmitter_pb2.TransmitRequest) -> bool:
        """Whether the frame is known, and the client has been told what became of it. Raises InvalidInput."""
        index = request.frame_index
        frame = self._frames.get(index)
        if frame is not None and request.resumption:
            self._frames.replay(frame.history)
            return True
        ended = await self._outbox.ended(self._frames.session_id, index)
        if ended is None or request.resumption == transmitter_pb2.RESUMPTION_REPEAT:
            return False
        if not request.resumption:
            raise InvalidInput(f"frame_index: {index} was used before in the session")
        self._frames.replay(ended)
        return True

    def _complete(self, request: transmitter_pb2.TransmitRequest) -> transmitter_pb2.TransmitRequest:
        """The request with all that its session knows: it must make sense on its own after a restart."""
        whole = transmitter_pb2.TransmitRequest()
        whole.CopyFrom(request)
        whole.session_id, whole.seed = self._frames.session_id, self._seed
        whole.link.CopyFrom(link_to_proto(self._link))
        return whole

    def _accept(self, frame: Frame, read: FrameRequest) -> None:
        frame.codec, frame.rounds = read.codec, read.goal.rounds
        height, width = read.image.shape[1:]
        number = random.getrandbits(32)
        accepted = transmitter_pb2.FrameAccepted(width_px=width, height_px=height, acceptance=number)
        self._frames.emit(frame, accepted=accepted)
