"""Frames from being accepted to being ended, kept where a crash of the process does not reach them.

    accept --> request (the image and what is wanted of it) --> begin --> end --> events, for clients that come back

SQLite in WAL mode: a commit survives kill -9 of this process at once; a power cut may cost the last few (synchronous
is NORMAL). One thread does all of it, in order, so that what is asked after a write sees it.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sqlite3
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from google.protobuf import proto

from gocom.common.errors import GoComError, NotReady
from gocom.common.logs import get_logger
from gocom.v1 import transmitter_pb2

log = get_logger("transmitter")

R = TypeVar("R")
Events = list[transmitter_pb2.TransmitResponse]

KEPT_ENDED = 4096
"""Ended frames whose events are kept."""
_PRUNE_EVERY = 256
_FORMAT = 2
_TABLES = """
CREATE TABLE IF NOT EXISTS frames (
    number INTEGER PRIMARY KEY, session TEXT NOT NULL, frame INTEGER NOT NULL, request BLOB, events BLOB,
    begun INTEGER NOT NULL DEFAULT 0, UNIQUE (session, frame)
)
"""


class Outbox:
    """The store. `open` it, and close it.

    Args:
        path: of the file; None: in memory, lost with the process.
        max_bytes: of requests held; `room` waits while there are more.
    """

    def __init__(self, path: Path | None, max_bytes: int) -> None:
        self._path, self._max_bytes = path, max_bytes
        self._sizes: dict[tuple[str, int], int] = {}
        self._freed = asyncio.Event()
        self._ends = 0
        self._closed = False
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="outbox")
        self._database: sqlite3.Connection

    async def open(self) -> None:
        """Open the file, made if need be. Raises NotReady: not possible, or in use by another transmitter."""
        try:
            await self._run(self._open)
        except (OSError, sqlite3.Error) as error:
            raise NotReady(f"outbox: {self._path}: {_words(error)}") from error

    async def pending(self) -> dict[str, dict[int, int]]:
        """Frames that were accepted and have not ended: by session, in the order of their arrival, how often begun."""
        rows = await self._run(
            lambda: self._database.execute(
                "SELECT session, frame, begun, length(request) FROM frames WHERE request IS NOT NULL ORDER BY number"
            ).fetchall()
        )
        found: dict[str, dict[int, int]] = {}
        for session, frame, begun, size in rows:
            found.setdefault(session, {})[frame] = begun
            self._sizes[session, frame] = size
        return found

    async def room(self) -> None:
        """Wait until a further request may be accepted."""
        while sum(self._sizes.values()) >= self._max_bytes:
            self._freed.clear()
            await self._freed.wait()

    async def accept(self, session: str, frame: int, request: transmitter_pb2.TransmitRequest) -> None:
        """Keep a frame, in place of an ended one with its index. Raises GoComError when it cannot be written."""
        data = request.SerializeToString()
        try:
            await self._run(partial(self._accept, session, frame, data))
        except sqlite3.Error as error:
            raise GoComError(f"outbox: the frame cannot be kept: {_words(error)}") from error
        self._sizes[session, frame] = len(data)

    async def begin(self, session: str, frame: int, times: int) -> None:
        """Keep in how many runs of the service a frame was begun, before this one may end with it."""
        statement = "UPDATE frames SET begun = ? WHERE session = ? AND frame = ?"
        try:
            await self._run(partial(self._write, statement, (times, session, frame)))
        except sqlite3.Error as error:
            log.error("outbox not written", exc_info=error)

    async def request(self, session: str, frame: int) -> transmitter_pb2.TransmitRequest:
        """The request of a frame that has not ended. Raises GoComError when it is not there."""
        rows = await self._find("request", session, frame)
        if not rows or rows[0][0] is None:
            raise GoComError(f"outbox: frame {frame} of session {session} is not there")
        return transmitter_pb2.TransmitRequest.FromString(rows[0][0])

    async def ended(self, session: str, frame: int) -> Events | None:
        """Events of a frame that has ended, the last one terminal; None: nothing is known of it any more."""
        rows = await self._find("events", session, frame)
        if not rows or rows[0][0] is None:
            return None
        return _unpack(rows[0][0])

    def end(self, session: str, frame: int, events: Sequence[transmitter_pb2.TransmitResponse]) -> None:
        """The frame has ended, or was refused; its request is dropped and its events are kept a while.

        Written in the background.
        """
        out = io.BytesIO()
        for event in events:
            proto.serialize_length_prefixed(event, out)
        self._later(
            "INSERT INTO frames (session, frame, events) VALUES (?, ?, ?)"
            " ON CONFLICT (session, frame) DO UPDATE SET request = NULL, events = excluded.events",
            (session, frame, out.getvalue()),
        )
        self._free(session, frame)
        self._ends += 1
        if self._ends % _PRUNE_EVERY == 0:
            self._later(
                "DELETE FROM frames WHERE request IS NULL AND number NOT IN"
                " (SELECT number FROM frames WHERE request IS NULL ORDER BY number DESC LIMIT ?)",
                (KEPT_ENDED,),
            )

    def forget(self, session: str, frame: int | None = None) -> None:
        """Drop a frame, whatever became of it; None: all ended ones of the session. Written in the background."""
        if frame is None:
            self._later("DELETE FROM frames WHERE session = ? AND request IS NULL", (session,))
            return
        self._later("DELETE FROM frames WHERE session = ? AND frame = ?", (session, frame))
        self._free(session, frame)

    async def close(self) -> None:
        """Write what is left, and close the file. May be called twice."""
        if not self._closed:
            self._closed = True
            await self._run(self._close)
            self._executor.shutdown()

    async def _run(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def _find(self, column: str, session: str, frame: int) -> list[tuple[bytes | None]]:
        query = f"SELECT {column} FROM frames WHERE session = ? AND frame = ?"
        return await self._run(lambda: self._database.execute(query, (session, frame)).fetchall())

    def _free(self, session: str, frame: int) -> None:
        self._sizes.pop((session, frame), None)
        self._freed.set()

    def _later(self, statement: str, values: tuple[object, ...]) -> None:
        self._executor.submit(self._write, statement, values).add_done_callback(_report)

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with self._database:
            self._database.execute(statement, values)

    def _open(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Pictures are their owner's business; SQLite gives its side files the mode of this one.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        self._database = sqlite3.connect(self._path or ":memory:", check_same_thread=False, timeout=1.0)
        try:
            # Exclusive: a second transmitter on the same file would send its frames twice.
            for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL"):
                self._database.execute(f"PRAGMA {pragma}")
            found = self._database.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, 1, _FORMAT):
                raise sqlite3.DatabaseError(f"format {found}, this version reads {_FORMAT}")
            with self._database:
                if found == 1:
                    self._database.execute("ALTER TABLE frames ADD COLUMN begun INTEGER NOT NULL DEFAULT 0")
                self._database.execute(_TABLES)
                self._database.execute(f"PRAGMA user_version = {_FORMAT}")
        except BaseException:
            self._database.close()
            raise

    def _accept(self, session: str, frame: int, data: bytes) -> None:
        self._write("INSERT OR REPLACE INTO frames (session, frame, request) VALUES (?, ?, ?)", (session, frame, data))

    def _close(self) -> None:
        with contextlib.suppress(AttributeError):  # never opened
            self._database.close()


def outbox_path(setting: str, port: int) -> Path | None:
    """Where the setting `outbox` puts the file; None: nowhere.

    "auto" is gocom/transmitter-PORT.sqlite in the user's state folder (XDG); a transmitter on whatever port is free
    could not find it again, and has none.
    """
    if setting == "off" or (setting == "auto" and port == 0):
        return None
    if setting != "auto":
        return Path(setting)
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "gocom" / f"transmitter-{port}.sqlite"


def _unpack(data: bytes) -> Events:
    source, events = io.BytesIO(data), Events()
    while (event := proto.parse_length_prefixed(transmitter_pb2.TransmitResponse, source)) is not None:
        events.append(event)
    return events


def _words(error: Exception) -> str:
    text = str(error)
    return "another transmitter uses it" if "locked" in text else text


def _report(done: Future[None]) -> None:
    if (error := done.exception()) is not None:
        log.error("outbox not written", exc_info=error)
