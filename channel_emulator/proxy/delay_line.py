"""What a session still has to send: packets that wait until they are due, and items that wait for the packets.

    put(packets) --held back, while others overtake--> --by the millisecond they are due--> written, with others of it
    put(item)    --until everything that was put before has gone--> written

Packets keep the order in which they may go but for delays that differ by a millisecond or more. What is under way is
bounded in bytes: beyond that `put` waits, and with it the sender.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from operator import itemgetter

import grpc
import numpy as np

from gocom.channel_emulator.fault_bases.timed_fault import Doubles, Overtaking, TimedBatch, in_queue_order
from gocom.channel_emulator.proxy.delayed_batch import ON_WIRE_LEAST, DelayedBatch, Piece, messages
from gocom.common.types import Ints

MAX_BYTES = 32 << 20
"""Under way in a session. A batch counts until the last of its packets has gone."""
_LEAST_MESSAGE, _MOST_MESSAGE = 48 << 10, 1 << 20
"""Of packets written together. Any service takes 64 KiB; what is more is no more than the sender itself wrote."""
_ITEM_BYTES = 1024
"""What keeping an item takes beyond itself."""

LINK_ENDED = (grpc.aio.AioRpcError, asyncio.InvalidStateError)
"""The next hop ended the call, as a write tells; why is its status, and read on the way back."""


@dataclass(frozen=True, slots=True)
class _Leaving:
    """Packets of a delayed in the order in which they leave; each column has [N].

    Attributes:
        delayed: whose they are.
        keys: int64, see Overtaking; ascending.
        rows: int64, indices into the delayed.
        queue_ms, delay_ms: float64, see TimedBatch.
    """

    delayed: DelayedBatch
    keys: Ints
    rows: Ints
    queue_ms: Doubles
    delay_ms: Doubles

    @classmethod
    def of(cls, delayed: DelayedBatch, timed_batch: TimedBatch, order: Overtaking) -> _Leaving:
        """All of a batch that leave."""
        rows = np.flatnonzero(~timed_batch.batch.erased)
        keys = order.keys(timed_batch.behind[rows])
        sorting = np.argsort(keys, kind="stable")
        rows = rows[sorting]
        return cls(delayed, keys[sorting], rows, timed_batch.queue_ms[rows], timed_batch.delay_ms[rows])

    def part(self, start: int, stop: int) -> _Leaving:
        """Some in a row."""
        columns = (self.keys, self.rows, self.queue_ms, self.delay_ms)
        return _Leaving(self.delayed, *(column[start:stop] for column in columns))  # type: ignore[arg-type]


class _Part:
    """Packets between two items. Ticks are whole ms from `began` on, ms: when the first of them came."""

    def __init__(self, began: float) -> None:
        self._began = began
        self._order = Overtaking()
        self._held: list[tuple[int, int, _Leaving]] = []
        self._came = 0
        self._queue_ms = 0.0
        self._due: dict[int, list[Piece]] = {}
        self._ticks: list[int] = []

    @property
    def next_due(self) -> float | None:
        """When the next packets may go, ms; None where all have gone, or are held back."""
        return self._began + self._ticks[0] if self._ticks else None

    def add(self, delayed: DelayedBatch, timed_batch: TimedBatch, now: float) -> None:
        """Take a batch of which something leaves."""
        leaving = _Leaving.of(delayed, timed_batch, self._order)
        heappush(self._held, (int(leaving.keys[0]), self._came, leaving))
        self._came += 1
        self._let_go(self._order.reached, now)

    def release_all(self, now: float) -> None:
        """Nothing more will overtake what is held back."""
        self._let_go(math.inf, now)

    def _let_go(self, reached: float, now: float) -> None:
        """Those with keys up to this one."""
        gone: list[tuple[int, _Leaving]] = []
        while self._held and self._held[0][0] <= reached:
            _, came, leaving = heappop(self._held)
            count = int(np.searchsorted(leaving.keys, reached, side="right"))
            gone.append((came, leaving.part(0, count)))
            if count < len(leaving.keys):
                rest = leaving.part(count, len(leaving.keys))
                heappush(self._held, (int(rest.keys[0]), came, rest))
        if gone:
            # Of equal keys the first to come is the first to go.
            gone.sort(key=itemgetter(0))
            self._schedule([leaving for _, leaving in gone], now)

    def _schedule(self, leaving: Sequence[_Leaving], now: float) -> None:
        """Book packets that leave now; all at once, for there may be tens of thousands of them, few of each delayed."""
        order = np.argsort(np.concatenate([each.keys for each in leaving]), kind="stable")
        whose = np.repeat(np.arange(len(leaving)), [len(each.rows) for each in leaving])[order]
        rows = np.concatenate([each.rows for each in leaving])[order]
        delay = np.concatenate([each.delay_ms for each in leaving])[order]
        queue = in_queue_order(np.concatenate([each.queue_ms for each in leaving])[order], self._queue_ms)
        self._queue_ms, since = float(queue[-1]), now - self._began
        # What no delay holds up goes at once: it does not wait for the next tick.
        came = np.where(delay > 0, np.ceil(since + delay), np.floor(since))
        ticks = np.maximum(np.ceil(queue + delay), came).astype(np.int64)
        order = np.argsort(ticks, kind="stable")
        ticks, whose, rows = ticks[order], whose[order], rows[order]
        begins = np.flatnonzero(np.diff(ticks, prepend=-1) | np.diff(whose, prepend=-1))
        pieces = np.split(rows, begins[1:])
        for tick, owner, piece in zip(ticks[begins].tolist(), whose[begins].tolist(), pieces, strict=True):
            self._book(tick, (leaving[owner].delayed, piece))

    def _book(self, tick: int, piece: Piece) -> None:
        if tick not in self._due:
            self._due[tick] = []
            heappush(self._ticks, tick)
        self._due[tick].append(piece)

    def take_due(self, now: float) -> list[Piece]:
        """Packets that may go now, in order."""
        pieces: list[Piece] = []
        while (due := self.next_due) is not None and due <= now:
            pieces += self._due.pop(heappop(self._ticks))
        return pieces


class DelayLine:
    """For one session; used from the event loop, by one task that puts.

    Args:
        write: sends a message to the next hop; only the line calls it from the first `put` on.
        broken: gets what went wrong when the line cannot go on; not where the next hop ended the call.
    """

    def __init__(self, write: Callable[[bytes], Awaitable[None]], broken: asyncio.Future[None]) -> None:
        self._write, self._broken = write, broken
        self._queue: deque[_Part | bytes] = deque()
        self._bytes = 0
        self._message_bytes = _LEAST_MESSAGE
        self._failed: BaseException | None = None
        self._came, self._went = asyncio.Event(), asyncio.Event()
        self._writing = asyncio.create_task(self._run())

    async def put(self, item: bytes | TimedBatch) -> None:
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

    def _put_packets(self, timed_batch: TimedBatch) -> None:
        delayed, now = DelayedBatch(timed_batch), _now_ms()
        batch = timed_batch.batch
        most = min(_MOST_MESSAGE, len(batch.payload) + ON_WIRE_LEAST * len(batch))
        self._message_bytes = max(self._message_bytes, most)
        if not delayed.left:
            return
        if not self._queue or not isinstance(self._queue[-1], _Part):
            self._queue.append(_Part(now))
        part = self._queue[-1]
        assert isinstance(part, _Part)
        part.add(delayed, timed_batch, now)
        self._bytes += delayed.size

    def _release(self) -> None:
        if self._queue and isinstance(part := self._queue[-1], _Part):
            part.release_all(_now_ms())
            self._came.set()

    async def _run(self) -> None:
        try:
            while True:
                await self._step()
        except Exception as error:
            # Told to who puts next; there may be none who does, as a sender waits for an answer to what it put.
            self._failed = error
            if not (isinstance(error, LINK_ENDED) or self._broken.done()):
                self._broken.set_exception(error)
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

    async def _wait(self, due: float | None) -> None:
        """Until something is put, or until that time."""
        self._came.clear()
        try:
            await asyncio.wait_for(self._came.wait(), None if due is None else max(0.0, due - _now_ms()) / 1000)
        except TimeoutError:
            return

    async def _write_packets(self, pieces: Sequence[Piece]) -> None:
        for message in messages(pieces, self._message_bytes):
            await self._write(message)
        for delayed, rows in pieces:
            delayed.left -= len(rows)
            if not delayed.left:
                self._gone(delayed.size)

    def _gone(self, size: int) -> None:
        self._bytes -= size
        self._went.set()


def _now_ms() -> float:
    return 1000 * asyncio.get_running_loop().time()
