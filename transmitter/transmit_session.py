"""One client session at the transmitter: its frames from image to terminal event.

    request --read--> outbox --> frame --encode (worker thread)--> round --send--> link --ack, outcome--> events
                                   ^                                 ^      |
                                   |    SendFeedback --refine--------+      |
                                   +------------ the link is cut -----------+

A frame is encoded while the previous one is sent; the queues are bounded. Accepted frames go on after the client has
disconnected, and a client that resumes the session gets their events.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from gocom.common.csi import Csi
from gocom.common.errors import BudgetTooSmall, GoComError, InvalidInput, NotReady
from gocom.common.logs import get_logger
from gocom.common.rounds import with_requested_spans
from gocom.common.settings import TransmitterSettings
from gocom.common.types import Budget, Feedback, FrameHeader, Goal, LinkSettings, StreamPosition
from gocom.common.wire.feedback import answer_bytes, check_attempt
from gocom.common.wire.frame_headers import WIRE_VERSION, defaults_to_proto, stream_position
from gocom.common.wire.frame_messages import link_to_proto
from gocom.transmitter.channel_state import ChannelStateSource
from gocom.transmitter.feedback_handling import AnsweredFeedback, check_feedback, count_attempts, refusal
from gocom.transmitter.frame_admission import FrameAdmission
from gocom.transmitter.frame_encoding import (
    EncodedRound,
    Encoders,
    adapts_to_channel,
    encode_first,
    encode_next,
    for_stream,
)
from gocom.transmitter.frame_table import INVALID, LINK, UNDECODABLE, ClientStream, Frame, FrameTable
from gocom.transmitter.link_connection import LinkConnection, is_transient
from gocom.transmitter.outbox import Outbox
from gocom.transmitter.round_sent_event import count_sent, sent_event
from gocom.v1 import feedback_pb2, link_pb2, transmitter_pb2

log = get_logger("transmitter")

MAX_CUTS = 10
"""Cuts of the link after which a frame fails, so that a frame that kills the receiver is not sent again for ever."""


@dataclass(frozen=True, slots=True)
class TransmitDependencies:
    """Objects that all sessions of a transmitter share.

    Attributes:
        settings: settings of the transmitter.
        encoders: worker that runs the encoders.
        link_stub: LinkServiceStub of the next hop.
        channel_state: source of the channel state.
        knowledge: hashes of the models that this end holds, for SessionOpen.
        outbox: store of accepted frames.
    """

    settings: TransmitterSettings
    encoders: Encoders
    link_stub: Any
    channel_state: ChannelStateSource
    knowledge: list[link_pb2.KnowledgeHash]
    outbox: Outbox


class TransmitSession:
    """State of one session. Its session_id, link settings and seed are those of its first request."""

    def __init__(self, session_id: str, link: LinkSettings, seed: int, dependencies: TransmitDependencies) -> None:
        self.link, self.seed = link, seed
        self.frames = FrameTable(session_id, dependencies.settings.open_frames, self._on_frame_end)
        self._dependencies = dependencies
        self._admission = FrameAdmission(
            self.frames, link, seed, dependencies.outbox, dependencies.settings.queue_frames
        )
        self._send_queue: asyncio.Queue[tuple[Frame, int, EncodedRound]] = asyncio.Queue(
            dependencies.settings.queue_frames
        )
        self._sending: Frame | None = None
        self._position: StreamPosition | None = None
        self._told: set[int] = set()  # frames whose client knows that the link is down
        # The first frame that is encoded completes the opening; no stream is opened before.
        self._opening = link_pb2.SessionOpen(
            session_id=session_id, link=link_to_proto(link), knowledge=dependencies.knowledge, seed=seed,
            wire_version=WIRE_VERSION,
        )  # fmt: skip
        patience_s = dependencies.settings.link_patience_s
        self._link = LinkConnection(
            dependencies.link_stub, self._opening, patience_s, self._on_response, self._on_cut, self._on_down
        )
        self._answers = AnsweredFeedback()
        self._tasks = [asyncio.create_task(self._encode_all()), asyncio.create_task(self._send_all())]

    async def submit(self, request: transmitter_pb2.TransmitRequest) -> None:
        """Take one image; see FrameAdmission.submit."""
        await self._admission.submit(request)

    async def recover(self, index: int, earlier_starts: int) -> None:
        """Resume a frame that the outbox kept; see FrameAdmission.recover."""
        await self._admission.recover(index, earlier_starts)

    def attach_stream(self) -> ClientStream:
        """Direct events to a new stream and return it. A previous stream ends with InvalidInput."""
        if (previous := self.frames.client_stream) is not None:
            previous.end(InvalidInput("session_id: a newer stream has taken the session over"))
        stream = ClientStream()
        self.frames.attach(stream)
        return stream

    def detach_stream(self, stream: ClientStream) -> None:
        """Detach a stream that has ended, unless another one has replaced it."""
        if self.frames.client_stream is stream:
            self.frames.attach(None)

    async def finish(self) -> None:
        """Wait until every frame has its terminal event, then end the link stream."""
        await self.frames.idle.wait()
        await self._link.finish()

    async def close(self) -> None:
        """Drop all frames that have not ended. The outbox keeps them."""
        self.frames.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._answers.close()
        await self._link.close()

    async def feedback(self, request: feedback_pb2.SendFeedbackRequest) -> feedback_pb2.SendFeedbackResponse:
        """Queue the further round that feedback asks for, and return the answer to it.

        A repeated message gets the answer to the first one, even while that is still being made. Raises InvalidInput.
        """
        check_attempt(request)
        frame = self.frames.get(request.frame_index)
        if frame is not None:  # before answering: feedback that is refused or ends the frame was sent, too
            count_attempts(frame, request)
        answer = await self._answer(request, frame)
        if frame is not None:
            frame.feedback_bytes += answer_bytes(answer)
        return answer

    async def _answer(
        self, request: feedback_pb2.SendFeedbackRequest, frame: Frame | None
    ) -> feedback_pb2.SendFeedbackResponse:
        key = (request.frame_index, request.round)
        if (first := await self._answers.repeat(key)) is not None:
            return first
        if frame is None:
            return refusal(f"frame {request.frame_index} is not open")
        if not frame.headers:
            raise NotReady(f"frame {frame.index} begins again")
        if frame.last_round != request.round:
            return refusal(f"round {request.round} is not the last one; that is {frame.last_round}")
        if request.round + 1 >= frame.rounds.max_rounds:
            return refusal(f"the frame has {frame.rounds.max_rounds} rounds at most")
        feedback = check_feedback(request, frame.headers, self.link)
        self._dependencies.channel_state.add_report(feedback.link)
        return await self._answers.make(key, self._refine(frame, feedback))

    async def _refine(self, frame: Frame, feedback: Feedback) -> feedback_pb2.SendFeedbackResponse:
        session, cuts = frame.session, frame.cuts
        if session is None:
            return refusal(f"frame {frame.index} is not open")
        position = frame.headers[0].position
        try:
            csi = await self._channel_state(frame, feedback.round + 1, session.adapts_to_channel)
            budget = Budget.smallest(feedback.budget_bytes, frame.rounds.round_budget_bytes)
            work = partial(encode_next, session, feedback, self.link, csi, budget, position)
            encoded = await self._dependencies.encoders.run(work)
        except BudgetTooSmall as error:
            return refusal(str(error))
        except Exception as error:
            log.error("refine failed", frame_id=self.frames.name(frame), exc_info=error)
            return refusal(f"the encoder failed ({type(error).__name__})")
        if encoded is None:
            return refusal("the encoder has nothing to add")
        if not self.frames.is_open(frame):
            return refusal(f"frame {frame.index} is not open any more")
        if frame.cuts != cuts:
            raise NotReady(f"frame {frame.index} begins again")
        frame.last_round = encoded.header.round
        frame.headers.append(with_requested_spans(encoded.header, feedback.wanted))
        self._restart_timer(frame)
        named = sum(int(spans[:, 1].sum()) for spans in feedback.wanted.values())
        taken = transmitter_pb2.FeedbackTaken(
            round=feedback.round, elements_named=named, labels=feedback.labels, text=feedback.text or ""
        )
        self.frames.emit(frame, feedback=taken)
        await self._send_queue.put((frame, cuts, encoded))
        return feedback_pb2.SendFeedbackResponse(will_send=True)

    async def _channel_state(self, frame: Frame, round_: int, adapts: bool) -> Csi:
        """Return the channel state for a round of a frame that is about to be encoded.

        The emulator is asked again if the round follows from the state, because the channel may have changed since the
        last answer.
        """
        payload_bytes = self.link.max_payload_bytes
        return await self._dependencies.channel_state.get(frame.index, round_, payload_bytes, refresh=adapts)

    async def _encode_all(self) -> None:
        encoders = self._dependencies.encoders
        while True:
            frame, request = await self._admission.next()
            try:
                request = request or await self._admission.load(frame)
                request = replace(request, goal=self._in_stream(request.goal))
                csi = await self._channel_state(frame, 0, await adapts_to_channel(encoders, request))
                work = partial(encode_first, encoders, request, csi)
                frame.session, encoded = await encoders.run(work)
                self._settle_position(encoded.header)
            except Exception as error:
                self.frames.fail_with(frame, error)
                continue
            frame.headers, frame.last_round = [encoded.header], 0
            await self._send_queue.put((frame, frame.cuts, encoded))

    def _in_stream(self, goal: Goal) -> Goal:
        """Return a goal that knows the session's defaults and the frame that was encoded before."""
        if self._position is None:
            return replace(goal, last_frame=-1)
        return replace(goal, defaults=self._position.defaults, last_frame=self._position.last_frame)

    def _settle_position(self, header: FrameHeader) -> None:
        """Let the session have the defaults of its first frame, and note that later frames follow this one."""
        if self._position is None:
            self._position = stream_position(header)
            self._opening.defaults.CopyFrom(defaults_to_proto(self._position.defaults))
        self._position = replace(self._position, last_frame=header.frame_index)

    async def _send_all(self) -> None:
        while True:
            frame, cuts, encoded = await self._send_queue.get()
            try:
                link = await self._link.get_stream()
                self._told.clear()
            except Exception as error:
                self.frames.fail(frame, LINK, str(error))
                continue
            if not self.frames.is_open(frame) or frame.cuts != cuts:
                continue
            first = not encoded.header.round
            assert self._position is not None
            position = replace(self._position, last_frame=link.last_frame)
            try:
                encoded = for_stream(encoded, position, repeated=first and frame.repeated)
            except Exception as error:
                self.frames.fail_with(frame, error)
                continue
            self._sending, frame.on_link = frame, True
            self._restart_timer(frame)
            try:
                if first:
                    link.last_frame = frame.index
                await link.send(encoded.items[:-1])
                if frame.cuts != cuts:
                    continue
                # Before the end mark is sent: the outcome may arrive before the write returns, and ends the frame.
                self._report_sent(frame, encoded)
                await link.send(encoded.items[-1:])
            except Exception as error:
                if not isinstance(error, GoComError):
                    log.error("sending failed", frame_id=self.frames.name(frame), exc_info=error)
                await self._link.drop(error)
            finally:
                self._sending = None

    def _on_cut(self, error: Exception) -> None:
        """Retry all frames on a link that was cut. A frame fails if the error is permanent or it was cut too often."""
        for frame in self.frames.frames_on_link():
            if not is_transient(error):
                self.frames.fail(frame, LINK, str(error))
            elif frame.cuts >= MAX_CUTS:
                self.frames.fail(frame, LINK, f"link: cut {frame.cuts + 1} times with the frame on it, last: {error}")
            else:
                self._answers.forget(frame.index)
                self.frames.retry(frame, str(error))
                self._admission.requeue(frame)

    def _on_down(self, error: BaseException) -> None:
        """Tell the client once why each of its frames waits, which it may do for less time than this end."""
        for frame in self.frames.open_frames():
            if frame.index not in self._told:
                self._told.add(frame.index)
                self.frames.emit(frame, retried=transmitter_pb2.FrameRetried(reason=str(error)))

    def _on_response(self, response: link_pb2.SendResponse) -> None:
        item = response.WhichOneof("item")
        if item == "ack":
            ack = response.ack
            if (frame := self.frames.get(ack.frame_index)) is not None:
                self._restart_timer(frame)
                received = transmitter_pb2.RoundReceived(round=ack.round, packets_received=ack.packets_received)
                self.frames.emit(frame, received=received)
        elif item == "outcome":
            outcome = response.outcome
            if (frame := self.frames.get(outcome.frame_index)) is None:
                return
            if outcome.status == link_pb2.FRAME_STATUS_RECONSTRUCTED:
                self.frames.complete(frame, outcome.rounds)
            elif outcome.status == link_pb2.FRAME_STATUS_REFUSED:
                self.frames.fail(frame, INVALID, f"receiver: {outcome.reason}")
            else:
                self.frames.fail(frame, UNDECODABLE, outcome.reason)

    def _on_frame_end(self, frame: Frame) -> None:
        self._dependencies.outbox.end(self.frames.session_id, frame.index, frame.history)

    def _restart_timer(self, frame: Frame) -> None:
        self.frames.restart_timer(frame, self._dependencies.settings.outcome_timeout_s, self._on_silence)

    def _on_silence(self, frame: Frame) -> None:
        seconds = self._dependencies.settings.outcome_timeout_s
        self.frames.fail(frame, LINK, f"link: nothing was heard of the frame for {seconds:g} s")
        # A write of this frame is blocked, and no later frame can be sent on this stream either.
        if self._sending is frame:
            self._link.cancel()

    def _report_sent(self, frame: Frame, encoded: EncodedRound) -> None:
        count_sent(frame.codec, encoded)
        log.info(
            "round sent", frame_id=self.frames.name(frame), round=encoded.header.round, packets=encoded.packets,
            bytes=encoded.bytes.total_bytes,
        )  # fmt: skip
        self.frames.emit(frame, sent=sent_event(encoded, self._link.handshake_bytes))
