"""What a session still has to send: packets that wait until they are due, and items that wait for the packets.

    put(packets) --held back, while others overtake--> --by the millisecond they are due--> written, with others of it
    put(item)    --until everything that was put before has gone--> written

Packets keep the order in which they may go but for delays that differ by a millisecond or more. What is under way is
bounded in bytes: beyond that `put` waits, and with it the sender.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from heapq import heappop, heappush

import grpc
import numpy as np

from channel_emulator.timed_faults import Flight, Overtaking
from common.packets import PacketBatch
from common.types import Ints
from common.wire import batch_to_proto
from gocom.v1 import link_pb2

MAX_BYTES = 32 << 20
"""Under way in a session. A batch counts until the last of its packets has gone."""
_LEAST_MESSAGE, _MOST_MESSAGE = 48 << 10, 1 << 20
"""Of packets written together. Any service takes 64 KiB; what is more is no more than the sender itself wrote."""
_PACKET_BYTES, _ITEM_BYTES = 192, 1024
"""What keeping a packet takes beyond its payload, and an item beyond itself."""
_ON_WIRE, _ON_WIRE_LEAST = 32, 6
"""Bytes of a packet's columns in a message."""
_TOGETHER = 1 << 16
"""Packets and copies looked at together; bounds memory."""

LINK_ENDED = (grpc.aio.AioRpcError, asyncio.InvalidStateError)
"""The next hop ended the call, as a write tells; why is its status, and read on the way back."""


_COPIES, _BEGIN, _LENGTH, _SEQUENCE, _CHECKSUM, _POWER = 0, 1, 2, 3, 7, 8
"""Rows of a parcel's columns; from the third on they are those of PacketBatch, in its order."""


class _Parcel:
    """A batch under way.

    Attributes:
        flight: the batch.
        left: how many of its packets have not gone.
        size: what keeping it takes, bytes.
        columns: int64 [9, P]; power as the bits of a float32.
        payload: of all packets.
    """

    __slots__ = ("columns", "flight", "left", "payload", "size")

    def __init__(self, flight: Flight) -> None:
        batch = flight.batch
        self.flight = flight
        self.left = int(np.count_nonzero(~batch.erased))
        self.size = len(batch.payload) + _PACKET_BYTES * len(batch)
        self.payload = np.ascontiguousarray(batch.payload).data
        self.columns: Ints = np.stack([
            flight.copies, batch.offset, batch.length, batch.sequence, batch.segment, batch.first_element,
            batch.element_count, batch.checksum, batch.power.view(np.uint32),
        ]).astype(np.int64)  # fmt: skip


_Piece = tuple[_Parcel, Ints]
"""Packets of a parcel, by their indices."""


class _Part:
    """Packets between two items. Times are ms; `began`: when its first ones came."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._order = Overtaking()
        self._held: list[tuple[int, int, _Parcel, int]] = []
        self._came = 0
        self._due: dict[int, list[_Piece]] = {}
        self._times: list[int] = []

    @property
    def next_due(self) -> int | None:
        """When the next packets may go; None where all have gone, or are held back."""
        return self._times[0] if self._times else None

    def add(self, parcel: _Parcel, now: float) -> None:
        """Take a batch."""
        rows = np.flatnonzero(~parcel.flight.batch.erased)
        behind = parcel.flight.behind[rows]
        keys = self._order.keys(behind)
        if self._held or behind.any():
            late = keys > self._order.reached
            held, held_keys = rows[late], keys[late]
            order = np.argsort(keys[~late], kind="stable")
            rows, keys = rows[~late][order], keys[~late][order]
            rows = self._release(parcel, rows, keys, now)
            for key, row in zip(held_keys.tolist(), held.tolist(), strict=True):
                heappush(self._held, (key, self._came, parcel, row))
                self._came += 1
        self._schedule(parcel, rows, now)

    def _release(self, parcel: _Parcel, rows: Ints, keys: Ints, now: float) -> Ints:
        """Let go of those held back from earlier batches, each in its place among `rows`; what of these is left."""
        while self._held and self._held[0][0] <= self._order.reached:
            key, _, earlier, row = heappop(self._held)
            place = int(np.searchsorted(keys, key, side="left"))
            self._schedule(parcel, rows[:place], now)
            self._schedule(earlier, np.array([row]), now)
            rows, keys = rows[place:], keys[place:]
        return rows

    def release_all(self, now: float) -> None:
        """Nothing more will overtake what is held back."""
        parcel, rows = None, []
        while self._held:
            _, _, other, row = heappop(self._held)
            if other is not parcel and parcel is not None:
                self._schedule(parcel, np.array(rows), now)
                rows = []
            parcel = other
            rows.append(row)
        if parcel is not None:
            self._schedule(parcel, np.array(rows), now)

    def _schedule(self, parcel: _Parcel, rows: Ints, now: float) -> None:
        if not len(rows):
            return
        flight = parcel.flight
        due = np.maximum(self._began + flight.queue_ms[rows], now) + flight.delay_ms[rows]
        times = np.where(due > now, np.ceil(due), np.floor(now)).astype(np.int64)
        if (times == times[0]).all():
            self._book(int(times[0]), (parcel, rows))
            return
        order = np.argsort(times, kind="stable")
        times, rows = times[order], rows[order]
        begins = np.flatnonzero(np.diff(times, prepend=-1))
        for time, piece in zip(times[begins].tolist(), np.split(rows, begins[1:]), strict=True):
            self._book(time, (parcel, piece))

    def _book(self, time: int, piece: _Piece) -> None:
        if time not in self._due:
            self._due[time] = []
            heappush(self._times, time)
        self._due[time].append(piece)

    def take_due(self, now: float) -> list[_Piece]:
        """Packets that may go now, in order."""
        pieces: list[_Piece] = []
        while self._times and self._times[0] <= now:
            pieces += self._due.pop(heappop(self._times))
        return pieces


class DelayLine:
    """For one session; used from the event loop, by one task that puts.

    Args:
        write: sends a message to the next hop; only the line calls it from the first `put` on.
    """

    def __init__(self, write: Callable[[bytes], Awaitable[None]]) -> None:
        self._write = write
        self._queue: deque[_Part | bytes] = deque()
        self._bytes = 0
        self._message_bytes = _LEAST_MESSAGE
        self._failed: BaseException | None = None
        self._came, self._went = asyncio.Event(), asyncio.Event()
        self._writing = asyncio.create_task(self._run())

    async def put(self, item: bytes | Flight) -> None:
        """Take packets, or an item that goes after all of them; returns when there is room for more.

        Raises:
            what writing raised.
        """
        if self._failed is not None:
            raise self._failed
        if isinstance(item, bytes):
            self._release()
            self._queue.append(item)
            self._bytes += len(item) + _ITEM_BYTES
        else:
            self._put_packets(item)
        self._came.set()
        while self._bytes > MAX_BYTES and self._failed is None:
            # What waits for packets that cannot come any more would wait for ever.
            self._release()
            self._went.clear()
            await self._went.wait()

    async def emptied(self) -> None:
        """Returns when everything has gone, also when the next hop has ended the call; after an item, not within a
        round. Raises what else went wrong."""
        while self._queue and self._failed is None:
            self._went.clear()
            await self._went.wait()
        if self._failed is not None and not isinstance(self._failed, LINK_ENDED):
            raise self._failed

    async def close(self) -> None:
        """Forget what has not gone."""
        self._writing.cancel()
        await asyncio.gather(self._writing, return_exceptions=True)

    def _put_packets(self, flight: Flight) -> None:
        parcel, now = _Parcel(flight), _now_ms()
        batch = flight.batch
        most = min(_MOST_MESSAGE, len(batch.payload) + _ON_WIRE_LEAST * len(batch))
        self._message_bytes = max(self._message_bytes, most)
        if not parcel.left:
            return
        if not self._queue or not isinstance(self._queue[-1], _Part):
            self._queue.append(_Part(now))
        part = self._queue[-1]
        assert isinstance(part, _Part)
        part.add(parcel, now)
        self._bytes += parcel.size

    def _release(self) -> None:
        if self._queue and isinstance(part := self._queue[-1], _Part):
            part.release_all(_now_ms())
            self._came.set()

    async def _run(self) -> None:
        try:
            while True:
                await self._step()
        except Exception as error:
            # Told to who puts next.
            self._failed = error
        finally:
            self._went.set()

    async def _step(self) -> None:
        """Write what may go, or wait for that."""
        head = self._queue[0] if self._queue else None
        if isinstance(head, bytes):
            await self._write(head)
            self._queue.popleft()
            self._gone(len(head) + _ITEM_BYTES)
            return
        due = head.next_due if head is not None else None
        if head is not None and due is not None and due <= _now_ms():
            await self._write_packets(head.take_due(_now_ms()))
        elif due is None and len(self._queue) > 1:
            self._queue.popleft()
        else:
            await self._wait(due)

    async def _wait(self, due: int | None) -> None:
        """Until something is put, or until that time."""
        self._came.clear()
        try:
            await asyncio.wait_for(self._came.wait(), None if due is None else max(0.0, due - _now_ms()) / 1000)
        except TimeoutError:
            return

    async def _write_packets(self, pieces: Sequence[_Piece]) -> None:
        for message in _messages(pieces, self._message_bytes):
            await self._write(message)
        for parcel, rows in pieces:
            parcel.left -= len(rows)
            if not parcel.left:
                self._gone(parcel.size)

    def _gone(self, size: int) -> None:
        self._bytes -= size
        self._went.set()


def _now_ms() -> float:
    return 1000 * asyncio.get_running_loop().time()


def _messages(pieces: Sequence[_Piece], most: int) -> Iterator[bytes]:
    """Packets with their copies as items, cut so that each has at most so many bytes, or one packet."""
    # Many pieces are one packet each: few operations on each piece, all else on all of them.
    table = np.concatenate([parcel.columns[:, rows] for parcel, rows in pieces], axis=1)
    whose = np.repeat(np.arange(len(pieces)), [len(rows) for _, rows in pieces])
    step = max(1, _TOGETHER // (1 + int(table[_COPIES].max())))
    for first in range(0, len(whose), step):
        part, owner = table[:, first : first + step], whose[first : first + step]
        times = 1 + part[_COPIES]
        payloads = [pieces[piece][0].payload for piece in np.repeat(owner, times).tolist()]
        yield from _cut(np.repeat(part, times, axis=1), payloads, most)


def _cut(table: Ints, payloads: Sequence[memoryview], most: int) -> Iterator[bytes]:
    """Packets as items; `table`: their columns as _Parcel has them, `payloads`: what each one's lies in."""
    ends = np.cumsum(table[_LENGTH] + _ON_WIRE)
    start = 0
    while start < len(ends):
        used = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, used + most, side="right")))
        yield _encode(table[:, start:stop], payloads[start:stop])
        start = stop


def _encode(table: Ints, data: Sequence[memoryview]) -> bytes:
    """One item; see _cut."""
    begin, length = table[_BEGIN], table[_LENGTH]
    places = zip(data, begin.tolist(), (begin + length).tolist(), strict=True)
    batch = PacketBatch(
        np.frombuffer(b"".join([whole[start:stop] for whole, start, stop in places]), np.uint8),
        length, *table[_SEQUENCE:_CHECKSUM],
        checksum=table[_CHECKSUM].astype(np.uint32),
        power=table[_POWER].astype(np.uint32).view(np.float32),
        erased=np.zeros(len(length), bool),
    )  # fmt: skip
    return link_pb2.SendRequest(batch=batch_to_proto(batch)).SerializeToString()
