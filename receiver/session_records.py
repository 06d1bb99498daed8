"""What subscribers can still get: the last finished pictures of each session, and previews as they come.

Finished pictures of a session are numbered; that number is the cursor. The numbers of a record begin at the time it was
made, so that they also grow when the receiver is started anew and its records with it: whoever goes on from an old
cursor gets all that the new record has. Previews are not kept: each replaces the one before, and carries the cursor of
the last finished picture, so that going on from it misses none.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from gocom.common.errors import Busy, InvalidInput, NotReady
from gocom.receiver.link_estimation import LinkEstimate
from gocom.v1 import receiver_pb2

Picture = receiver_pb2.Reconstruction
Response = receiver_pb2.SubscribeResponse

_NUMBERS_A_MS = 1 << 20
"""Cursors that a record may use up for each millisecond it exists."""


class OpenFrames(Protocol):
    """The frames of one link stream that are not finished, as a record sees them."""

    def __contains__(self, index: int) -> bool:
        """Whether the frame of that index is open."""

    def disown(self, index: int) -> None:
        """Forget that frame: another stream brings it anew."""


class SessionRecord:
    """Pictures of one session, and what it tells of the link.

    Attributes:
        users: link streams and subscribers that hold it; a record in use is not dropped.
        writers: link streams among them; subscriptions outlive a shutdown until these are through.
        streams: the open frames of each of them.
        preview_subscribers: how many of them want previews.
        kept_bytes: size of the pictures held.
        link: what the packets of its rounds tell of the link.

    Args:
        keep: finished pictures held.
        on_added: called after each that is added.
    """

    def __init__(self, keep: int, on_added: Callable[[SessionRecord], None]) -> None:
        self.users = 0
        self.writers = 0
        self.streams: set[OpenFrames] = set()
        self.preview_subscribers = 0
        self.kept_bytes = 0
        self.link = LinkEstimate()
        self._keep, self._on_added = keep, on_added
        self._kept: deque[tuple[Picture, object]] = deque()
        self._begin = self._last = time.time_ns() // 1_000_000 * _NUMBERS_A_MS
        self._previews: dict[int, tuple[int, Picture]] = {}
        self._preview_number = 0
        self._changed = asyncio.Event()
        self._closed = False

    def add(self, picture: Picture, writer: object = None) -> None:
        """Keep a finished picture, and who made it; the oldest makes room.

        Without a writer it is provisional: its stream was cut before it had all that it wanted.
        """
        if len(self._kept) == self._keep:
            self.drop_oldest()
        self._kept.append((picture, writer))
        self.kept_bytes += picture.ByteSize()
        self._last += 1
        self._previews.pop(picture.frame_index, None)
        self._notify()
        self._on_added(self)

    def drop_oldest(self) -> None:
        """Forget the oldest picture; subscribers that have not had it yet will be told of one missed."""
        self.kept_bytes -= self._kept.popleft()[0].ByteSize()

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, frame_index: int) -> Picture | None:
        """The latest finished picture of a frame that is not provisional, if it is still kept."""
        pictures = (picture for picture, writer in reversed(self._kept) if writer is not None)
        return next((picture for picture in pictures if picture.frame_index == frame_index), None)

    def writer_of(self, picture: Picture) -> object:
        """Who made a picture that is kept."""
        return next((writer for kept, writer in self._kept if kept is picture), None)

    def preview(self, picture: Picture) -> None:
        """Show a preview to those who want it."""
        self._preview_number += 1
        self._previews[picture.frame_index] = (self._preview_number, picture)
        self._notify()

    def close(self) -> None:
        """End all subscriptions, once no link stream can add to them."""
        self._closed = True
        self._notify()

    async def follow(self, cursor: int, previews: bool) -> AsyncGenerator[Response, None]:
        """Everything kept after the cursor, then what comes. Raises NotReady when this end shuts down."""
        if cursor > self._last:
            raise InvalidInput(
                f"cursor: {cursor} is ahead of the record, which ends at {self._last}; 0 is its beginning"
            )
        cursor, shown = max(cursor, self._begin), 0
        while True:
            changed = self._changed
            while cursor < self._last:
                first = self._last - len(self._kept) + 1
                missed, cursor = max(0, first - cursor - 1), max(cursor + 1, first)
                yield Response(cursor=cursor, reconstruction=self._kept[cursor - first][0], missed=missed)
            if previews:
                for number, picture in sorted(self._previews.values(), key=lambda entry: entry[0]):
                    # While one was being written the next may have replaced it, or the frame may have ended.
                    if number > shown and self._previews.get(picture.frame_index, (0,))[0] == number:
                        shown = number
                        yield Response(cursor=cursor, reconstruction=picture)
            if self._closed and not self.writers:
                raise NotReady("receiver: shutting down; go on from the last cursor")
            await changed.wait()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()


class SessionStore:
    """Records by session id; the one that was idle longest is dropped for a new one.

    Args:
        keep_sessions: records held.
        keep_frames: finished pictures held in each.
        keep_bytes: size of all pictures held; beyond it the oldest of the largest record makes room.
    """

    def __init__(self, keep_sessions: int, keep_frames: int, keep_bytes: int) -> None:
        self._keep_sessions, self._keep_frames, self._keep_bytes = keep_sessions, keep_frames, keep_bytes
        self._records: OrderedDict[str, SessionRecord] = OrderedDict()
        self._closed = False

    def hold(self, session_id: str, *, writer: bool = False) -> SessionRecord:
        """The record of a session, made if need be; `release` it. Raises Busy when all are in use, and NotReady."""
        if self._closed:
            raise NotReady("receiver: shutting down")
        record = self._records.get(session_id)
        if record is None:
            if len(self._records) >= self._keep_sessions:
                self._drop_one()
            record = self._records[session_id] = SessionRecord(self._keep_frames, self._bound)
        self._records.move_to_end(session_id)
        record.users += 1
        record.writers += writer
        return record

    def release(self, record: SessionRecord, *, writer: bool = False) -> None:
        """The caller does not need it any more."""
        record.users -= 1
        record.writers -= writer
        if self._closed:
            record.close()

    def close(self) -> None:
        """End all subscriptions, and let none begin."""
        self._closed = True
        for record in self._records.values():
            record.close()

    def _bound(self, added: SessionRecord) -> None:
        """Keep within keep_bytes, but for the one picture that was just added."""
        while sum(record.kept_bytes for record in self._records.values()) > self._keep_bytes:
            largest = max(self._records.values(), key=lambda record: record.kept_bytes)
            if len(largest) < 2 and largest is added:
                return
            largest.drop_oldest()

    def _drop_one(self) -> None:
        idle = next((name for name, record in self._records.items() if not record.users), None)
        if idle is None:
            raise Busy(f"all {self._keep_sessions} sessions of this receiver are in use")
        del self._records[idle]
