"""Live counts of the channel, compared with the closed forms of its faults.

z = (events - expected) / standard deviation. Faults with memory start anew in each round, so variances are added up per
round; faults that start anew with each packet add up theirs per packet. A (frame index, round) that is repeated (in
another session with the same seed) is impaired in the same way by design and adds no information: k equal draws have
k**2 times the variance of one draw, not k times.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import EventCounts, FrameInfo
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Ints
from gocom.v1 import channel_pb2

_REMEMBERED_ROUNDS = 1 << 16
"""Largest number of different (frame index, round, attempt) that are remembered to detect repeats; bounds memory."""


@dataclass(slots=True)
class RoundCounts:
    """Packet counts of one round of a frame. Each copy counts in packets_out."""

    packets_in: int = 0
    packets_out: int = 0
    packets_erased: int = 0
    payload_bytes_in: int = 0

    def add(self, arrived: PacketBatch, impaired: PacketBatch, copies: Ints | None = None) -> None:
        """Count a batch.

        Args:
            arrived: the batch before the chain.
            impaired: the same packets after the chain, erased ones included.
            copies: int64 [P], number of additional copies of each packet; None: there are none.
        """
        delivered = len(impaired) - int(np.count_nonzero(impaired.erased))
        self.packets_in += len(arrived)
        self.packets_out += delivered if copies is None else delivered + int(copies[~impaired.erased].sum())
        self.packets_erased += len(arrived) - delivered
        self.payload_bytes_in += len(arrived.payload)


@dataclass(slots=True)
class Statistics:
    """Counts since a chain became active. Only the thread of the event loop may use it."""

    chain: Chain
    frames: int = 0
    packets_in: int = 0
    packets_out: int = 0
    payload_bytes_in: int = 0
    _sums: npt.NDArray[np.float64] = field(init=False)
    _seen: OrderedDict[tuple[int, int, int], int] = field(init=False, default_factory=OrderedDict)

    def __post_init__(self) -> None:
        self._sums = np.zeros((len(self.chain.faults), 4))

    def add(self, frame: FrameInfo, counts: RoundCounts, event_counts: Sequence[EventCounts], attempt: int = 0) -> None:
        """Add the counts of a round, or of one attempt at sending feedback on it.

        Args:
            frame: the frame and round.
            counts: the packet counts.
            event_counts: the counts of each fault, from the RoundImpairer.
            attempt: number of the attempt at sending feedback.
        """
        self.frames += 1
        self.packets_in += counts.packets_in
        self.packets_out += counts.packets_out
        self.payload_bytes_in += counts.payload_bytes_in
        weight = 2 * self._repeats(frame, attempt) + 1  # (k+1)**2 - k**2
        for sums, counted in zip(self._sums, event_counts, strict=True):
            sums += (counted.trials, counted.events, counted.expected, weight * counted.variance)

    def _repeats(self, frame: FrameInfo, attempt: int) -> int:
        """Return how often this (frame index, round, attempt) was counted before, and count it."""
        key = (frame.frame_index, frame.round, attempt)
        before = self._seen.pop(key, 0)
        self._seen[key] = before + 1
        if len(self._seen) > _REMEMBERED_ROUNDS:
            self._seen.popitem(last=False)
        return before

    def report(self, revision: int) -> channel_pb2.WatchStatisticsResponse:
        """Return all counts as a message."""
        message = channel_pb2.WatchStatisticsResponse(
            revision=revision,
            frames=self.frames,
            packets_in=self.packets_in,
            packets_out=self.packets_out,
            payload_bytes_in=self.payload_bytes_in,
        )
        for named, (trials, events, expected, variance) in zip(self.chain.faults, self._sums.tolist(), strict=True):
            message.impairments.add(
                name=named.name,
                trials=int(trials),
                events=int(events),
                expected_rate=expected / trials if trials else named.fault.expected_rate,
                measured_rate=events / trials if trials else 0.0,
                z_score=z_score(events, expected, variance),
                unit=named.fault.unit,
            )
        return message


def z_score(events: float, expected: float, variance: float) -> float:
    """Return (events - expected) / sqrt(variance); 0 if the variance is 0."""
    return (events - expected) / math.sqrt(variance) if variance > 0 else 0.0
