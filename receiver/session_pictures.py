"""Pictures that subscribers can still get: the last finished pictures of each session, and previews.

Finished pictures of a session are numbered, and the number of a picture is its cursor. The numbers of a record begin at
the time when it was made. So they are larger than those of a record from before a restart of the receiver, and a
subscriber that goes on from an old cursor gets all pictures of the new record. Previews are not kept: each replaces the
previous one of its frame. It carries the cursor of the last finished picture, so no picture is missed by going on from
it. The same holds for the goal of the session: subscribers get the latest one, before the pictures made under it.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from gocom.common.errors import Busy, InvalidInput, NotReady
from gocom.common.goals import ConsumerGoal, GoalState
from gocom.common.wire.goals import goal_state_to_proto
from gocom.receiver.link_estimation import LinkEstimate
from gocom.v1 import receiver_pb2

Picture = receiver_pb2.Reconstruction
Response = receiver_pb2.SubscribeResponse

_CURSORS_PER_MS = 1 << 20
"""Number of cursors that a record may use for each millisecond of its existence."""


class OpenFrames(Protocol):
    """The open frames of one link stream, as a record sees them."""

    def __contains__(self, index: int) -> bool:
        """Return whether the frame with that index is open."""

    def hand_over(self, index: int) -> None:
        """Remove the frame with that index, because another stream brings it again."""


class SessionRecord:
    """Pictures of one session, and the estimate of its link.

    Args:
        keep: maximum number of finished pictures.
        on_added: called after a picture was added.

    Attributes:
        users: number of link streams and subscribers that hold the record; a record in use is not dropped.
        writers: number of link streams among them. During a shutdown subscriptions end after the last of these.
        streams: open frames of each link stream.
        preview_subscribers: number of subscribers that want previews.
        kept_bytes: total size of the pictures.
        link: estimate of the link from the packets of the session's rounds.
        goal: the goal of the session, with its revision.
    """

    def __init__(self, keep: int, on_added: Callable[[SessionRecord], None]) -> None:
        self.users = 0
        self.writers = 0
        self.streams: set[OpenFrames] = set()
        self.preview_subscribers = 0
        self.kept_bytes = 0
        self.link = LinkEstimate()
        self.goal = GoalState()
        self._goal_arrival = 0
        self._max_pictures, self._on_added = keep, on_added
        self._pictures: deque[tuple[Picture, object]] = deque()
        self._first_cursor = self._last_cursor = time.time_ns() // 1_000_000 * _CURSORS_PER_MS
        self._previews: dict[int, tuple[int, Picture]] = {}
        self._preview_number = 0
        self._changed = asyncio.Event()
        self._closed = False

    def add(self, picture: Picture, writer: object = None) -> None:
        """Add a finished picture and the stream that made it; the oldest picture is dropped if the record is full.

        Without a writer the picture is provisional: its stream was cut before the frame had all rounds that it needed.
        """
        if len(self._pictures) == self._max_pictures:
            self.drop_oldest()
        self._pictures.append((picture, writer))
        self.kept_bytes += picture.ByteSize()
        self._last_cursor += 1
        self._previews.pop(picture.frame_index, None)
        self._notify()
        self._on_added(self)

    def drop_oldest(self) -> None:
        """Drop the oldest picture. Subscribers that have not got it are told that they missed one."""
        self.kept_bytes -= self._pictures.popleft()[0].ByteSize()

    def __len__(self) -> int:
        return len(self._pictures)

    def find(self, frame_index: int) -> Picture | None:
        """Return the latest finished picture of a frame that is not provisional, or None."""
        pictures = (picture for picture, writer in reversed(self._pictures) if writer is not None)
        return next((picture for picture in pictures if picture.frame_index == frame_index), None)

    def writer_of(self, picture: Picture) -> object:
        """Return the writer of a picture, or None."""
        return next((writer for kept, writer in self._pictures if kept is picture), None)

    def preview(self, picture: Picture) -> None:
        """Show a preview to subscribers that want previews."""
        self._preview_number += 1
        self._previews[picture.frame_index] = (self._preview_number, picture)
        self._notify()

    def set_goal(self, goal: ConsumerGoal | None, arrival: int) -> GoalState:
        """Replace the goal, and return the goal that holds, whose revision grows only if it differs from the last one.

        Args:
            goal: the new goal; None: there is none from now on.
            arrival: number of the call that says it, in the order of arrival. The goal of a later call is kept.
        """
        if arrival < self._goal_arrival:
            return self.goal
        self._goal_arrival = arrival
        if goal != self.goal.goal:
            self.goal = GoalState(goal, self.goal.revision + 1)
            self._notify()
        return self.goal

    def close(self) -> None:
        """End all subscriptions, as soon as no link stream holds the record."""
        self._closed = True
        self._notify()

    def follow(self, cursor: int, previews: bool) -> AsyncGenerator[Response, None]:
        """Return the finished pictures after the cursor, then new ones and, if wanted, previews; and each new goal.

        Raises:
            InvalidInput: the cursor is ahead of the record; raised at once.
            NotReady: the receiver shuts down; raised by the generator.
        """
        if cursor > self._last_cursor:
            raise InvalidInput(
                f"cursor: {cursor} is ahead of the record, which ends at {self._last_cursor}; 0 is its beginning"
            )
        return self._follow(max(cursor, self._first_cursor), previews)

    async def _follow(self, cursor: int, previews: bool) -> AsyncGenerator[Response, None]:
        shown, revision = 0, 0
        while True:
            changed = self._changed
            while cursor < self._last_cursor or revision < self.goal.revision:
                if revision < self.goal.revision:
                    revision = self.goal.revision
                    yield Response(cursor=cursor, goal=goal_state_to_proto(self.goal))
                    continue
                first = self._last_cursor - len(self._pictures) + 1
                missed, cursor = max(0, first - cursor - 1), max(cursor + 1, first)
                yield Response(cursor=cursor, reconstruction=self._pictures[cursor - first][0], missed=missed)
            if previews:
                for number, picture in sorted(self._previews.values(), key=lambda entry: entry[0]):
                    # During the last yield a newer preview may have replaced this one, or the frame may have ended.
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
    """Records by session id. The record that was idle longest is dropped for a new one.

    Args:
        keep_sessions: maximum number of records.
        keep_frames: maximum number of finished pictures in a record.
        keep_bytes: maximum size of all pictures; beyond it the oldest picture of the largest record is dropped.
    """

    def __init__(self, keep_sessions: int, keep_frames: int, keep_bytes: int) -> None:
        self._keep_sessions, self._keep_frames, self._keep_bytes = keep_sessions, keep_frames, keep_bytes
        self._records: OrderedDict[str, SessionRecord] = OrderedDict()
        self._closed = False

    def hold(self, session_id: str, *, writer: bool = False) -> SessionRecord:
        """Return the record of a session, and make it if there is none. The caller has to `release` it.

        Raises Busy if all records are in use, and NotReady during a shutdown.
        """
        if self._closed:
            raise NotReady("receiver: shutting down")
        record = self._records.get(session_id)
        if record is None:
            if len(self._records) >= self._keep_sessions:
                self._drop_idle_record()
            record = self._records[session_id] = SessionRecord(self._keep_frames, self._enforce_byte_limit)
        self._records.move_to_end(session_id)
        record.users += 1
        record.writers += writer
        return record

    def find(self, session_id: str) -> SessionRecord | None:
        """Return the record of a session, or None if there is none."""
        return self._records.get(session_id)

    def release(self, record: SessionRecord, *, writer: bool = False) -> None:
        """Note that the caller does not use the record any more."""
        record.users -= 1
        record.writers -= writer
        if self._closed:
            record.close()

    def close(self) -> None:
        """End all subscriptions, and refuse new ones."""
        self._closed = True
        for record in self._records.values():
            record.close()

    def _enforce_byte_limit(self, added: SessionRecord) -> None:
        """Drop pictures until the rest is within keep_bytes, but keep the one that was just added."""
        while sum(record.kept_bytes for record in self._records.values()) > self._keep_bytes:
            largest = max(self._records.values(), key=lambda record: record.kept_bytes)
            if len(largest) < 2 and largest is added:
                return
            largest.drop_oldest()

    def _drop_idle_record(self) -> None:
        idle = next((name for name, record in self._records.items() if not record.users), None)
        if idle is None:
            raise Busy(f"all {self._keep_sessions} sessions of this receiver are in use")
        del self._records[idle]
