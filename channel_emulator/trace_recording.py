"""Recording of what happens to every packet; free of cost while no client records.

    proxy --begin--> RoundRecorder --add a batch before and after the chain--> end --> TraceReader --> RecordTrace

Packets are identified by sequence number. A packet that was lost on an earlier hop, and so never reached this emulator,
counts as erased. Departure times, order and copies are not recorded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable

import numpy as np

from gocom.common.errors import Busy, TooLarge
from gocom.common.logs import get_logger
from gocom.common.packet_batch import PacketBatch
from gocom.common.packet_traces import BIT_SHIFT, MAX_FLIPS, trace_round
from gocom.common.packetizer import MAX_PACKETS
from gocom.common.types import Bools, FrameHeader, Ints
from gocom.v1 import channel_pb2

log = get_logger("channel_emulator")

MAX_READERS = 8
MAX_WAITING, MAX_WAITING_BYTES = 1024, 16 << 20
"""Largest backlog of a reader, in rounds and in bytes."""
_MANY_FLIPS = 1 << 14
"""Number of flips from which a round's message is made in a thread: a million flips take 0.2 s and more."""
_SLICE_BYTES = 1 << 18
"""Payload bytes compared together; bounds memory: if half of all bits flipped, each byte takes some 160 bytes."""


class RoundLog:
    """The fates of the packets of one round, recorded while it passes.

    Memory is bounded: one byte per packet, and MAX_FLIPS flips.

    Args:
        frame_index: index of the frame.
        round_: round of the frame.
    """

    def __init__(self, frame_index: int, round_: int) -> None:
        self.key = (frame_index, round_)
        self._delivered = np.zeros(MAX_PACKETS, bool)
        self._flips = [np.zeros(0, np.int64)]
        self._flip_count = 0

    def add(self, arrived: PacketBatch, impaired: PacketBatch) -> None:
        """Record a batch.

        Args:
            arrived: the batch before the chain.
            impaired: the batch after the chain. Packets may be erased, damaged, left out, repeated, or in another
                order.
        """
        recordable = ~impaired.erased & (impaired.sequence < MAX_PACKETS)
        new = np.zeros(len(impaired), bool)
        new[np.unique(impaired.sequence, return_index=True)[1]] = True  # only the first copy of a packet counts
        new &= recordable & ~self._delivered[np.where(recordable, impaired.sequence, 0)]
        self._delivered[impaired.sequence[new]] = True
        if impaired.payload is arrived.payload or self._flip_count > MAX_FLIPS:
            return
        packet, bit = _find_flips(arrived, impaired, new, MAX_FLIPS + 1 - self._flip_count)
        self._flips.append(impaired.sequence[packet] << BIT_SHIFT | bit)
        self._flip_count += len(bit)

    @property
    def flips(self) -> int:
        """Number of flipped bits so far, MAX_FLIPS + 1 at most."""
        return self._flip_count

    @property
    def seen(self) -> int:
        """Highest sequence number that was delivered, plus 1; 0 if there is none."""
        return int(np.flatnonzero(self._delivered).max(initial=-1)) + 1

    def message(self, packets: int) -> channel_pb2.TraceRound:
        """Return the round as a message.

        Args:
            packets: number of packets that were sent, at least 1.

        Raises:
            TooLarge: the round has more packets or flips than a trace can hold.
        """
        if packets > MAX_PACKETS:
            raise TooLarge(f"trace: a round of {packets} packets; a trace has rounds of {MAX_PACKETS} at most")
        if self._flip_count > MAX_FLIPS:
            raise TooLarge(f"trace: a round with more than {MAX_FLIPS} flipped bits, the most a trace has")
        flips = np.sort(np.concatenate(self._flips))
        flips = flips[flips < packets << BIT_SHIFT]
        lost = ~self._delivered[:packets]
        return trace_round(*self.key, lost, flips >> BIT_SHIFT, flips & (1 << BIT_SHIFT) - 1)


class TraceReader:
    """The stream of rounds for one recording client, read by iteration.

    A trace must not have gaps, so iteration ends with TooLarge if the client reads too slowly.
    """

    def __init__(self) -> None:
        self._rounds: deque[channel_pb2.TraceRound] = deque()
        self._bytes = 0
        self._ended: TooLarge | bool = False
        self._changed = asyncio.Event()

    @property
    def open(self) -> bool:
        """Whether the reader still accepts rounds."""
        return self._ended is False

    def put(self, message: channel_pb2.TraceRound) -> None:
        """Queue a round without waiting."""
        if not self.open:
            return
        size = message.ByteSize()
        if len(self._rounds) >= MAX_WAITING or (self._rounds and self._bytes + size > MAX_WAITING_BYTES):
            self.end(TooLarge(f"trace: {len(self._rounds)} rounds wait to be read; a reader must keep up"))
            return
        self._rounds.append(message)
        self._bytes += size
        self._changed.set()

    def end(self, error: TooLarge | None = None) -> None:
        """Accept no further rounds. Queued rounds can still be read; the error is raised after them."""
        if self.open:
            self._ended = error or True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[channel_pb2.TraceRound]:
        while True:
            while self._rounds:
                message = self._rounds.popleft()
                self._bytes -= message.ByteSize()
                yield message
            if isinstance(self._ended, TooLarge):
                raise self._ended
            if self._ended:
                return
            self._changed.clear()
            await self._changed.wait()


class RoundRecorder:
    """The recorder of one round, for the readers that were open when it began. One thread at a time may use it."""

    def __init__(self, log_: RoundLog, readers: tuple[TraceReader, ...]) -> None:
        self._log = log_
        self._readers = readers

    def add(self, arrived: PacketBatch, impaired: PacketBatch) -> None:
        """Record a batch; see RoundLog.add."""
        if any(reader.open for reader in self._readers):
            self._log.add(arrived, impaired)

    async def end(self, packets: int) -> None:
        """End the round and hand it to the readers; a round without packets is not handed over.

        Call it on the event loop. Readers get rounds in order if each call is awaited before the next round begins.

        Args:
            packets: number of packets that the sender says it has sent.
        """
        if not packets or not any(reader.open for reader in self._readers):
            return
        try:
            if self._log.flips > _MANY_FLIPS:
                message = await asyncio.to_thread(self._log.message, packets)
            else:
                message = self._log.message(packets)
        except TooLarge as error:
            frame_index, round_ = self._log.key
            log.warning("round not recorded", frame_index=frame_index, round=round_, error=str(error))
            for reader in self._readers:
                reader.end(error)
            return
        for reader in self._readers:
            reader.put(message)


class TraceRecorder:
    """The recorder of traces: it passes each round to all open readers. Only the event loop may use it."""

    def __init__(self) -> None:
        self._readers: set[TraceReader] = set()
        self._drained = False

    def open(self) -> TraceReader:
        """Return a reader of the rounds that begin from now on; the caller closes it.

        Raises:
            Busy: MAX_READERS readers are open.
        """
        if len(self._readers) >= MAX_READERS:
            raise Busy(f"trace: all {MAX_READERS} places for those who record are taken")
        reader = TraceReader()
        if self._drained:
            reader.end()
        self._readers.add(reader)
        return reader

    def close(self, reader: TraceReader) -> None:
        """Stop passing rounds to a reader."""
        reader.end()
        self._readers.discard(reader)

    def begin(self, frame_index: int, round_: int) -> RoundRecorder | None:
        """Return a recorder for a round that begins; None if no reader is open."""
        readers = tuple(reader for reader in self._readers if reader.open)
        return RoundRecorder(RoundLog(frame_index, round_), readers) if readers else None

    def drain(self) -> None:
        """End all readers; rounds that are queued can still be read."""
        self._drained = True
        for reader in self._readers:
            reader.end()


class TraceRecordingChannel:
    """A channel of an in-process pipeline (gocom.common.pipeline.Channel) that records what it does.

    All batches of a round must come before those of the next round; a repeated sequence number begins another round.

    Args:
        channel: the channel that is recorded, such as a Chain.

    Raises:
        TooLarge: on a call with a sequence number that no trace can hold.
    """

    def __init__(self, channel: Callable[[FrameHeader, PacketBatch], PacketBatch]) -> None:
        self._channel = channel
        self._rounds: list[channel_pb2.TraceRound] = []
        self._log: RoundLog | None = None
        self._sent = np.zeros(MAX_PACKETS, bool)

    def __call__(self, header: FrameHeader, batch: PacketBatch) -> PacketBatch:
        if len(batch) and int(batch.sequence.max()) >= MAX_PACKETS:
            raise TooLarge(f"trace: packet {int(batch.sequence.max())}; a trace has rounds of {MAX_PACKETS} at most")
        impaired = self._channel(header, batch)
        key = (header.frame_index, header.round)
        if self._log is None or self._log.key != key or self._sent[batch.sequence].any():
            self._end()
            self._log = RoundLog(*key)
        self._sent[batch.sequence] = True
        self._log.add(batch, impaired)
        return impaired

    @property
    def rounds(self) -> list[channel_pb2.TraceRound]:
        """All rounds so far; this ends the current one. Raises TooLarge if a trace cannot hold a round."""
        self._end()
        return list(self._rounds)

    def _end(self) -> None:
        sent = int(np.flatnonzero(self._sent).max(initial=-1)) + 1
        if self._log is not None and sent:
            self._rounds.append(self._log.message(sent))
        self._log = None
        self._sent[:] = False


def _find_flips(arrived: PacketBatch, impaired: PacketBatch, wanted: Bools, max_flips: int) -> tuple[Ints, Ints]:
    """Return the flipped bits of some packets.

    Args:
        arrived: the batch before the chain.
        impaired: the batch after the chain.
        wanted: bool [P], the packets of `impaired` that are compared.
        max_flips: number of flips after which the comparison stops.

    Returns:
        int64 [F] twice: the packet of each flip, an index into `impaired`, and the bit within the packet.
    """
    shift, same = _payload_shifts(arrived, impaired)
    wanted = wanted & same
    ends = np.cumsum(impaired.length)
    begins = ends - impaired.length
    packets, bits = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start in range(0, len(impaired.payload), _SLICE_BYTES):
        stop = min(start + _SLICE_BYTES, len(impaired.payload))
        place: Ints | slice = slice(start, stop)
        if shift is not None:
            here = (np.minimum(ends, stop) - np.maximum(begins, start)).clip(min=0)
            place = (np.arange(start, stop) + np.repeat(shift, here)).clip(max=len(arrived.payload) - 1)
        differs = arrived.payload[place] ^ impaired.payload[start:stop]
        changed = np.flatnonzero(differs)
        packet = np.searchsorted(ends, start + changed, side="right")
        kept = wanted[packet]
        changed, packet = changed[kept][:max_flips], packet[kept][:max_flips]
        row, bit = np.nonzero(np.unpackbits(differs[changed][:, None], axis=1))
        row, bit = row[:max_flips], bit[:max_flips]
        packets.append(packet[row])
        bits.append((start + changed - begins[packet])[row] * 8 + bit)
        max_flips -= len(bit)
        if not max_flips:
            break
    return np.concatenate(packets), np.concatenate(bits)


def _payload_shifts(arrived: PacketBatch, impaired: PacketBatch) -> tuple[Ints | None, Bools]:
    """Compare the payload positions of two batches.

    Returns:
        int64 [P], by how many bytes the payload of each packet of `impaired` lay elsewhere in `arrived`, or None if no
        payload moved; and bool [P], whether `arrived` has that packet, with the same length.
    """
    if np.array_equal(arrived.sequence, impaired.sequence) and np.array_equal(arrived.length, impaired.length):
        return None, np.ones(len(impaired), bool)
    order = np.argsort(arrived.sequence, kind="stable")
    source = order[np.searchsorted(arrived.sequence[order], impaired.sequence).clip(max=len(arrived) - 1)]
    same = (arrived.sequence[source] == impaired.sequence) & (arrived.length[source] == impaired.length)
    return np.where(same, arrived.offset[source] - impaired.offset, -impaired.offset), same
