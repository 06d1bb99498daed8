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

from common.errors import DecodeFailed, GoComError, InvalidInput, NotReady
from common.logs import frame_id, get_logger
from common.metrics import FRAMES, PACKETS, ROUNDS, SECONDS
from common.types import FrameHeader, Ints, LinkSettings, ReceivedMessage, Reconstruction
from gocom.v1 import link_pb2, receiver_pb2
from receiver.assembly import RoundAssembler
from receiver.decoding import OnPreview, Outcome, Undecoded, failure_to_proto, picture_to_proto, unpack
from receiver.feedback import wanted_elements
from receiver.frames import Frame, Job, Outside
from receiver.sessions import SessionRecord

log = get_logger("receiver")

_SERVICE = "receiver"


class LinkSession:
    """State of one link stream after its SessionOpen."""

    def __init__(self, session_id: str, link: LinkSettings, seed: int, record: SessionRecord, outside: Outside) -> None:
        self.session_id, self.link, self.seed = session_id, link, seed
        self.responses: asyncio.Queue[link_pb2.SendResponse | None] = asyncio.Queue()
        self._record, self._outside = record, outside
        self._assembler = RoundAssembler(outside.settings.max_frame_bytes, outside.settings.max_frame_packets)
        self._frames: dict[int, Frame] = {}
        self._current: Frame | None = None
        self._kept: receiver_pb2.Reconstruction | None = None
        self._skipping = False
        self._gone = False
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
        drained = asyncio.create_task(self._outside.drained.wait())
        try:
            await asyncio.wait({reading, drained}, return_when=asyncio.FIRST_COMPLETED)
            if drained.done() and not reading.done():
                between = asyncio.ensure_future(self._between.wait())
                await asyncio.wait({reading, between}, return_when=asyncio.FIRST_COMPLETED)
                between.cancel()
                reading.cancel()
            (refused,) = await asyncio.gather(reading, return_exceptions=True)
            if isinstance(refused, Exception):
                raise refused
            if drained.done():
                await self._end_asking()
            await self._idle.wait()
            if drained.done():
                raise NotReady("receiver: shutting down; frames without an outcome were not taken")
        finally:
            reading.cancel()
            drained.cancel()
            await asyncio.gather(reading, drained, return_exceptions=True)
            self.responses.put_nowait(None)

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
            open_frame = self._frames.get(request.header.frame_index)
            header = self._assembler.begin(request.header, open_frame.asked if open_frame else {})
            self._begin(header, request.header.repeated)
        elif item == "batch":
            self._assembler.add(request.batch)
        else:
            arrived = self._assembler.end(request.end)
            if self._kept is not None:
                self._answer(self._kept)
                return
            self._pending += 1
            self._idle.clear()
            if self._current is not None:
                self._current.ended += 1
            await self._outside.jobs.put(Job(self, self._current, arrived))

    def _refuse(self, index: int, error: GoComError) -> None:
        """What came of a frame is not valid: it ends with what there was before, if there was anything."""
        log.warning("frame refused", frame_id=frame_id(self.session_id, index), reason=str(error))
        self._assembler.reset()
        frame = self._frames.get(index)
        if frame is not None and frame.result is not None:
            self._finish(frame)
            return
        if frame is not None and frame.ended == frame.begun:
            return  # all that came of it before is in work, and will have its outcome
        if frame is not None:
            del self._frames[index]
            self._check_idle()
        refused = failure_to_proto(index, [], str(error))
        refused.status = link_pb2.FRAME_STATUS_REFUSED
        if self._record.find(index) is None:
            self._record.add(refused, self)
        self._answer(refused)

    def _begin(self, header: FrameHeader, repeated: bool) -> None:
        index = header.frame_index
        frame = self._frames.get(index)
        self._kept = self._record.find(index) if frame is None else None
        if frame is None and header.round == 0:
            if not repeated:
                if self._kept is not None and self._record.writer_of(self._kept) is self:
                    raise InvalidInput(f"header.frame_index: {index} was sent before in the session")
                self._kept = None  # of an earlier stream by the same name
            if self._kept is None:
                frame = self._frames[index] = Frame(header, repeated)
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

    async def take_round(self, job: Job) -> Undecoded | None:
        """Unpack a round and acknowledge it; None where there is nothing to decode. Called by the decode loop.

        Neither this nor `conclude` raises for what the wire brought.
        """
        frame, arrived = job.frame, job.arrived
        try:
            start = time.perf_counter()
            message = await self._outside.decoders.run(partial(unpack, arrived, self.link))
            unpack_s = time.perf_counter() - start
            self._acknowledge(message)
        except Exception as error:
            self._fail(job, error)
            return None
        if frame is None or self._frames.get(arrived.header.frame_index) is not frame:
            return None
        frame.rounds.append(message)
        rounds = tuple(frame.rounds)
        show = self._show(rounds, unpack_s) if self._record.preview_subscribers else None
        return Undecoded(rounds, self.seed, unpack_s, show)

    def conclude(self, job: Job, outcome: Outcome) -> None:
        """Finish a frame with what the decoder made of all rounds so far, or ask for more."""
        frame = job.frame
        assert frame is not None
        try:
            if isinstance(outcome, DecodeFailed):
                # Where nets are missing (NotReady) more packets would not help: only this may be mended.
                frame.result = failure_to_proto(frame.header.frame_index, frame.rounds, str(outcome))
                self._decide(frame, None)
            elif isinstance(outcome, Exception):
                self._fail(job, outcome)
            else:
                picture, frame.result = outcome
                for stage in frame.result.stages:
                    SECONDS.labels(_SERVICE, stage.stage).observe(stage.seconds)
                self._decide(frame, picture)
        except Exception as error:
            self._fail(job, error)

    def done(self) -> None:
        """One of the jobs is through, whatever became of it."""
        self._pending -= 1
        self._check_idle()

    def _fail(self, job: Job, error: Exception) -> None:
        log.error("round failed", frame_id=self._name(job.arrived.header), exc_info=error)
        if job.frame is not None:
            reason = str(error) if isinstance(error, GoComError) else f"internal error ({type(error).__name__})"
            job.frame.result = failure_to_proto(job.arrived.header.frame_index, job.frame.rounds, reason)
            self._finish(job.frame)

    def _acknowledge(self, message: ReceivedMessage) -> None:
        header = message.frame
        PACKETS.labels(_SERVICE, "received").inc(message.packets_received)
        PACKETS.labels(_SERVICE, "erased").inc(message.packets_sent - message.packets_received)
        ROUNDS.labels(_SERVICE, header.codec).inc()
        log.info(
            "round received",
            frame_id=self._name(header),
            round=header.round,
            packets_sent=message.packets_sent,
            packets_received=message.packets_received,
        )
        ack = link_pb2.FrameAck(
            frame_index=header.frame_index, round=header.round, packets_received=message.packets_received
        )
        self.responses.put_nowait(link_pb2.SendResponse(ack=ack))

    def _show(self, rounds: tuple[ReceivedMessage, ...], unpack_s: float) -> OnPreview:
        loop = asyncio.get_running_loop()

        def show(picture: Reconstruction) -> None:
            loop.call_soon_threadsafe(self._record.preview, picture_to_proto(rounds, picture, unpack_s))

        return show

    def _decide(self, frame: Frame, picture: Reconstruction | None) -> None:
        """Finish the frame, or ask for more."""
        if self._frames.get(frame.header.frame_index) is not frame:
            return
        waiting = sum(1 for other in self._frames.values() if other.asking is not None and not other.asking.done())
        wanted = wanted_elements(frame.rounds, picture)
        if not wanted or self._gone or waiting >= self._outside.settings.open_frames:
            self._finish(frame)
            return
        frame.next_round, frame.asked = asyncio.Event(), wanted
        frame.asking = asyncio.create_task(self._ask(frame, wanted))

    async def _ask(self, frame: Frame, wanted: dict[int, Ints]) -> None:
        start = time.perf_counter()
        try:
            if await self._outside.feedback.ask(self.session_id, frame.rounds, wanted, self.link):
                async with asyncio.timeout(self._outside.settings.feedback_timeout_s):
                    await frame.next_round.wait()
                return
        except TimeoutError:
            log.warning("further round did not come", frame_id=self._name(frame.header), rounds=len(frame.rounds))
        except Exception as error:  # the frame still has its picture, and its outcome must go out
            log.error("feedback failed", frame_id=self._name(frame.header), exc_info=error)
        finally:
            frame.feedback_s += time.perf_counter() - start
        # The round may have begun while the answer was lost.
        if not frame.next_round.is_set():
            self._finish(frame)

    def _finish(self, frame: Frame) -> None:
        """Tell both sides how the frame ended, once."""
        index = frame.header.frame_index
        result = frame.result
        if self._frames.get(index) is not frame or result is None:
            return
        del self._frames[index]
        if frame.feedback_s:
            result.stages.add(stage="feedback", seconds=frame.feedback_s)
        # A link that was cut may bring a frame twice, and both may be decoded; subscribers get one picture of it.
        if not ((frame.repeated or self._gone) and self._record.find(index)):
            self._record.add(result, self)
        self._answer(result)
        status = link_pb2.FrameStatus.Name(result.status).removeprefix("FRAME_STATUS_").lower()
        FRAMES.labels(_SERVICE, frame.header.codec, status).inc()
        log.info("frame ended", frame_id=self._name(frame.header), status=status, rounds=result.rounds)
        self._check_idle()

    def _answer(self, result: receiver_pb2.Reconstruction) -> None:
        outcome = link_pb2.FrameOutcome(
            frame_index=result.frame_index, status=result.status, reason=result.reason, rounds=result.rounds
        )
        self.responses.put_nowait(link_pb2.SendResponse(outcome=outcome))

    def _check_idle(self) -> None:
        if not self._pending and not self._frames:
            self._idle.set()

    async def close(self) -> None:
        """The stream is gone: frames that wait for more are finished with what they have, for subscribers."""
        self._gone = True
        await self._end_asking()

    async def _end_asking(self) -> None:
        for frame in list(self._frames.values()):
            if frame.asking is not None:
                frame.asking.cancel()
                await asyncio.gather(frame.asking, return_exceptions=True)
                self._finish(frame)

    def _name(self, header: FrameHeader) -> str:
        return frame_id(self.session_id, header.frame_index)
