"""Measured against closed form, live.

z = (events - expected) / standard deviation. The variance is added up round by round, because faults with memory start
anew at each round; those that start anew at each packet add theirs up packet by packet. A (frame index, round) that
comes again (another session, the same seed) meets the same fate by design and teaches nothing new: k equal draws have
k**2 times the variance of one, not k times.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo, Score
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Ints
from gocom.v1 import channel_pb2

_REMEMBERED_ROUNDS = 1 << 16
"""How many different (frame index, round, attempt) are told apart from repeats; bounds memory."""


@dataclass(slots=True)
class RoundCounts:
    """Packets of one round of a frame while it passes. Copies count as packets that go out."""

    packets_in: int = 0
    packets_out: int = 0
    packets_erased: int = 0
    payload_bytes_in: int = 0

    def add(self, arrived: PacketBatch, left: PacketBatch, copies: Ints | None = None) -> None:
        """Add a batch: as it arrived, and as the chain left it; `copies`: int64 [P], of each, erased ones included."""
        passed = len(left) - int(np.count_nonzero(left.erased))
        self.packets_in += len(arrived)
        self.packets_out += passed if copies is None else passed + int(copies[~left.erased].sum())
        self.packets_erased += len(arrived) - passed
        self.payload_bytes_in += len(arrived.payload)


@dataclass(slots=True)
class Statistics:
    """Counts since a chain was set. Used from one thread (the event loop's)."""

    chain: Chain
    frames: int = 0
    packets_in: int = 0
    packets_out: int = 0
    payload_bytes_in: int = 0
    _sums: npt.NDArray[np.float64] = field(init=False)
    _seen: OrderedDict[tuple[int, int, int], int] = field(init=False, default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._sums = np.zeros((len(self.chain.links), 4))

    def add(self, frame: FrameInfo, counts: RoundCounts, scores: Sequence[Score], attempt: int = 0) -> None:
        """Take in a round that passed, or an attempt at feedback on one; `scores` as its RoundImpairer has them."""
        self.frames += 1
        self.packets_in += counts.packets_in
        self.packets_out += counts.packets_out
        self.payload_bytes_in += counts.payload_bytes_in
        weight = 2 * self._repeats(frame, attempt) + 1  # (k+1)**2 - k**2
        for sums, score in zip(self._sums, scores, strict=True):
            sums += (score.trials, score.events, score.expected, weight * score.variance)

    def _repeats(self, frame: FrameInfo, attempt: int) -> int:
        """How often this (frame index, round, attempt) came before."""
        key = (frame.frame_index, frame.round, attempt)
        before = self._seen.pop(key, 0)
        self._seen[key] = before + 1
        if len(self._seen) > _REMEMBERED_ROUNDS:
            self._seen.popitem(last=False)
        return before

    def report(self, revision: int) -> channel_pb2.WatchStatisticsResponse:
        """All of it as a message."""
        message = channel_pb2.WatchStatisticsResponse(
            revision=revision,
            frames=self.frames,
            packets_in=self.packets_in,
            packets_out=self.packets_out,
            payload_bytes_in=self.payload_bytes_in,
        )
        for link, (trials, events, expected, variance) in zip(self.chain.links, self._sums.tolist(), strict=True):
            message.impairments.add(
                name=link.name,
                trials=int(trials),
                events=int(events),
                expected_rate=expected / trials if trials else link.fault.expected_rate,
                measured_rate=events / trials if trials else 0.0,
                z_score=z_score(events, expected, variance),
                unit=link.fault.unit,
            )
        return message


def z_score(events: float, expected: float, variance: float) -> float:
    """(events - expected) / sqrt(variance); 0 where nothing is left to chance."""
    return (events - expected) / math.sqrt(variance) if variance > 0 else 0.0
