"""What a client gets back for a picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

Outcome = Literal["reconstructed", "failed"]
FailureKind = Literal["", "invalid", "undecodable", "link", "internal", "timeout"]


@dataclass(frozen=True, slots=True)
class Preview:
    """A picture between two steps of the receiver's sampler, or between two rounds; pixels are uint8 [H, W, 3]."""

    frame_index: int
    step: int
    image: Pixels


@dataclass(frozen=True, slots=True)
class ProtectedSegment:
    """Repair packets that unequal protection chose for one segment of one round.

    Attributes:
        importance: of all its elements.
        loss_without, loss_with: share of it that was expected to be lost without them, and with them.
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
    """How one picture fared.

    Attributes:
        frame_id: session and frame index, unique among all sends.
        frame_index: position in the session; keys the channel's randomness.
        bytes_total: every byte of all rounds: headers, packets, repair, ends, feedback. The sum of bytes_by_segment.
        bytes_by_segment: by segment name, plus "header" (frame headers and end marks) and, where the receiver asked
            for more, "feedback" (messages and answers on the way back).
        bytes_resent: beside them, what was sent of the frame over links that were cut, or before a service died; 0
            unless something broke.
        bpp: bits sent for each pixel, everything counted.
        packets_sent: of all rounds; packets_received: what the channel left of them.
        rounds: transmissions it took.
        psnr_db: against the pixels that were sent, in dB; None without a picture, inf for an equal one.
        ms_ssim: likewise, in [0, 1]; also None when a side is below 176 px.
        seconds: by stage: "encode", "transport" (from a round being sent to its arrival, as seen here), the receiver's
            stages under their own names, and "total" (from handing the picture over to having the result).
        outcome: "reconstructed" or "failed"; reason says why it failed, and is empty otherwise.
        failure: "undecodable" is the channel's doing; the other kinds are faults of the request or of a service.
        original: uint8 [H, W, 3], the pixels that were sent.
        image: uint8 [H, W, 3], what the receiver made of them.
        provenance: uint8 [H, W] of gocom.common.types.Provenance.
        caption: text that arrived, if the codec sends any.
        quality_estimate: the decoder's own estimate of how much of the picture is right, 0 to 1, if it makes one.
        protection: what unequal protection chose, round by round; empty without it.
        power: least and greatest power of a packet, of mean 1 in each round; None: all had 1.
    """

    frame_id: str
    frame_index: int
    codec: str
    width_px: int
    height_px: int
    bytes_total: int
    bytes_by_segment: Mapping[str, int]
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
    original: Pixels
    image: Pixels | None = None
    provenance: Pixels | None = None
    caption: str | None = None
    quality_estimate: float | None = None
    protection: tuple[ProtectedSegment, ...] = ()
    power: tuple[float, float] | None = None

    def as_record(self) -> dict[str, Any]:
        """What `gocom send --json` prints: plain JSON types, no pixels; an infinite PSNR becomes null."""
        names = (
            "frame_id", "codec", "width_px", "height_px", "bytes_total", "bytes_by_segment", "bytes_resent", "bpp",
            "packets_sent", "packets_received", "rounds", "psnr_db", "ms_ssim", "seconds", "outcome",
            "quality_estimate",
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
        if self.outcome == "failed":
            record["reason"] = self.reason
        return record
