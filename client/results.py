"""The results that a client gets for each picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from gocom.common.tasks import TaskResult

Pixels = npt.NDArray[np.uint8]

Outcome = Literal["reconstructed", "failed"]
FailureKind = Literal["", "invalid", "undecodable", "link", "internal", "timeout"]


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture between two steps of the receiver's sampler, or between two rounds.

    Attributes:
        frame_index: index of the frame in its session.
        step: number of the sampler's step.
        image: uint8 [H, W, 3].
    """

    frame_index: int
    step: int
    image: Pixels


@dataclass(frozen=True, slots=True)
class ProtectedSegment:
    """Repair packets that unequal protection chose for one segment of one round.

    Attributes:
        round: number of the round, from 0.
        name: name of the segment.
        source_packets, repair_packets: number of packets of each kind.
        importance: sum of the importance of the segment's elements.
        loss_without, loss_with: share of that importance expected to be lost, without and with the repair packets.
    """

    round: int
    name: str
    source_packets: int
    repair_packets: int
    importance: float
    loss_without: float
    loss_with: float


@dataclass(frozen=True, slots=True)
class SendResult:
    """The outcome of sending one picture.

    Attributes:
        frame_id: session and frame index, unique among all sends.
        frame_index: position in the session; it keys the channel's randomness.
        codec: name of the codec.
        width_px, height_px: size of the picture that was sent; 0 if it could not be read.
        bytes_total: every byte of all rounds: headers, packets, repair, end marks, feedback. Sum of bytes_by_segment.
        bytes_by_segment: bytes by segment name, plus "header" (frame headers and end marks) and, where the receiver
            asked for more, "feedback" (feedback messages and their answers).
        bytes_headers: the part of bytes_total that is neither payload nor feedback: frame headers, end marks, and the
            header fields of packets.
        bytes_handshake: bytes of the opening of the session's link and of the answer to it. They are sent once for all
            frames of the session and are not in bytes_total.
        bytes_resent: bytes of earlier transmissions of the frame, over links that were cut or before a service died;
            not in bytes_total, and 0 unless something broke.
        bpp: bits sent per pixel, everything counted.
        packets_sent: packets of all rounds.
        packets_received: packets of all rounds that arrived.
        rounds: number of transmissions, the first included.
        psnr_db: PSNR against the pixels that were sent, in dB; None without a picture, inf for an identical one.
        ms_ssim: MS-SSIM against the same, 0 to 1; None without a picture, or when a side is below 176 px.
        seconds: time by stage: "encode", "transport" (from the sending of a round to its arrival, as seen by the
            client), the receiver's stages under their own names, and "total" (from queueing the picture to having its
            result).
        outcome: "reconstructed" or "failed".
        reason: why it failed; empty if it did not.
        failure: the kind of failure, empty without one. "undecodable" is caused by the channel, "invalid" by the
            picture or the request, the other kinds by a service.
        original: uint8 [H, W, 3], the pixels that were sent, sRGB; None: the picture could not be read, nothing was
            sent.
        image: uint8 [H, W, 3], the receiver's picture; None if there is none.
        provenance: uint8 [H, W], a gocom.common.types.Provenance for each pixel of `image`; None without one.
        caption: text that arrived; None if the codec sends none.
        quality_estimate: the decoder's estimate of the share of the picture that is right, 0 to 1, if it makes one.
        protection: repair packets chosen by unequal protection, round by round; empty without it.
        power: least and greatest power of a packet, where the mean of each round is 1; None: all packets had power 1.
        task_result: result of the goal's task on `image`; None: there is no picture, or the goal has no task.
        goal_revision: revision of the session's goal under which the picture was made; 0: the session never had one.
        given_px: (width, height) of the picture as it was given, before `size` changed it; 0 if it could not be read.
    """

    frame_id: str
    frame_index: int
    codec: str
    width_px: int
    height_px: int
    bytes_total: int
    bytes_by_segment: Mapping[str, int]
    bytes_headers: int
    bytes_handshake: int
    bytes_resent: int
    bpp: float
    packets_sent: int
    packets_received: int
    rounds: int
    psnr_db: float | None
    ms_ssim: float | None
    seconds: Mapping[str, float]
    outcome: Outcome
    reason: str
    failure: FailureKind
    original: Pixels | None
    image: Pixels | None = None
    provenance: Pixels | None = None
    caption: str | None = None
    quality_estimate: float | None = None
    protection: tuple[ProtectedSegment, ...] = ()
    power: tuple[float, float] | None = None
    task_result: TaskResult | None = None
    goal_revision: int = 0
    given_px: tuple[int, int] = (0, 0)

    @property
    def is_error(self) -> bool:
        """Whether it failed otherwise than by the channel: the picture or the request is wrong, or a service failed."""
        return self.failure not in ("", "undecodable")

    @property
    def session_id(self) -> str:
        """Session of the frame, for `set_goal`."""
        return self.frame_id.rpartition("/")[0]

    def as_record(self) -> dict[str, Any]:
        """Return what `gocom send --json` prints: plain JSON types, without pixels. An infinite PSNR becomes null."""
        names = (
            "frame_id", "codec", "width_px", "height_px", "bytes_total", "bytes_by_segment", "bytes_headers",
            "bytes_handshake", "bytes_resent", "bpp", "packets_sent", "packets_received", "rounds", "psnr_db",
            "ms_ssim", "seconds", "outcome", "quality_estimate",
        )  # fmt: skip
        record = {name: getattr(self, name) for name in names}
        record["bytes_by_segment"] = dict(self.bytes_by_segment)
        record["seconds"] = {stage: round(value, 4) for stage, value in self.seconds.items()}
        for name in ("psnr_db", "ms_ssim", "bpp", "quality_estimate"):
            value = record[name]
            record[name] = round(value, 5) if value is not None and math.isfinite(value) else None
        if self.protection:
            record["protection"] = [asdict(segment) for segment in self.protection]
        if self.power is not None:
            record["power"] = {"least": self.power[0], "greatest": self.power[1]}
        if self.goal_revision:
            record["goal_revision"] = self.goal_revision
        if self.task_result is not None:
            record["task_result"] = task = asdict(self.task_result)
            for rated in (task, *task["labels"]):
                rated["confidence"] = round(rated["confidence"], 5)
        if self.outcome == "failed":
            record["failure"], record["reason"] = self.failure, self.reason
        return record


def describe_task(result: TaskResult, most: int = 3) -> str:
    """Return the result of a task in one line, with up to `most` labels: "classify 83%: tabby 83%, lynx 5%"."""
    if result.reason:
        return f"{result.task} failed: {result.reason}"
    labels = ", ".join(f"{label.name} {label.confidence:.0%}" for label in result.labels[:most])
    return f"{result.task} {result.confidence:.0%}{': ' if labels else ''}{labels}"
