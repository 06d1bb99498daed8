"""What happens to every packet, for those who want it recorded; costs nothing while nobody does.

    proxy --begin--> RoundRecorder --add a batch as it came, and as the chain left it--> end --> Reader --> RecordTrace

Packets are told apart by sequence number. One that never came here, as it was lost on an earlier hop, counts as erased.
When they left, in which order, and how often is not recorded.
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
"""Rounds, and bytes of them, that a reader may be behind."""
_MANY_FLIPS = 1 << 14
"""In a round, whose message is then worth a thread: a million take 0.2 s and more."""
_SLICE = 1 << 18
"""Payload bytes compared together: where half of all bits flipped each takes some 160 bytes of memory meanwhile."""


class RoundLog:
    """One round while it passes. The memory it takes is bounded: by a byte a packet, and by MAX_FLIPS.

    Args:
        frame_index, round_: which round.
    """

    def __init__(self, frame_index: int, round_: int) -> None:
        self.key = (frame_index, round_)
        self._passed = np.zeros(MAX_PACKETS, bool)
        self._flips = [np.zeros(0, np.int64)]
        self._flip_count = 0

    def add(self, arrived: PacketBatch, left: PacketBatch) -> None:
        """Take in a batch.

        Args:
            arrived: as it came.
            left: made from it: packets erased, damaged, left out, repeated, or in another order.
        """
        fits = ~left.erased & (left.sequence < MAX_PACKETS)
        new = np.zeros(len(left), bool)
        new[np.unique(left.sequence, return_index=True)[1]] = True  # of several copies the first counts
        new &= fits & ~self._passed[np.where(fits, left.sequence, 0)]
        self._passed[left.sequence[new]] = True
        if left.payload is arrived.payload or self._flip_count > MAX_FLIPS:
            return
        packet, bit = _flipped(arrived, left, new, MAX_FLIPS + 1 - self._flip_count)
        self._flips.append(left.sequence[packet] << BIT_SHIFT | bit)
        self._flip_count += len(bit)

    @property
    def flips(self) -> int:
        """Flipped bits so far, MAX_FLIPS + 1 at most."""
        return self._flip_count

    @property
    def seen(self) -> int:
        """The highest sequence number that passed, and one more."""
        return int(np.flatnonzero(self._passed).max(initial=-1)) + 1

    def message(self, packets: int) -> channel_pb2.TraceRound:
        """The round, of which so many packets were sent: at least one. Raises TooLarge for what no trace can hold."""
        if packets > MAX_PACKETS:
            raise TooLarge(f"trace: a round of {packets} packets; a trace has rounds of {MAX_PACKETS} at most")
        if self._flip_count > MAX_FLIPS:
            raise TooLarge(f"trace: a round with more than {MAX_FLIPS} flipped bits, the most a trace has")
        flips = np.sort(np.concatenate(self._flips))
        flips = flips[flips < packets << BIT_SHIFT]
        lost = ~self._passed[:packets]
        return trace_round(*self.key, lost, flips >> BIT_SHIFT, flips & (1 << BIT_SHIFT) - 1)


class Reader:
    """Rounds for one who records; iterate over it. Ends with TooLarge where he is too slow: a record has no gaps."""

    def __init__(self) -> None:
        self._rounds: deque[channel_pb2.TraceRound] = deque()
        self._bytes = 0
        self._ended: TooLarge | bool = False
        self._changed = asyncio.Event()

    @property
    def open(self) -> bool:
        """Whether it still takes rounds."""
        return self._ended is False

    def put(self, message: channel_pb2.TraceRound) -> None:
        """Hand a round over; does not wait."""
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
        """No further rounds; those that wait can still be read, then comes the error."""
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
    """A round for the readers that were there when it began. For one thread at a time."""

    def __init__(self, log_: RoundLog, readers: tuple[Reader, ...]) -> None:
        self._log = log_
        self._readers = readers

    def add(self, arrived: PacketBatch, left: PacketBatch) -> None:
        """See RoundLog.add."""
        if any(reader.open for reader in self._readers):
            self._log.add(arrived, left)

    async def end(self, packets: int) -> None:
        """The round is over; its sender says that so many packets were sent. One without packets is not told.

        Called on the event loop. Who awaits it before the next round begins has his rounds told in their order.
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


class Recording:
    """Who records. Used from the event loop only."""

    def __init__(self) -> None:
        self._readers: set[Reader] = set()
        self._drained = False

    def open(self) -> Reader:
        """A reader of the rounds that begin from now on; close it. Raises Busy."""
        if len(self._readers) >= MAX_READERS:
            raise Busy(f"trace: all {MAX_READERS} places for those who record are taken")
        reader = Reader()
        if self._drained:
            reader.end()
        self._readers.add(reader)
        return reader

    def close(self, reader: Reader) -> None:
        """It is not read any more."""
        reader.end()
        self._readers.discard(reader)

    def begin(self, frame_index: int, round_: int) -> RoundRecorder | None:
        """For a round that begins; None: nobody records."""
        readers = tuple(reader for reader in self._readers if reader.open)
        return RoundRecorder(RoundLog(frame_index, round_), readers) if readers else None

    def drain(self) -> None:
        """End all readers after what they have."""
        self._drained = True
        for reader in self._readers:
            reader.end()


class RecordingChannel:
    """A channel of an in-process pipeline (gocom.common.pipeline.Channel), and what it did.

    All batches of a round must come before the next round's; a sequence number that comes again begins another round.

    Args:
        channel: such as a Chain.

    Raises:
        TooLarge: when called, for a packet that no trace can hold.
    """

    def __init__(self, channel: Callable[[FrameHeader, PacketBatch], PacketBatch]) -> None:
        self._channel = channel
        self._rounds: list[channel_pb2.TraceRound] = []
        self._log: RoundLog | None = None
        self._sent = np.zeros(MAX_PACKETS, bool)

    def __call__(self, header: FrameHeader, batch: PacketBatch) -> PacketBatch:
        if len(batch) and int(batch.sequence.max()) >= MAX_PACKETS:
            raise TooLarge(f"trace: packet {int(batch.sequence.max())}; a trace has rounds of {MAX_PACKETS} at most")
        left = self._channel(header, batch)
        key = (header.frame_index, header.round)
        if self._log is None or self._log.key != key or self._sent[batch.sequence].any():
            self._end()
            self._log = RoundLog(*key)
        self._sent[batch.sequence] = True
        self._log.add(batch, left)
        return left

    @property
    def rounds(self) -> list[channel_pb2.TraceRound]:
        """Of all rounds so far; the one at hand ends with this. Raises TooLarge for what no trace can hold."""
        self._end()
        return list(self._rounds)

    def _end(self) -> None:
        sent = int(np.flatnonzero(self._sent).max(initial=-1)) + 1
        if self._log is not None and sent:
            self._rounds.append(self._log.message(sent))
        self._log = None
        self._sent[:] = False


def _flipped(arrived: PacketBatch, left: PacketBatch, wanted: Bools, most: int) -> tuple[Ints, Ints]:
    """Packet (an index into `left`) and bit of each flip in the packets wanted, int64 [F], the first `most` of them."""
    shift, same = _moved(arrived, left)
    wanted = wanted & same
    ends = np.cumsum(left.length)
    begins = ends - left.length
    packets, bits = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    for start in range(0, len(left.payload), _SLICE):
        stop = min(start + _SLICE, len(left.payload))
        place: Ints | slice = slice(start, stop)
        if shift is not None:
            here = (np.minimum(ends, stop) - np.maximum(begins, start)).clip(min=0)
            place = (np.arange(start, stop) + np.repeat(shift, here)).clip(max=len(arrived.payload) - 1)
        differs = arrived.payload[place] ^ left.payload[start:stop]
        changed = np.flatnonzero(differs)
        packet = np.searchsorted(ends, start + changed, side="right")
        kept = wanted[packet]
        changed, packet = changed[kept][:most], packet[kept][:most]
        row, bit = np.nonzero(np.unpackbits(differs[changed][:, None], axis=1))
        row, bit = row[:most], bit[:most]
        packets.append(packet[row])
        bits.append((start + changed - begins[packet])[row] * 8 + bit)
        most -= len(bit)
        if not most:
            break
    return np.concatenate(packets), np.concatenate(bits)


def _moved(arrived: PacketBatch, left: PacketBatch) -> tuple[Ints | None, Bools]:
    """By how many bytes the payload of each packet of `left` came elsewhere, int64 [P], or None where all lie where
    they came; and bool [P]: whether that packet came."""
    if np.array_equal(arrived.sequence, left.sequence) and np.array_equal(arrived.length, left.length):
        return None, np.ones(len(left), bool)
    order = np.argsort(arrived.sequence, kind="stable")
    source = order[np.searchsorted(arrived.sequence[order], left.sequence).clip(max=len(arrived) - 1)]
    same = (arrived.sequence[source] == left.sequence) & (arrived.length[source] == left.length)
    return np.where(same, arrived.offset[source] - left.offset, -left.offset), same
