"""One Transmit stream: its frames, from image to terminal event.

    request --read--> frame --encode (worker thread)--> round --send--> link --ack, outcome--> events
                                                          ^
                        SendFeedback --refine (worker)----+

A frame is encoded while the one before is sent; both queues are bounded.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import Any

from common.account import ByteAccount
from common.errors import BudgetTooSmall, GoComError
from common.feedback import exchange_bytes
from common.logs import get_logger
from common.metrics import BYTES, PACKETS, ROUNDS, SECONDS
from common.settings import TransmitterSettings
from common.types import Feedback, LinkSettings
from common.wire import link_to_proto
from gocom.v1 import feedback_pb2, link_pb2, transmitter_pb2
from transmitter.encoding import EncodedRound, Encoders, encode_first, encode_next, read_request
from transmitter.feedback import Answers, check_feedback, refusal
from transmitter.frames import INTERNAL, LINK, UNDECODABLE, Frame, FrameTable
from transmitter.link import ChannelStateSource, LinkStream

log = get_logger("transmitter")

_SERVICE = "transmitter"


@dataclass(frozen=True, slots=True)
class Outside:
    """What all sessions of a transmitter share.

    Attributes:
        encoders: the worker that encodes.
        stub: LinkServiceStub of the next hop.
        csi: where channel state comes from.
        knowledge: fingerprints for the handshake.
    """

    settings: TransmitterSettings
    encoders: Encoders
    stub: Any
    csi: ChannelStateSource
    knowledge: list[link_pb2.KnowledgeHash]


class TransmitSession:
    """State of one Transmit stream; session_id, link and seed are those of its first request."""

    def __init__(self, session_id: str, link: LinkSettings, seed: int, outside: Outside) -> None:
        self.link, self.seed = link, seed
        self.frames = FrameTable(session_id, outside.settings.open_frames)
        self._outside = outside
        self._to_encode: asyncio.Queue[Frame] = asyncio.Queue(outside.settings.queue_frames)
        self._to_send: asyncio.Queue[tuple[Frame, EncodedRound]] = asyncio.Queue(outside.settings.queue_frames)
        self._sending: Frame | None = None
        self._stream: LinkStream | None = None
        self._answers = Answers()
        self._tasks = [asyncio.create_task(self._encode_all()), asyncio.create_task(self._send_all())]

    async def submit(self, request: transmitter_pb2.TransmitRequest) -> None:
        """Take one image. A bad one fails its frame only. Raises InvalidInput for a frame index that was used."""
        frame = await self.frames.add(request.frame_index)
        try:
            read = await asyncio.to_thread(read_request, request, self.link)
            frame.request, frame.codec = read, read.codec
            frame.rounds = read.goal.rounds
            height, width = read.image.shape[1:]
            self.frames.emit(frame, accepted=transmitter_pb2.FrameAccepted(width_px=width, height_px=height))
            await self._to_encode.put(frame)
        except asyncio.CancelledError:
            self.frames.fail(frame, INTERNAL, "the transmitter is shutting down")
            raise
        except Exception as error:
            self.frames.fail_by(frame, error)

    async def finish(self) -> None:
        """Wait until every frame has its terminal event, end the link, and let the events end."""
        await self.frames.idle.wait()
        if self._stream is not None:
            await self._stream.finish()
        self.frames.events.put_nowait(None)

    async def close(self) -> None:
        """Drop everything that is not finished."""
        self.frames.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._answers.close()
        if self._stream is not None:
            await self._stream.close()

    async def feedback(self, request: feedback_pb2.SendFeedbackRequest) -> feedback_pb2.SendFeedbackResponse:
        """Queue a further round. A repeat, even while the first is in work, gets its answer. Raises InvalidInput."""
        frame = self.frames.get(request.frame_index)
        silence = feedback_pb2.SendFeedbackResponse()
        if frame is not None:  # before the answer: also what is refused, or ends a frame, was sent
            frame.feedback_bytes += exchange_bytes(request, silence)
        answer = await self._answer(request, frame)
        if frame is not None:
            frame.feedback_bytes += exchange_bytes(request, answer) - exchange_bytes(request, silence)
        return answer

    async def _answer(
        self, request: feedback_pb2.SendFeedbackRequest, frame: Frame | None
    ) -> feedback_pb2.SendFeedbackResponse:
        key = (request.frame_index, request.round)
        if (first := await self._answers.repeat(key)) is not None:
            return first
        if frame is None or frame.header is None:
            return refusal(f"frame {request.frame_index} is not open")
        if frame.last_round != request.round:
            return refusal(f"round {request.round} is not the last one; that is {frame.last_round}")
        if request.round + 1 >= frame.rounds.max_rounds:
            return refusal(f"the frame has {frame.rounds.max_rounds} rounds at most")
        feedback = check_feedback(request, frame.header, self.link, frame.rounds.round_budget_bytes)
        return await self._answers.make(key, self._refine(frame, feedback))

    async def _refine(self, frame: Frame, feedback: Feedback) -> feedback_pb2.SendFeedbackResponse:
        session = frame.session
        if session is None:
            return refusal(f"frame {frame.index} is not open")
        try:
            encoded = await self._outside.encoders.run(
                lambda: encode_next(lambda: session.refine(feedback), self.link, feedback.budget_bytes)
            )
        except BudgetTooSmall as error:
            return refusal(str(error))
        except Exception as error:
            log.error("refine failed", frame_id=self.frames.name(frame), exc_info=error)
            return refusal(f"the encoder failed ({type(error).__name__})")
        if encoded is None:
            return refusal("the encoder has nothing to add")
        if not self.frames.is_open(frame):
            return refusal(f"frame {frame.index} is not open any more")
        frame.last_round = encoded.header.round
        self._watch(frame)
        named = sum(int(spans[:, 1].sum()) for spans in feedback.wanted.values())
        self.frames.emit(frame, feedback=transmitter_pb2.FeedbackTaken(round=feedback.round, elements_named=named))
        await self._to_send.put((frame, encoded))
        return feedback_pb2.SendFeedbackResponse(will_send=True)

    async def _encode_all(self) -> None:
        while True:
            frame = await self._to_encode.get()
            request, frame.request = frame.request, None
            assert request is not None
            encoders = self._outside.encoders
            try:
                csi = await self._outside.csi.get()
                frame.session, encoded = await encoders.run(partial(encode_first, encoders, request, csi))
            except Exception as error:
                self.frames.fail_by(frame, error)
                continue
            frame.header, frame.last_round = encoded.header, 0
            await self._to_send.put((frame, encoded))

    async def _send_all(self) -> None:
        while True:
            frame, encoded = await self._to_send.get()
            if not self.frames.is_open(frame):
                continue
            self._sending, frame.on_link = frame, True
            self._watch(frame)
            try:
                link = await self._connected()
                await link.send(encoded.items[:-1])
                # Before the end mark leaves: its answer may be back before a write returns, and ends the frame.
                self._tell_sent(frame, encoded)
                await link.send(encoded.items[-1:])
            except Exception as error:
                if not isinstance(error, GoComError):
                    log.error("sending failed", frame_id=self.frames.name(frame), exc_info=error)
                await self._drop_link(error)
            finally:
                self._sending = None

    async def _connected(self) -> LinkStream:
        if self._stream is None:
            self._stream = LinkStream(self._outside.stub, self._on_response, self._on_link_end)
            opening = link_pb2.SessionOpen(
                session_id=self.frames.session_id,
                link=link_to_proto(self.link),
                knowledge=self._outside.knowledge,
                seed=self.seed,
            )
            await self._stream.open(opening)
        return self._stream

    async def _drop_link(self, error: Exception) -> None:
        """The link is of no more use; the next frame opens it anew."""
        stream, self._stream = self._stream, None
        self.frames.fail_on_link(error)
        if stream is not None:
            await stream.close()

    def _on_link_end(self, error: GoComError) -> None:
        self._stream = None
        self.frames.fail_on_link(error)

    def _on_response(self, response: link_pb2.SendResponse) -> None:
        item = response.WhichOneof("item")
        if item == "ack":
            ack = response.ack
            if (frame := self.frames.get(ack.frame_index)) is not None:
                self._watch(frame)
                received = transmitter_pb2.RoundReceived(round=ack.round, packets_received=ack.packets_received)
                self.frames.emit(frame, received=received)
        elif item == "outcome":
            outcome = response.outcome
            if (frame := self.frames.get(outcome.frame_index)) is None:
                return
            if outcome.status == link_pb2.FRAME_STATUS_RECONSTRUCTED:
                self.frames.complete(frame, outcome.rounds)
            else:
                self.frames.fail(frame, UNDECODABLE, outcome.reason)

    def _watch(self, frame: Frame) -> None:
        self.frames.watch(frame, self._outside.settings.outcome_timeout_s, self._on_silence)

    def _on_silence(self, frame: Frame) -> None:
        seconds = self._outside.settings.outcome_timeout_s
        self.frames.fail(frame, LINK, f"link: nothing was heard of the frame for {seconds:g} s")
        # Stuck in the middle of a write: nothing behind it can go out either.
        if self._sending is frame and self._stream is not None:
            self._stream.cancel()

    def _tell_sent(self, frame: Frame, encoded: EncodedRound) -> None:
        BYTES.labels(_SERVICE).inc(encoded.bytes.total_bytes)
        PACKETS.labels(_SERVICE, "sent").inc(encoded.packets)
        ROUNDS.labels(_SERVICE, frame.codec).inc()
        SECONDS.labels(_SERVICE, "encode").observe(encoded.seconds)
        round_, cost = encoded.header.round, encoded.bytes
        log.info(
            "round sent",
            frame_id=self.frames.name(frame),
            round=round_,
            packets=encoded.packets,
            bytes=cost.total_bytes,
        )
        sent = transmitter_pb2.RoundSent(
            round=round_,
            bytes=_account_to_proto(cost),
            packets=encoded.packets,
            encode_seconds=encoded.seconds,
        )
        self.frames.emit(frame, sent=sent)


def _account_to_proto(cost: ByteAccount) -> transmitter_pb2.ByteAccount:
    message = transmitter_pb2.ByteAccount(total_bytes=cost.total_bytes, header_bytes=cost.header_bytes)
    for name, count in cost.by_segment.items():
        message.segments.add(name=name, bytes=count, repair_bytes=cost.repair_by_segment.get(name, 0))
    return message
