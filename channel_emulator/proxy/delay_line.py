"""The queue of what a session still has to send: delayed packets, and items that wait for them.

    put(packets) --held back until overtaken--> --until their departure time, in whole ms--> written together
    put(item)    --until everything that was put before is sent--> written

Packets leave in order, unless their delays differ by a millisecond or more. The queued bytes are bounded: beyond the
bound `put` waits, and so does the sender.
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

from gocom.channel_emulator.fault_bases.timed_fault import DepartureOrder, Doubles, TimedBatch, fifo_departures_ms
from gocom.channel_emulator.proxy.delayed_batch import MIN_COLUMN_BYTES, DelayedBatch, PacketSelection, messages
from gocom.common.types import Ints

MAX_BYTES = 32 << 20
"""Largest number of bytes queued in a session. A batch counts until its last packet is sent."""
_MIN_MESSAGE_BYTES, _MAX_MESSAGE_BYTES = 48 << 10, 1 << 20
"""Smallest and largest size limit of the messages that packets are written in, in bytes.

Any service accepts 64 KiB. Larger messages are no larger than those of the sender.
"""
_ITEM_BYTES = 1024
"""Memory that an item takes beyond its own bytes."""

LINK_ENDED = (grpc.aio.AioRpcError, asyncio.InvalidStateError)
"""Errors of a write after the next hop has ended the call; its status is read on the way back."""


@dataclass(frozen=True, slots=True)
class _Departures:
    """Packets of a delayed batch in the order in which they leave; each column has [N].

    Attributes:
        delayed: the batch.
        keys: int64, ascending; see DepartureOrder.
        rows: int64, indices into the batch.
        queue_ms, delay_ms: float64; see TimedBatch.
    """

    delayed: DelayedBatch
    keys: Ints
    rows: Ints
    queue_ms: Doubles
    delay_ms: Doubles

    @classmethod
    def of(cls, delayed: DelayedBatch, timed_batch: TimedBatch, order: DepartureOrder) -> _Departures:
        """Return all packets of a batch that are not erased."""
        rows = np.flatnonzero(~timed_batch.batch.erased)
        keys = order.keys(timed_batch.overtaken_by[rows])
        sorting = np.argsort(keys, kind="stable")
        rows = rows[sorting]
        return cls(delayed, keys[sorting], rows, timed_batch.queue_ms[rows], timed_batch.delay_ms[rows])

    def slice(self, start: int, stop: int) -> _Departures:
        """Return the packets in the range from start to stop."""
        columns = (self.keys, self.rows, self.queue_ms, self.delay_ms)
        return _Departures(self.delayed, *(column[start:stop] for column in columns))  # type: ignore[arg-type]


class _PacketGroup:
    """The packets between two items.

    Args:
        began: time when the first packet arrived, in ms; ticks are whole ms after it.
    """

    def __init__(self, began: float) -> None:
        self._began = began
        self._order = DepartureOrder()
        self._held: list[tuple[int, int, _Departures]] = []
        self._batch_count = 0
        self._queue_ms = 0.0
        self._due: dict[int, list[PacketSelection]] = {}
        self._ticks: list[int] = []

    @property
    def next_due(self) -> float | None:
        """Time when the next packets are due, in ms; None if all are sent or held back."""
        return self._began + self._ticks[0] if self._ticks else None

    def add(self, delayed: DelayedBatch, timed_batch: TimedBatch, now: float) -> None:
        """Add a batch in which not all packets are erased."""
        departures = _Departures.of(delayed, timed_batch, self._order)
        heappush(self._held, (int(departures.keys[0]), self._batch_count, departures))
        self._batch_count += 1
        self._release_up_to(self._order.max_released_key, now)

    def release_all(self, now: float) -> None:
        """Schedule all packets that are held back, as no further packets will overtake them."""
        self._release_up_to(math.inf, now)

    def _release_up_to(self, max_key: float, now: float) -> None:
        """Let go of the packets that nothing can overtake any more, and schedule them from now on.

        Args:
            max_key: the packets with keys up to this one are let go; see DepartureOrder.
            now: the time, ms.
        """
        released: list[tuple[int, _Departures]] = []
        while self._held and self._held[0][0] <= max_key:
            _, number, departures = heappop(self._held)
            count = int(np.searchsorted(departures.keys, max_key, side="right"))
            released.append((number, departures.slice(0, count)))
            if count < len(departures.keys):
                rest = departures.slice(count, len(departures.keys))
                heappush(self._held, (int(rest.keys[0]), number, rest))
        if released:
            # Packets with equal keys leave in order of arrival.
            released.sort(key=itemgetter(0))
            self._schedule([departures for _, departures in released], now)

    def _schedule(self, departures: Sequence[_Departures], now: float) -> None:
        """Schedule packets that leave the queue now, all at once: there may be tens of thousands, few of each batch."""
        order = np.argsort(np.concatenate([each.keys for each in departures]), kind="stable")
        owner_of_packet = np.repeat(np.arange(len(departures)), [len(each.rows) for each in departures])[order]
        rows = np.concatenate([each.rows for each in departures])[order]
        delay = np.concatenate([each.delay_ms for each in departures])[order]
        queue = fifo_departures_ms(np.concatenate([each.queue_ms for each in departures])[order], self._queue_ms)
        self._queue_ms, elapsed = float(queue[-1]), now - self._began
        # A packet without delay leaves at once instead of waiting for the next tick.
        earliest = np.where(delay > 0, np.ceil(elapsed + delay), np.floor(elapsed))
        ticks = np.maximum(np.ceil(queue + delay), earliest).astype(np.int64)
        order = np.argsort(ticks, kind="stable")
        ticks, owner_of_packet, rows = ticks[order], owner_of_packet[order], rows[order]
        begins = np.flatnonzero(np.diff(ticks, prepend=-1) | np.diff(owner_of_packet, prepend=-1))
        selections = np.split(rows, begins[1:])
        owners = owner_of_packet[begins].tolist()
        for tick, owner, selection in zip(ticks[begins].tolist(), owners, selections, strict=True):
            self._add_due(tick, (departures[owner].delayed, selection))

    def _add_due(self, tick: int, selection: PacketSelection) -> None:
        if tick not in self._due:
            self._due[tick] = []
            heappush(self._ticks, tick)
        self._due[tick].append(selection)

    def take_due(self, now: float) -> list[PacketSelection]:
        """Return the packets that are due, in order."""
        selections: list[PacketSelection] = []
        while (due := self.next_due) is not None and due <= now:
            selections += self._due.pop(heappop(self._ticks))
        return selections


class DelayLine:
    """The delay line of one session. It is used from the event loop, and a single task calls `put`.

    Args:
        write: sends a message to the next hop; once `put` was called, only the line may call it.
        failure: receives the error when the line cannot go on, unless the next hop has ended the call.
    """

    def __init__(self, write: Callable[[bytes], Awaitable[None]], failure: asyncio.Future[None]) -> None:
        self._write, self._failure = write, failure
        self._queue: deque[_PacketGroup | bytes] = deque()
        self._bytes = 0
        self._message_bytes = _MIN_MESSAGE_BYTES
        self._error: BaseException | None = None
        self._item_added, self._space_freed = asyncio.Event(), asyncio.Event()
        self._writing = asyncio.create_task(self._run())

    async def put(self, item: bytes | TimedBatch) -> None:
        """Queue packets, or an item that is sent after all of them; return when there is room for more.

        Raises:
            Exception: the error of an earlier write.
        """
        if self._error is not None:
            raise self._error
        if isinstance(item, bytes):
            self._release()
            self._queue.append(item)
            self._bytes += len(item) + _ITEM_BYTES
        else:
            self._put_packets(item)
        self._item_added.set()
        while self._bytes > MAX_BYTES and self._error is None:
            # While `put` waits nothing can overtake the packets that are held back, so release them.
            self._release()
            self._space_freed.clear()
            await self._space_freed.wait()

    async def wait_until_empty(self) -> None:
        """Wait until everything is sent, or the next hop has ended the call. Call it after an item, not within a round.

        Raises:
            Exception: the error of a write, other than the end of the call.
        """
        while self._queue and self._error is None:
            self._space_freed.clear()
            await self._space_freed.wait()
        if self._error is not None and not isinstance(self._error, LINK_ENDED):
            raise self._error

    async def close(self) -> None:
        """Discard everything that is not sent."""
        self._writing.cancel()
        await asyncio.gather(self._writing, return_exceptions=True)

    def _put_packets(self, timed_batch: TimedBatch) -> None:
        delayed, now = DelayedBatch(timed_batch), _now_ms()
        batch = timed_batch.batch
        message_bytes = min(_MAX_MESSAGE_BYTES, len(batch.payload) + MIN_COLUMN_BYTES * len(batch))
        self._message_bytes = max(self._message_bytes, message_bytes)
        if not delayed.unsent:
            return
        if not self._queue or not isinstance(self._queue[-1], _PacketGroup):
            self._queue.append(_PacketGroup(now))
        group = self._queue[-1]
        assert isinstance(group, _PacketGroup)
        group.add(delayed, timed_batch, now)
        self._bytes += delayed.size

    def _release(self) -> None:
        if self._queue and isinstance(group := self._queue[-1], _PacketGroup):
            group.release_all(_now_ms())
            self._item_added.set()

    async def _run(self) -> None:
        try:
            while True:
                await self._step()
        except Exception as error:
            # The next `put` raises the error. There may be none, as the sender may be waiting for an answer.
            self._error = error
            if not (isinstance(error, LINK_ENDED) or self._failure.done()):
                self._failure.set_exception(error)
        finally:
            self._space_freed.set()

    async def _step(self) -> None:
        """Write what is due, or wait for it."""
        head = self._queue[0] if self._queue else None
        if isinstance(head, bytes):
            await self._write(head)
            self._queue.popleft()
            self._free(len(head) + _ITEM_BYTES)
            return
        due = head.next_due if head is not None else None
        if head is not None and due is not None and due <= _now_ms():
            await self._write_packets(head.take_due(_now_ms()))
        elif due is None and len(self._queue) > 1:
            self._queue.popleft()
        else:
            await self._wait(due)

    async def _wait(self, due: float | None) -> None:
        """Wait until something is put, or until `due`."""
        self._item_added.clear()
        try:
            await asyncio.wait_for(self._item_added.wait(), None if due is None else max(0.0, due - _now_ms()) / 1000)
        except TimeoutError:
            return

    async def _write_packets(self, selections: Sequence[PacketSelection]) -> None:
        for message in messages(selections, self._message_bytes):
            await self._write(message)
        for delayed, rows in selections:
            delayed.unsent -= len(rows)
            if not delayed.unsent:
                self._free(delayed.size)

    def _free(self, size: int) -> None:
        self._bytes -= size
        self._space_freed.set()


def _now_ms() -> float:
    return 1000 * asyncio.get_running_loop().time()
