"""The state of one frame that is being sent, and the result made of it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import numpy as np

from gocom.client.picture_input import Picture, Size, Source, load_picture
from gocom.client.results import FailureKind, Pixels, ProtectedSegment, SendResult
from gocom.common.byte_account import ByteAccount
from gocom.common.errors import InvalidInput
from gocom.common.image_decoding import decode_image
from gocom.common.image_files import to_float
from gocom.common.image_quality import ms_ssim, psnr_db
from gocom.common.logs import frame_id
from gocom.common.tasks import TaskResult
from gocom.common.types import MAX_SIDE_PX
from gocom.common.wire.goals import task_result_from_proto
from gocom.v1 import link_pb2, receiver_pb2, transmitter_pb2

_KINDS: dict[int, FailureKind] = {
    transmitter_pb2.FAILURE_KIND_INVALID: "invalid",
    transmitter_pb2.FAILURE_KIND_UNDECODABLE: "undecodable",
    transmitter_pb2.FAILURE_KIND_LINK: "link",
    transmitter_pb2.FAILURE_KIND_INTERNAL: "internal",
}


@dataclass(slots=True)
class SentFrame:
    """A frame from when it is queued until it has a result.

    Attributes:
        index: frame index.
        picture: the picture that is sent; None: it cannot be read, so nothing is sent.
        unreadable: why the picture cannot be read; empty if it can.
        started: time.perf_counter() when the frame was queued.
        last_heard: time.perf_counter() of the last event or picture.
        todo: resumption with which the frame has yet to be handed over (again); None: it need not be.
        handed_over: whether the frame was handed over at least once.
        bytes_resent: bytes of earlier transmissions that were cut off or whose picture was lost.
        handshake_bytes: bytes of the opening of the session's link and of the answer to it.
        account: bytes of all rounds so far of the current transmission.
        packets_sent: packets of those rounds.
        encode_seconds: encoding time of those rounds.
        rounds: number of those rounds.
        final: the receiver's final picture or refusal; None: not yet here.
        failure: the transmitter's report that the frame failed; None: there is none.
        completed: whether the transmitter has reported the frame as completed.
        protection: repair packets chosen for each segment, round by round.
        powers: least and greatest power of a packet, for each round with unequal powers.
        repeats: how often the frame was handed over again because its picture did not arrive.
        link_trouble: why the transmitter could not send the frame when it last tried; "": it could.
    """

    index: int
    picture: Picture | None
    unreadable: str = ""
    started: float = field(default_factory=time.perf_counter)
    last_heard: float = 0.0
    todo: transmitter_pb2.Resumption.ValueType | None = transmitter_pb2.RESUMPTION_UNSPECIFIED
    handed_over: bool = False
    bytes_resent: int = 0
    handshake_bytes: int = 0
    account: ByteAccount = field(default_factory=lambda: ByteAccount(0, {}, {}, 0))
    packets_sent: int = 0
    encode_seconds: float = 0.0
    rounds: int = 0
    final: receiver_pb2.Reconstruction | None = None
    failure: transmitter_pb2.FrameFailed | None = None
    completed: bool = False
    protection: list[ProtectedSegment] = field(default_factory=list)
    powers: list[tuple[float, float]] = field(default_factory=list)
    repeats: int = 0
    link_trouble: str = ""
    _acceptance: int = 0
    _resent_before: int = 0
    _sent_at: dict[int, float] = field(default_factory=dict)
    _received: dict[int, tuple[float, int]] = field(default_factory=dict)

    @classmethod
    def load(cls, index: int, source: Source, size: Size) -> SentFrame:
        """Return the frame of a picture, ready to be sent; if it cannot be read, a settled frame that says so."""
        try:
            return cls(index, load_picture(source, size))
        except InvalidInput as error:
            return cls(index, None, str(error), todo=None)

    @property
    def image_bytes(self) -> bytes:
        """The file for the transmitter."""
        return b"" if self.picture is None else self.picture.data

    @property
    def settled(self) -> bool:
        """Whether no further event or picture is expected.

        True once both services have reported the end of the frame, or once the transmitter has reported a failure of a
        kind other than UNDECODABLE, for which the receiver makes no report. Also for a picture that cannot be read.
        """
        if self.picture is None:
            return True
        if self.failure is not None and self.failure.kind != transmitter_pb2.FAILURE_KIND_UNDECODABLE:
            return True
        return (self.completed or self.failure is not None) and self.final is not None

    @property
    def lacks_picture(self) -> bool:
        """Whether the transmitter has reported a picture that has not arrived."""
        return self.completed and self.final is None and self.todo is None

    def mark_stream_lost(self) -> None:
        """Note that the Transmit stream was cut: a frame whose end was not reported on it must be handed over again."""
        if self.handed_over and self.todo is None and not self.completed and self.failure is None:
            self.todo = transmitter_pb2.RESUMPTION_RESUME

    def hand_over_again(self) -> None:
        """Have the frame sent once more, as the receiver has lost its picture."""
        self.todo, self.completed = transmitter_pb2.RESUMPTION_REPEAT, False
        self.repeats += 1

    def take_event(self, event: transmitter_pb2.TransmitResponse) -> None:
        """Update the frame with an event of the transmitter."""
        self.last_heard = time.perf_counter()
        kind = event.WhichOneof("event")
        if kind == "accepted":
            # The transmitter repeats all events of a resumed frame: with the acceptance known here, count them anew but
            # do not count the same bytes as resent.
            again = event.accepted.resumed and event.accepted.acceptance == self._acceptance
            resent = self._resent_before if again else self.bytes_resent + self.account.total_bytes
            self._reset_counts(resent)
            self._resent_before, self._acceptance = resent, event.accepted.acceptance
        elif kind == "retried":
            self._reset_counts(self.bytes_resent + self.account.total_bytes)
            self.link_trouble = event.retried.reason
        elif kind == "sent":
            self.link_trouble = ""
            cost = event.sent.bytes
            self.account += ByteAccount(
                cost.header_bytes,
                {s.name: s.bytes for s in cost.segments},
                {s.name: s.repair_bytes for s in cost.segments},
                cost.payload_bytes,
            )
            self.handshake_bytes = max(self.handshake_bytes, cost.handshake_bytes)
            self.packets_sent += event.sent.packets
            self.encode_seconds += event.sent.encode_seconds
            self.rounds += 1
            self._note_delivery(event.sent)
            self._sent_at[event.sent.round] = self.last_heard
        elif kind == "received":
            self._received[event.received.round] = self.last_heard, event.received.packets_received
        elif kind == "completed":
            self.completed = True
            self.account.feedback_bytes = event.completed.feedback_bytes
        elif kind == "failed":
            self.failure = event.failed
            self.account.feedback_bytes = event.failed.feedback_bytes

    def _note_delivery(self, sent: transmitter_pb2.RoundSent) -> None:
        self.protection += [
            ProtectedSegment(
                sent.round, s.name, s.source_packets, s.repair_packets, s.importance, s.loss_without, s.loss_with
            )
            for s in sent.protection
        ]
        if sent.HasField("power"):
            self.powers.append((sent.power.least, sent.power.greatest))

    def _reset_counts(self, bytes_resent: int) -> None:
        """Begin to count a new transmission; bytes_resent: bytes of all before it."""
        self.bytes_resent = bytes_resent
        self.account = ByteAccount(0, {}, {}, 0)
        self.packets_sent = self.rounds = 0
        self.encode_seconds = 0.0
        self.failure, self.completed = None, False
        self._sent_at, self._received = {}, {}
        self.protection, self.powers = [], []

    def take_final(self, picture: receiver_pb2.Reconstruction) -> None:
        """Update the frame with the final picture, or refusal, of the receiver."""
        self.last_heard = time.perf_counter()
        self.final = picture

    def result(self, session_id: str, codec: str, timed_out: str = "") -> SendResult:
        """Decode the picture, measure it, and return the result. This takes time: run it outside of the event loop.

        A frame whose picture or result of a task is none that a receiver may send has failed: the kind is "internal".

        Args:
            session_id: id of the send's session.
            codec: name of the send's codec.
            timed_out: reason to give for a frame without an outcome.
        """
        image, provenance, reason = None, None, self._reason(timed_out)
        failure: FailureKind = self._failure_kind() if reason else ""
        task_result = None
        try:
            task_result = self._task_result()
            if not reason and self.final is not None:
                name = "reconstruction.image_png"
                image = decode_image(self.final.image_png, field_name=name, max_side_px=MAX_SIDE_PX)
                provenance = _decode_grey_png(self.final.provenance_png)
        except InvalidInput as error:  # what the receiver made, not what the caller gave
            image = None
            if not reason:
                reason, failure = str(error), "internal"
        original = None if self.picture is None else self.picture.pixels
        height, width = (0, 0) if original is None else original.shape[:2]
        arrived = sum(count for _, count in self._received.values())
        sent, received = None, None
        if original is not None and image is not None and image.shape == original.shape:
            sent, received = to_float(original), to_float(image)
        return SendResult(
            frame_id=frame_id(session_id, self.index),
            frame_index=self.index,
            codec=codec,
            width_px=width,
            height_px=height,
            bytes_total=self.account.total_bytes,
            bytes_by_segment=self._bytes(),
            bytes_headers=self.account.overhead_bytes,
            bytes_handshake=self.handshake_bytes,
            bytes_resent=self.bytes_resent,
            bpp=self.account.total_bytes * 8 / (width * height) if original is not None else 0.0,
            packets_sent=self.packets_sent,
            packets_received=self.final.packets_received if self.final is not None else arrived,
            rounds=self.rounds,
            psnr_db=psnr_db(sent, received) if sent is not None and received is not None else None,
            ms_ssim=ms_ssim(sent, received) if sent is not None and received is not None else None,
            seconds=self._seconds(),
            outcome="failed" if reason else "reconstructed",
            reason=reason,
            failure=failure,
            original=original,
            given_px=(0, 0) if self.picture is None else self.picture.given_px,
            image=image,
            provenance=provenance,
            caption=self.final.caption or None if self.final is not None else None,
            quality_estimate=self._quality_estimate(),
            protection=tuple(self.protection),
            power=(min(p[0] for p in self.powers), max(p[1] for p in self.powers)) if self.powers else None,
            task_result=task_result,
            goal_revision=self.final.goal_revision if self.final is not None else 0,
        )

    def _bytes(self) -> dict[str, int]:
        feedback = {"feedback": self.account.feedback_bytes} if self.account.feedback_bytes else {}
        return {"header": self.account.header_bytes, **self.account.by_segment, **feedback}

    def _task_result(self) -> TaskResult | None:
        if self.final is None or not self.final.HasField("task_result"):
            return None
        return task_result_from_proto(self.final.task_result)

    def _quality_estimate(self) -> float | None:
        known = self.final is not None and self.final.HasField("quality_estimate")
        return self.final.quality_estimate if self.final is not None and known else None

    def _reason(self, timed_out: str) -> str:
        if self.unreadable:
            return self.unreadable
        if self.failure is not None:
            return self.failure.reason or "the transmitter gave no reason"
        if self.final is None:
            return f"{timed_out}; the transmitter reports {self.link_trouble}" if self.link_trouble else timed_out
        if self.final.status != link_pb2.FRAME_STATUS_RECONSTRUCTED:
            return self.final.reason or "the receiver gave no reason"
        return ""

    def _failure_kind(self) -> FailureKind:
        if self.unreadable:
            return "invalid"
        if self.failure is not None:
            return _KINDS.get(self.failure.kind, "internal")
        return "undecodable" if self.final is not None else "timeout"

    def _seconds(self) -> dict[str, float]:
        arrivals = {round_: at for round_, (at, _) in self._received.items()}
        transport = sum(max(0.0, at - self._sent_at[r]) for r, at in arrivals.items() if r in self._sent_at)
        stages = {stage.stage: stage.seconds for stage in self.final.stages} if self.final is not None else {}
        total = max(self.last_heard - self.started, 0.0)
        return {"encode": self.encode_seconds, "transport": transport, **stages, "total": total}


def _decode_grey_png(data: bytes) -> Pixels | None:
    """Decode an 8-bit greyscale PNG file to uint8 [H, W]; None if `data` is empty. Raises InvalidInput."""
    if not data:
        return None
    pixels = decode_image(data, field_name="reconstruction.provenance_png", max_side_px=MAX_SIDE_PX)
    return np.ascontiguousarray(pixels[..., 0])
