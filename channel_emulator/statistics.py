"""Measured against closed form, live.

z = (events - expected) / standard deviation. The variance is added up round by round, because faults with memory start
anew at each round; those that start anew at each packet add theirs up packet by packet. A (frame index, round) that
comes again (another session, the same seed) meets the same fate by design and teaches nothing new: k equal draws have
k**2 times the variance of one, not k times.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np

from channel_emulator.chain import Chain, Counts
from channel_emulator.impairments import FrameInfo
from common.packets import PacketBatch
from gocom.v1 import channel_pb2

_REMEMBERED_ROUNDS = 1 << 16
"""How many different (frame index, round) are told apart from repeats; bounds memory."""


@dataclass(slots=True)
class RoundCounts:
    """Counts of one round of a frame while it passes.

    Attributes:
        counts: float64 [I, 3], (trials, events, variance) of each fault, as Chain.apply has them.
    """

    counts: Counts
    packets_in: int = 0
    packets_out: int = 0
    payload_bytes_in: int = 0

    def add(self, arrived: PacketBatch, left: PacketBatch, counts: Counts) -> None:
        """Add a batch: as it arrived, as the chain left it, and what the chain counted."""
        self.packets_in += len(arrived)
        self.packets_out += int(np.count_nonzero(~left.erased))
        self.payload_bytes_in += int(arrived.length.sum())
        self.counts += counts


@dataclass(slots=True)
class Statistics:
    """Counts since a chain was set. Used from one thread (the event loop's)."""

    chain: Chain
    frames: int = 0
    packets_in: int = 0
    packets_out: int = 0
    payload_bytes_in: int = 0
    _counts: Counts = field(init=False)
    _seen: OrderedDict[tuple[int, int], int] = field(init=False, default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._counts = np.zeros((len(self.chain.links), 3))

    def new_round(self) -> RoundCounts:
        """Counts to fill while a round passes."""
        return RoundCounts(np.zeros((len(self.chain.links), 3)))

    def add(self, frame: FrameInfo, counts: RoundCounts) -> None:
        """Take in a round that passed."""
        self.frames += 1
        self.packets_in += counts.packets_in
        self.packets_out += counts.packets_out
        self.payload_bytes_in += counts.payload_bytes_in
        weight = 2 * self._repeats(frame) + 1  # (k+1)**2 - k**2
        for i, (link, (trials, events, variance)) in enumerate(
            zip(self.chain.links, counts.counts.tolist(), strict=True)
        ):
            if math.isnan(variance):
                variance = link.fault.count_variance(int(trials))
            self._counts[i] += (trials, events, weight * variance)

    def _repeats(self, frame: FrameInfo) -> int:
        """How often this (frame index, round) came before."""
        key = (frame.frame_index, frame.round)
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
        for link, (trials, events, variance) in zip(self.chain.links, self._counts.tolist(), strict=True):
            message.impairments.add(
                name=link.name,
                trials=int(trials),
                events=int(events),
                expected_rate=link.fault.expected_rate,
                measured_rate=events / trials if trials else 0.0,
                z_score=z_score(events, trials * link.fault.expected_rate, variance),
                unit=link.fault.unit,
            )
        return message


def z_score(events: float, expected: float, variance: float) -> float:
    """(events - expected) / sqrt(variance); 0 where nothing is left to chance."""
    return (events - expected) / math.sqrt(variance) if variance > 0 else 0.0
