"""One link stream at the receiver: rounds in, acks and outcomes out, pictures into the session's record.

    items --assemble--> round --queue--> unpack, decode (worker thread) --enough--> outcome + record
                          ^                        |
                          +------ transmitter <--ask for more

The queue is shared by all streams and bounded; while it is full the stream is not read, and flow control holds back
the sender. Nothing in the queue waits for the network: a frame that asked for more leaves it until its round comes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

from gocom.common.errors import DecodeFailed, GoComError, InvalidInput, NotReady
from gocom.common.logs import get_logger
from gocom.common.service_metrics import PACKETS, ROUNDS, SECONDS
from gocom.common.types import FrameHeader, LinkSettings, ReceivedMessage, Reconstruction
from gocom.receiver.frame_decoding import OnPreview, Outcome, Undecoded, failure_to_proto, picture_to_proto, unpack
from gocom.receiver.frame_table import FrameTable
from gocom.receiver.frames import DecodeJob, Frame, LinkDependencies
from gocom.receiver.round_assembly import RoundAssembler
from gocom.receiver.session_records import SessionRecord
from gocom.v1 import link_pb2, receiver_pb2

log = get_logger("receiver")

_SERVICE = "receiver"


class LinkSession:
    """State of one link stream after its SessionOpen."""

    def __init__(
        self, session_id: str, link: LinkSettings, seed: int, record: SessionRecord, dependencies: LinkDependencies
    ) -> None:
        self.session_id, self.link, self.seed = session_id, link, seed
        self.frames = FrameTable(session_id, link, record, dependencies, self._check_idle)
        self._record, self._dependencies = record, dependencies
        self._assembler = RoundAssembler(dependencies.settings.max_frame_bytes, dependencies.settings.max_frame_packets)
        self._current: Frame | None = None
        self._kept: receiver_pb2.Reconstruction | None = None
        self._skipping = False
        self._pending = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._between = asyncio.Event()
        self._between.set()

    async def read(self, requests: AsyncIterator[link_pb2.SendRequest]) -> None:
        """Take items to the end of the stream, or until the service stops, and wait for the frames they brought.

        Raises:
            InvalidInput: an item that belongs to no frame.
            NotReady: the service stops; frames without an outcome were not taken.
        """
        reading = asyncio.create_task(self._take_all(requests))
        drained = asyncio.create_task(self._dependencies.drained.wait())
        try:
            await asyncio.wait({reading, drained}, return_when=asyncio.FIRST_COMPLETED)
            if drained.done() and not reading.done():
                # Again and again: by the time this is told of a pause the next frame may have begun.
                while not (reading.done() or self._between.is_set()):
                    between = asyncio.ensure_future(self._between.wait())
                    await asyncio.wait({reading, between}, return_when=asyncio.FIRST_COMPLETED)
                    between.cancel()
                reading.cancel()
            (refused,) = await asyncio.gather(reading, return_exceptions=True)
            if isinstance(refused, Exception):
                raise refused
            if drained.done():
                await self.frames.drain()
            await self._idle.wait()
            if drained.done():
                raise NotReady("receiver: shutting down; frames without an outcome were not taken")
        finally:
            reading.cancel()
            drained.cancel()
            await asyncio.gather(reading, drained, return_exceptions=True)
            self.frames.responses.put_nowait(None)

    async def _take_all(self, requests: AsyncIterator[link_pb2.SendRequest]) -> None:
        async for request in requests:
            self._between.clear()
            await self._take(request)
            if self._assembler.within is None and not self._skipping:
                self._between.set()
        if self._assembler.within is not None:
            raise InvalidInput(f"end: missing; the stream ended in frame {self._assembler.within.frame_index}")

    async def _take(self, request: link_pb2.SendRequest) -> None:
        """Take an item. What is wrong with a frame ends that frame; only what belongs to none ends the stream."""
        item = request.WhichOneof("item")
        if item == "open":
            raise InvalidInput("open: the session is open already")
        if item is None:
            raise InvalidInput("item: not set; there are open, header, batch, end")
        if self._skipping and item != "header":
            self._skipping = item != "end"
            return
        self._skipping = False
        within = self._assembler.within
        if item == "header" and within is not None:
            error = InvalidInput(f"header: comes before the end of frame {within.frame_index}")
            self._refuse(within.frame_index, error)
        index = request.header.frame_index if item == "header" else within.frame_index if within is not None else None
        try:
            await self._take_of_frame(item, request)
        except GoComError as error:
            if index is None:
                raise
            self._skipping = item != "end"
            self._refuse(index, error)

    async def _take_of_frame(self, item: str, request: link_pb2.SendRequest) -> None:
        if item == "header":
            open_frame = self.frames.get(request.header.frame_index)
            header = self._assembler.begin(request.header, open_frame.asked if open_frame else {})
            self._begin(header, request.header.repeated)
        elif item == "batch":
            self._assembler.add(request.batch)
        else:
            arrived = self._assembler.end(request.end)
            if self._kept is not None:
                self.frames.answer(self._kept)
                return
            self._pending += 1
            self._idle.clear()
            if self._current is not None:
                self._current.ended += 1
            await self._dependencies.jobs.put(DecodeJob(self, self._current, arrived))

    def _begin(self, header: FrameHeader, repeated: bool) -> None:
        index = header.frame_index
        frame = self.frames.get(index)
        self._kept = self._record.find(index) if frame is None else None
        if frame is None and header.round == 0:
            if repeated:
                for other in self._record.streams - {self.frames}:
                    other.disown(index)
            else:
                if self._kept is not None and self._record.writer_of(self._kept) is self.frames:
                    raise InvalidInput(f"header.frame_index: {index} was sent before in the session")
                self._kept = None  # of an earlier stream by the same name
            if self._kept is None:
                frame = self.frames.add(header, repeated)
                self._idle.clear()
        elif frame is not None:
            first = frame.header
            if header.round != frame.begun:
                raise InvalidInput(f"header.round: {header.round} of frame {index}, expected {frame.begun}")
            if (header.codec, header.width_px, header.height_px) != (first.codec, first.width_px, first.height_px):
                raise InvalidInput(f"header: codec or size of frame {index} changed in round {header.round}")
            frame.begun += 1
            frame.next_round.set()
        elif self._kept is None:
            raise InvalidInput(f"header.round: {header.round} of frame {index}, whose first round never came")
        else:
            self._kept = None  # a promised round that came after its frame was finished; acknowledged, and no more
        self._current = frame

    async def take_round(self, job: DecodeJob) -> Undecoded | None:
        """Unpack a round and acknowledge it; None where there is nothing to decode. Called by the decode loop.

        Neither this nor `conclude` raises for what the wire brought.
        """
        frame, arrived = job.frame, job.arrived
        try:
            start = time.perf_counter()
            message = await self._dependencies.decoders.run(partial(unpack, arrived, self.link))
            unpack_s = time.perf_counter() - start
            self._record.link.add(message.packet_bytes)
            self._acknowledge(message)
        except Exception as error:
            self.give_up(job, error)
            return None
        if frame is None or not self.frames.is_open(frame):
            return None
        frame.rounds.append(message)
        rounds = tuple(frame.rounds)
        show = self._show(rounds, unpack_s) if self._record.preview_subscribers else None
        return Undecoded(rounds, self.seed, unpack_s, show)

    def conclude(self, job: DecodeJob, outcome: Outcome) -> None:
        """Finish a frame with what the decoder made of all rounds so far, or ask for more."""
        frame = job.frame
        assert frame is not None
        try:
            if isinstance(outcome, DecodeFailed):
                # Where nets are missing (NotReady) more packets would not help: only this may be mended.
                frame.result = failure_to_proto(frame.header.frame_index, frame.rounds, str(outcome))
                self.frames.decide(frame, None)
            elif isinstance(outcome, Exception):
                self.give_up(job, outcome)
            else:
                picture, frame.result = outcome
                for stage in frame.result.stages:
                    SECONDS.labels(_SERVICE, stage.stage).observe(stage.seconds)
                self.frames.decide(frame, picture)
        except Exception as error:
            self.give_up(job, error)

    def give_up(self, job: DecodeJob, error: Exception) -> None:
        """The frame of a round fails, unless it has ended."""
        log.error("round failed", frame_id=self.frames.name(job.arrived.header.frame_index), exc_info=error)
        if job.frame is not None and self.frames.is_open(job.frame):
            reason = str(error) if isinstance(error, GoComError) else f"internal error ({type(error).__name__})"
            job.frame.result = failure_to_proto(job.arrived.header.frame_index, job.frame.rounds, reason)
            self.frames.finish(job.frame)

    def done(self) -> None:
        """One of the jobs is through, whatever became of it."""
        self._pending -= 1
        self._check_idle()

    def _acknowledge(self, message: ReceivedMessage) -> None:
        header = message.frame
        PACKETS.labels(_SERVICE, "received").inc(message.packets_received)
        PACKETS.labels(_SERVICE, "erased").inc(message.packets_sent - message.packets_received)
        ROUNDS.labels(_SERVICE, header.codec).inc()
        log.info(
            "round received",
            frame_id=self.frames.name(header.frame_index),
            round=header.round,
            packets_sent=message.packets_sent,
            packets_received=message.packets_received,
        )
        ack = link_pb2.FrameAck(
            frame_index=header.frame_index, round=header.round, packets_received=message.packets_received
        )
        self.frames.responses.put_nowait(link_pb2.SendResponse(ack=ack))

    def _show(self, rounds: tuple[ReceivedMessage, ...], unpack_s: float) -> OnPreview:
        loop = asyncio.get_running_loop()

        def show(picture: Reconstruction) -> None:
            loop.call_soon_threadsafe(self._record.preview, picture_to_proto(rounds, picture, unpack_s))

        return show

    def _refuse(self, index: int, error: GoComError) -> None:
        self._assembler.reset()
        self.frames.refuse(index, error)

    def _check_idle(self) -> None:
        if not self._pending and not len(self.frames):
            self._idle.set()
