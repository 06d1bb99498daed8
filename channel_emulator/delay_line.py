"""What a session still has to send: packets that wait until they are due, and items that wait for the packets.

    put(packets) --held back, while others overtake--> --by the millisecond they are due--> written, with others of it
    put(item)    --until everything that was put before has gone--> written

Packets keep the order in which they may go but for delays that differ by a millisecond or more. What is under way is
bounded in bytes: beyond that `put` waits, and with it the sender.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from heapq import heappop, heappush

import grpc
import numpy as np

from channel_emulator.parcels import ON_WIRE_LEAST, Parcel, Piece, messages
from channel_emulator.timed_faults import Flight, Overtaking
from common.types import Ints

MAX_BYTES = 32 << 20
"""Under way in a session. A batch counts until the last of its packets has gone."""
_LEAST_MESSAGE, _MOST_MESSAGE = 48 << 10, 1 << 20
"""Of packets written together. Any service takes 64 KiB; what is more is no more than the sender itself wrote."""
_ITEM_BYTES = 1024
"""What keeping an item takes beyond itself."""

LINK_ENDED = (grpc.aio.AioRpcError, asyncio.InvalidStateError)
"""The next hop ended the call, as a write tells; why is its status, and read on the way back."""


class _Part:
    """Packets between two items. Times are ms; `began`: when its first ones came."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._order = Overtaking()
        self._held: list[tuple[int, int, Parcel, int]] = []
        self._came = 0
        self._due: dict[int, list[Piece]] = {}
        self._times: list[int] = []

    @property
    def next_due(self) -> int | None:
        """When the next packets may go; None where all have gone, or are held back."""
        return self._times[0] if self._times else None

    def add(self, parcel: Parcel, now: float) -> None:
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

    def _release(self, parcel: Parcel, rows: Ints, keys: Ints, now: float) -> Ints:
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

    def _schedule(self, parcel: Parcel, rows: Ints, now: float) -> None:
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

    def _book(self, time: int, piece: Piece) -> None:
        if time not in self._due:
            self._due[time] = []
            heappush(self._times, time)
        self._due[time].append(piece)

    def take_due(self, now: float) -> list[Piece]:
        """Packets that may go now, in order."""
        pieces: list[Piece] = []
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
        parcel, now = Parcel(flight), _now_ms()
        batch = flight.batch
        most = min(_MOST_MESSAGE, len(batch.payload) + ON_WIRE_LEAST * len(batch))
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

    async def _write_packets(self, pieces: Sequence[Piece]) -> None:
        for message in messages(pieces, self._message_bytes):
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
