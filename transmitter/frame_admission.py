"""Admission of frames to the encoder's queue: new requests of the client, and requests that the outbox kept."""

from __future__ import annotations

import asyncio
import random

from gocom.common.errors import GoComError, InvalidInput
from gocom.common.types import LinkSettings
from gocom.common.wire.frame_messages import link_to_proto
from gocom.transmitter.frame_encoding import FrameRequest, read_request
from gocom.transmitter.frame_table import Frame, FrameTable
from gocom.transmitter.outbox import Outbox
from gocom.v1 import transmitter_pb2

MAX_STARTS = 10
"""Runs of the service in which a frame may be started, so that a frame whose encoding kills the process is not encoded
again for ever."""


class FrameAdmission:
    """Checks the requests of a session, keeps them in the outbox and queues their frames for the encoder.

    Args:
        frames: frame table of the session.
        link: link settings of the session.
        seed: seed of the session.
        outbox: store of accepted frames.
        queue_frames: maximum number of images in the queue. It is small because images are large; restarted frames do
            not count, because their images stay in the outbox.
    """

    def __init__(self, frames: FrameTable, link: LinkSettings, seed: int, outbox: Outbox, queue_frames: int) -> None:
        self._frames, self._link, self._seed, self._outbox = frames, link, seed, outbox
        self._images = asyncio.Semaphore(queue_frames)
        self._waiting: asyncio.Queue[Frame] = asyncio.Queue()
        self._submitting = asyncio.Lock()

    async def submit(self, request: transmitter_pb2.TransmitRequest) -> None:
        """Take one image; an invalid one fails only its frame.

        Raises InvalidInput for a frame index that was used before.
        """
        # Serialized: while one stream takes the session over from another, both may bring the same frame.
        async with self._submitting:
            await self._frames.wait_for_room()
            await self._outbox.wait_for_room()
            if not await self._replay_known(request):
                await self._images.acquire()
                await self._admit(request)

    async def recover(self, index: int, earlier_starts: int) -> None:
        """Resume a frame that the outbox kept while the service was down.

        Args:
            index: frame index.
            earlier_starts: number of earlier runs of the service in which the frame reached the encoder.
        """
        frame = self._frames.add(index)
        frame.repeated, frame.earlier_starts = True, earlier_starts
        try:
            self._emit_accepted(frame, await self.load(frame))
            if earlier_starts >= MAX_STARTS:
                raise GoComError(f"the transmitter stopped {earlier_starts} times after it had begun the frame")
        except Exception as error:
            self._frames.fail_with(frame, error)
            return
        self.requeue(frame)

    def requeue(self, frame: Frame) -> None:
        """Queue a frame whose image is in the outbox."""
        self._waiting.put_nowait(frame)

    async def next(self) -> tuple[Frame, FrameRequest | None]:
        """Wait for the next frame to encode, and return it with its request.

        The request is None if it has to be read from the outbox with `load`.
        """
        frame = await self._waiting.get()
        request, frame.request = frame.request, None
        if request is not None:
            self._images.release()
        if not frame.cuts:
            await self._outbox.record_start(self._frames.session_id, frame.index, frame.earlier_starts + 1)
        return frame, request

    async def load(self, frame: Frame) -> FrameRequest:
        """Return the request of a frame from the outbox. Raises GoComError if the outbox does not have it."""
        request = await self._outbox.request(self._frames.session_id, frame.index)
        return await asyncio.to_thread(read_request, request, self._link)

    async def _admit(self, request: transmitter_pb2.TransmitRequest) -> None:
        """Check a new request, keep it in the outbox and queue its frame. The caller holds a permit of `_images`."""
        index, name = request.frame_index, self._frames.session_id
        try:
            frame = self._frames.add(index)
        except InvalidInput:
            self._images.release()
            raise
        frame.repeated = bool(request.resumption)
        try:
            read = await asyncio.to_thread(read_request, request, self._link)
            await self._outbox.accept(name, index, self._with_session_settings(request))
        except asyncio.CancelledError:
            # The frame was not accepted, so the client sends it again as a new one.
            self._images.release()
            self._outbox.forget(name, index)
            self._frames.remove(frame)
            raise
        except Exception as error:
            self._images.release()
            self._frames.fail_with(frame, error)
            return
        self._emit_accepted(frame, read)
        frame.request = read
        self._waiting.put_nowait(frame)

    async def _replay_known(self, request: transmitter_pb2.TransmitRequest) -> bool:
        """Replay the events of a frame that is known and return True; return False for a frame to admit.

        Raises InvalidInput if the index was used before and the request does not resume it.
        """
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

    def _with_session_settings(self, request: transmitter_pb2.TransmitRequest) -> transmitter_pb2.TransmitRequest:
        """Return the request with the settings of its session, so that it can be read on its own after a restart."""
        complete = transmitter_pb2.TransmitRequest()
        complete.CopyFrom(request)
        complete.session_id, complete.seed = self._frames.session_id, self._seed
        complete.link.CopyFrom(link_to_proto(self._link))
        return complete

    def _emit_accepted(self, frame: Frame, read: FrameRequest) -> None:
        frame.codec, frame.rounds = read.codec, read.goal.rounds
        height, width = read.image.shape[1:]
        number = random.getrandbits(32)
        accepted = transmitter_pb2.FrameAccepted(width_px=width, height_px=height, acceptance=number)
        self._frames.emit(frame, accepted=accepted)
