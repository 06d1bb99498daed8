"""One link stream at the receiver: rounds in, acks and outcomes out, pictures into the session's record.

    items --assemble--> round --queue--> unpack, decode (worker thread) --enough--> outcome + record
                          ^                        |
                          +------ transmitter <--request more

All streams share one bounded queue. While it is full no stream is read, and flow control slows down the senders. No job
in the queue waits for the network: a frame that needs a further round is queued again only when that round arrives.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from functools import partial

from gocom.common.errors import DecodeFailed, GoComError, InvalidInput, NotReady
from gocom.common.logs import get_logger
from gocom.common.service_metrics import PACKETS, ROUNDS, SECONDS
from gocom.common.types import FrameDefaults, FrameHeader, LinkSettings, ReceivedMessage, Reconstruction, StreamPosition
from gocom.common.wire.frame_headers import frame_index_of
from gocom.receiver.frame_decoding import DecodeInput, OnPreview, Outcome, failure_to_proto, picture_to_proto, unpack
from gocom.receiver.frame_table import FrameTable
from gocom.receiver.link_state import DecodeJob, Frame, LinkDependencies
from gocom.receiver.round_assembly import RoundAssembler
from gocom.receiver.session_pictures import SessionRecord
from gocom.v1 import link_pb2, receiver_pb2

log = get_logger("receiver")

_SERVICE = "receiver"


class LinkSession:
    """State of one link stream after its SessionOpen.

    Attributes:
        session_id, link, seed: as in SessionOpen.
        frames: open frames of the stream.
    """

    def __init__(
        self, session_id: str, link: LinkSettings, defaults: FrameDefaults, seed: int, record: SessionRecord,
        dependencies: LinkDependencies,
    ) -> None:  # fmt: skip
        self.session_id, self.link, self.seed = session_id, link, seed
        self.frames = FrameTable(session_id, link, record, dependencies, self._check_idle)
        self._record, self._dependencies = record, dependencies
        settings = dependencies.settings
        self._assembler = RoundAssembler(defaults, settings.max_frame_bytes, settings.max_frame_packets)
        self._current_frame: Frame | None = None
        self._earlier_result: receiver_pb2.Reconstruction | None = None
        self._skipping_frame = False
        self._pending = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._between_rounds = asyncio.Event()
        self._between_rounds.set()

    async def read(self, requests: AsyncIterator[link_pb2.SendRequest]) -> None:
        """Read items until the stream ends or the service stops, then wait for their frames.

        Raises:
            InvalidInput: an item belongs to no frame.
            NotReady: the service stops; frames without an outcome were not taken.
        """
        reading = asyncio.create_task(self._process_all(requests))
        drained = asyncio.create_task(self._dependencies.draining.wait())
        try:
            await asyncio.wait({reading, drained}, return_when=asyncio.FIRST_COMPLETED)
            if drained.done() and not reading.done():
                # In a loop: when this task wakes up after a round, the next round may have begun already.
                while not (reading.done() or self._between_rounds.is_set()):
                    between = asyncio.ensure_future(self._between_rounds.wait())
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

    async def _process_all(self, requests: AsyncIterator[link_pb2.SendRequest]) -> None:
        async for request in requests:
            self._between_rounds.clear()
            await self._process(request)
            if self._assembler.open_header is None and not self._skipping_frame:
                self._between_rounds.set()
        if self._assembler.open_header is not None:
            raise InvalidInput(f"end: missing; the stream ended in frame {self._assembler.open_header.frame_index}")

    async def _process(self, request: link_pb2.SendRequest) -> None:
        """Process an item. An invalid item ends its frame; only an item that belongs to no frame ends the stream."""
        item = request.WhichOneof("item")
        if item == "open":
            raise InvalidInput("open: the session is open already")
        if item is None:
            raise InvalidInput("item: not set; there are open, header, batch, end")
        if self._skipping_frame and item != "header":
            self._skipping_frame = item != "end"
            return
        self._skipping_frame = False
        open_header = self._assembler.open_header
        if item == "header" and open_header is not None:
            error = InvalidInput(f"header: comes before the end of frame {open_header.frame_index}")
            self._refuse(open_header.frame_index, error)
        index: int | None = None if open_header is None else open_header.frame_index
        position: StreamPosition | None = None
        if item == "header":
            index, position = self._assembler.advance(request.header)
        try:
            if position is not None:
                self._process_header(request.header, position)
            else:
                await self._process_packets(item, request)
        except GoComError as error:
            if index is None:
                raise
            self._skipping_frame = item != "end"
            self._refuse(index, error)

    def _process_header(self, message: link_pb2.FrameHeader, position: StreamPosition) -> None:
        open_frame = self.frames.get(frame_index_of(message, position.last_frame))
        header = self._assembler.begin(message, position, open_frame.requested if open_frame else {})
        self._begin(header, message.repeated)

    async def _process_packets(self, item: str, request: link_pb2.SendRequest) -> None:
        if item == "batch":
            self._assembler.add(request.batch)
        else:
            arrived = self._assembler.end()
            if self._earlier_result is not None:
                self.frames.answer(self._earlier_result)
                return
            self._pending += 1
            self._idle.clear()
            if self._current_frame is not None:
                self._current_frame.rounds_ended += 1
            await self._dependencies.decode_queue.put(DecodeJob(self, self._current_frame, arrived))

    def _begin(self, header: FrameHeader, repeated: bool) -> None:
        index = header.frame_index
        frame = self.frames.get(index)
        self._earlier_result = self._record.find(index) if frame is None else None
        if frame is None and header.round == 0:
            if repeated:
                for other in self._record.streams - {self.frames}:
                    other.hand_over(index)
            else:
                if self._earlier_result is not None and self._record.writer_of(self._earlier_result) is self.frames:
                    raise InvalidInput(f"header.frame_index: {index} was sent before in the session")
                self._earlier_result = None  # belongs to an earlier session of the same name
            if self._earlier_result is None:
                frame = self.frames.add(header, repeated)
                self._idle.clear()
        elif frame is not None:
            first = frame.header
            if header.round != frame.rounds_begun:
                raise InvalidInput(f"header.round: {header.round} of frame {index}, expected {frame.rounds_begun}")
            if (header.codec, header.width_px, header.height_px) != (first.codec, first.width_px, first.height_px):
                raise InvalidInput(f"header: codec or size of frame {index} changed in round {header.round}")
            if not frame.awaits_round:
                raise InvalidInput(f"header.round: {header.round} of frame {index} was not asked for")
            frame.rounds_begun += 1
            frame.next_round.set()
        elif self._earlier_result is None:
            raise InvalidInput(f"header.round: {header.round} of frame {index}, whose first round never came")
        else:
            self._earlier_result = None  # a requested round that arrived after its frame had ended is only acknowledged
        self._current_frame = frame

    async def unpack_round(self, job: DecodeJob) -> DecodeInput | None:
        """Unpack a round and acknowledge it; return the frame to decode, or None if there is nothing to decode.

        The decode loop calls this. Neither this method nor `conclude` raises for anything that came over the wire.
        """
        frame, arrived = job.frame, job.arrived
        try:
            start = time.perf_counter()
            message = await self._dependencies.decoders.run(partial(unpack, arrived, self.link))
            unpack_s = time.perf_counter() - start
            self._record.link.add(message.packet_bytes)
            self._acknowledge(message)
        except Exception as error:
            if frame is not None:
                frame.goal = self._record.goal
            self.fail_frame(job, error)
            return None
        if frame is None or not self.frames.is_open(frame):
            return None
        frame.rounds.append(message)
        rounds = tuple(frame.rounds)
        frame.goal = self._record.goal
        watched = self._record.preview_subscribers
        show = self._preview_callback(rounds, unpack_s, frame.goal.revision) if watched else None
        return DecodeInput(rounds, self.seed, unpack_s, show, frame.goal.goal)

    async def conclude(self, job: DecodeJob, outcome: Outcome) -> None:
        """Finish a frame with the result of decoding all of its rounds so far, or request a further round."""
        frame = job.frame
        assert frame is not None
        try:
            if isinstance(outcome, DecodeFailed):
                # Only for DecodeFailed may more packets help; for missing nets (NotReady) they do not.
                frame.result = failure_to_proto(
                    frame.header.frame_index, frame.rounds, str(outcome), frame.goal.revision
                )
                await self.frames.finish_or_request_round(frame, None, None)
            elif isinstance(outcome, Exception):
                self.fail_frame(job, outcome)
            else:
                frame.result = outcome.message
                frame.result.goal_revision = frame.goal.revision
                for stage in frame.result.stages:
                    SECONDS.labels(_SERVICE, stage.stage).observe(stage.seconds)
                await self.frames.finish_or_request_round(frame, outcome.picture, outcome.task_result)
        except Exception as error:
            self.fail_frame(job, error)

    def fail_frame(self, job: DecodeJob, error: Exception) -> None:
        """Let the frame of a round fail, unless it has ended."""
        name = self.frames.name(job.arrived.header.frame_index)
        if isinstance(error, GoComError):
            log.error("round failed", frame_id=name, error=str(error))
        else:
            log.error("round failed", frame_id=name, exc_info=error)
        if job.frame is not None and self.frames.is_open(job.frame):
            reason = str(error) if isinstance(error, GoComError) else f"internal error ({type(error).__name__})"
            job.frame.result = failure_to_proto(
                job.arrived.header.frame_index, job.frame.rounds, reason, job.frame.goal.revision
            )
            self.frames.finish(job.frame)

    def job_done(self) -> None:
        """Note that a job was processed, successfully or not."""
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

    def _preview_callback(self, rounds: tuple[ReceivedMessage, ...], unpack_s: float, goal_revision: int) -> OnPreview:
        loop = asyncio.get_running_loop()

        def show(picture: Reconstruction) -> None:
            message = picture_to_proto(rounds, picture, unpack_s)
            message.goal_revision = goal_revision
            loop.call_soon_threadsafe(self._record.preview, message)

        return show

    def _refuse(self, index: int, error: GoComError) -> None:
        self._assembler.reset()
        self.frames.refuse(index, error)

    def _check_idle(self) -> None:
        if not self._pending and not len(self.frames):
            self._idle.set()
