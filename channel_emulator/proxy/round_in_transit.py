"""A round of a frame on its way through the emulator, batch by batch.

Large batches are impaired and recorded in a thread, and so are large rounds that are held until their end.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from gocom.channel_emulator.active_profile import ProfileRevision
from gocom.channel_emulator.chain import RoundImpairer
from gocom.channel_emulator.fault_bases.fault import EventCounts, FrameInfo
from gocom.channel_emulator.fault_bases.timed_fault import TimedBatch
from gocom.channel_emulator.proxy.wire_items import WireItem
from gocom.channel_emulator.statistics import RoundCounts
from gocom.channel_emulator.trace_recording import RoundRecorder
from gocom.common.errors import InvalidInput, TooLarge
from gocom.common.packet_batch import PacketBatch
from gocom.common.packetizer import MAX_PACKETS
from gocom.common.service_metrics import SECONDS

MAX_WORK = 8192
"""Random numbers drawn on the event loop for one batch, which takes some milliseconds; more are drawn in a thread."""
MAX_PACKETS_COUNTED_INLINE = 512
"""Largest number of packets of a round whose event counts are computed on the event loop."""
_BYTES_PER_DRAW = 128
"""Payload bytes that can be copied in the time of drawing a random number."""
_WORK_PER_BATCH = 32
"""Random numbers that can be drawn in the time that a batch takes beyond its draws."""
MAX_HELD_BYTES = 32 << 20
"""Largest number of bytes of a round that is held until its end."""
MAX_HELD_PACKETS = 2 * MAX_PACKETS
"""Largest number of packets of a round that is held, copies included, as many as a receiver takes."""
_HELD_PACKET_BYTES, _HELD_BATCH_BYTES = 192, 4096
"""Memory of a packet beyond its own bytes, and of a batch beyond its packets, held and then impaired; measured."""
_SECONDS = SECONDS.labels("channel_emulator", "impair")
_Result = TypeVar("_Result")


@dataclass(slots=True)
class RoundInTransit:
    """A round that has begun. Its batches are processed one after the other.

    Attributes:
        info: the frame and round.
        profile_revision: the profile that was active when the round began.
        impairer: the state of that profile's chain for the round.
        counts: packet counts so far.
        codec: name of the codec's field in the frame header, for metrics.
        recorder: recorder of the round; None: nobody records.
        held: the batches so far, if the chain needs the whole round; see `hold`.
    """

    info: FrameInfo
    profile_revision: ProfileRevision
    impairer: RoundImpairer
    counts: RoundCounts
    codec: str
    recorder: RoundRecorder | None
    held: list[tuple[WireItem, PacketBatch]] = field(default_factory=list)
    _held_bytes: int = 0
    _held_packets: int = 0
    _held_work: float = 0.0

    def hold(self, item: WireItem) -> None:
        """Keep a batch until the end of the round.

        Raises:
            InvalidInput: the batch is not valid.
            TooLarge: the round has too many packets, or takes too many bytes.
        """
        batch = self._read(item)
        self._held_packets += len(batch)
        if self._held_packets > MAX_HELD_PACKETS:
            raise TooLarge(
                f"batch: the channel needs the whole round, and holds {MAX_HELD_PACKETS} packets of it at most"
            )
        self._held_bytes += len(item.raw) + _HELD_PACKET_BYTES * len(batch) + _HELD_BATCH_BYTES
        if self._held_bytes > MAX_HELD_BYTES:
            raise TooLarge(f"batch: the channel needs the whole round, and holds {MAX_HELD_BYTES} bytes of it at most")
        self._held_work += self._work(batch) + _WORK_PER_BATCH
        self.held.append((item, batch))

    async def impair_held(self) -> list[bytes | TimedBatch]:
        """Apply the chain to all batches that are held, and return them as `impair` or `apply_timed` does."""
        return await _run(self._impair_held, self._held_work) if self.held else []

    async def impair(self, item: WireItem) -> bytes | None:
        """Apply the chain to a batch and return it as an item; None if all packets are erased.

        Raises:
            InvalidInput: the batch is not valid.
        """
        arrived = self._read(item)
        (impaired,) = await _run(lambda: self._apply([arrived]), self._work(arrived))
        return self._serialize(item, arrived, impaired)

    async def apply_timed(self, item: WireItem) -> TimedBatch:
        """Apply a timed chain to a batch.

        Raises:
            InvalidInput: the batch is not valid.
        """
        arrived = self._read(item)
        (timed_batch,) = await _run(lambda: self._apply_timed([arrived]), self._work(arrived))
        return timed_batch

    async def event_counts(self) -> Sequence[EventCounts]:
        """Return the event counts of the faults.

        Long rounds are counted in a thread, as each kind of packet may cost an integral.
        """
        if self.counts.packets_in <= MAX_PACKETS_COUNTED_INLINE:
            return self.impairer.event_counts()
        return await asyncio.to_thread(self.impairer.event_counts)

    def _read(self, item: WireItem) -> PacketBatch:
        """Return the packets of an item.

        Raises:
            InvalidInput: the batch is not valid, or has a packet that the header did not announce: no trace can hold
                it.
        """
        batch = item.batch()
        if (last := batch.sequence_range.last) >= self.info.packets:
            raise InvalidInput(
                f"batch.sequence: {last} is not below {self.info.packets}, the number of packets that the header "
                "announced"
            )
        return batch

    def _work(self, batch: PacketBatch) -> float:
        """Return the time that the chain takes for a batch, in random numbers drawn."""
        return self.impairer.work(batch) + len(batch.payload) / _BYTES_PER_DRAW

    def _impair_held(self) -> list[bytes | TimedBatch]:
        arrived = [batch for _, batch in self.held]
        if self.profile_revision.chain.timed:
            return list(self._apply_timed(arrived))
        impaired = self._apply(arrived)
        pairs = zip(self.held, impaired, strict=True)
        serialized = [self._serialize(item, before, after) for (item, before), after in pairs]
        return [raw for raw in serialized if raw is not None]

    def _apply(self, arrived: list[PacketBatch]) -> list[PacketBatch]:
        impaired = self.impairer.apply_each(arrived)
        if self.recorder is not None:
            for before, after in zip(arrived, impaired, strict=True):
                self.recorder.add(before, after)
        return impaired

    def _apply_timed(self, arrived: list[PacketBatch]) -> list[TimedBatch]:
        timed_batches = self.impairer.apply_timed_each(arrived)
        for before, after in zip(arrived, timed_batches, strict=True):
            self.counts.add(before, after.batch, after.copies)
            if self.recorder is not None:
                self.recorder.add(before, after.batch)
        return timed_batches

    def _serialize(self, item: WireItem, arrived: PacketBatch, impaired: PacketBatch) -> bytes | None:
        """Count a batch and return it as an item; None if all packets are erased."""
        erased = np.flatnonzero(impaired.erased)
        self.counts.add(arrived, impaired)
        return None if len(erased) == len(arrived) else item.serialize_with(arrived, impaired, erased)


async def _run(step: Callable[[], _Result], work: float) -> _Result:
    """Return the result of a step, which is run in a thread if it would be long enough to starve other sessions.

    Args:
        step: the step.
        work: the time that it takes, in random numbers drawn.
    """
    began = time.perf_counter()
    result = step() if work <= MAX_WORK else await asyncio.to_thread(step)
    _SECONDS.observe(time.perf_counter() - began)
    return result
