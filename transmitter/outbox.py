"""A store of frames from acceptance to their end, which survives a crash of the process.

    accept --> request (image and options) --> start --> end --> events, for clients that come back

SQLite in WAL mode: a commit survives kill -9 of this process at once, while a power cut may lose the last few commits
(synchronous is NORMAL). One thread executes all statements in order, so a query sees every write before it.
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
"""Number of ended frames whose events are kept."""
_PRUNE_EVERY = 256
_FORMAT = 3
_TABLES = """
CREATE TABLE IF NOT EXISTS frames (
    number INTEGER PRIMARY KEY, session TEXT NOT NULL, frame INTEGER NOT NULL, request BLOB, events BLOB,
    begun INTEGER NOT NULL DEFAULT 0, UNIQUE (session, frame)
)
"""


class Outbox:
    """The store. It has to be opened before use, and closed.

    Args:
        path: the database file; None keeps the database in memory, where it is lost with the process.
        max_bytes: total size of stored requests at which `wait_for_room` begins to wait.
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
        """Open the file; create it if it does not exist.

        Raises NotReady if that is impossible or another transmitter uses the file.
        """
        try:
            await self._run(self._open)
        except (OSError, sqlite3.Error) as error:
            raise NotReady(f"outbox: {self._path}: {_words(error)}") from error

    async def pending(self) -> dict[str, dict[int, int]]:
        """Return the number of starts of each accepted frame that has not ended, by session and frame index.

        Sessions and frames come in the order of their arrival. A start is a run of the service in which the frame
        reached the encoder.
        """
        rows = await self._run(
            lambda: self._database.execute(
                "SELECT session, frame, begun, length(request) FROM frames WHERE request IS NOT NULL ORDER BY number"
            ).fetchall()
        )
        found: dict[str, dict[int, int]] = {}
        for session, frame, starts, size in rows:
            found.setdefault(session, {})[frame] = starts
            self._sizes[session, frame] = size
        return found

    async def wait_for_room(self) -> None:
        """Wait until another request may be accepted."""
        while sum(self._sizes.values()) >= self._max_bytes:
            self._freed.clear()
            await self._freed.wait()

    async def accept(self, session: str, frame: int, request: transmitter_pb2.TransmitRequest) -> None:
        """Store a request; it replaces an ended frame of the same index. Raises GoComError if it cannot be written."""
        data = request.SerializeToString()
        try:
            await self._run(partial(self._accept, session, frame, data))
        except sqlite3.Error as error:
            raise GoComError(f"outbox: the frame cannot be kept: {_words(error)}") from error
        self._sizes[session, frame] = len(data)

    async def record_start(self, session: str, frame: int, starts: int) -> None:
        """Store the number of starts of a frame, before the encoding of that frame can crash the process."""
        statement = "UPDATE frames SET begun = ? WHERE session = ? AND frame = ?"
        try:
            await self._run(partial(self._write, statement, (starts, session, frame)))
        except sqlite3.Error as error:
            log.error("outbox not written", path=str(self._path), error=_words(error))

    async def request(self, session: str, frame: int) -> transmitter_pb2.TransmitRequest:
        """Return the request of a frame that has not ended. Raises GoComError if it is not stored."""
        rows = await self._find("request", session, frame)
        if not rows or rows[0][0] is None:
            raise GoComError(f"outbox: frame {frame} of session {session} is not there")
        return transmitter_pb2.TransmitRequest.FromString(rows[0][0])

    async def ended(self, session: str, frame: int) -> Events | None:
        """Return the events of a frame that has ended, the last one terminal; None if they are not stored."""
        rows = await self._find("events", session, frame)
        if not rows or rows[0][0] is None:
            return None
        return _unpack(rows[0][0])

    def end(self, session: str, frame: int, events: Sequence[transmitter_pb2.TransmitResponse]) -> None:
        """Replace the request of a frame that has ended, or was refused, by its events. Writes in the background.

        Old events are deleted from time to time, so that those of about KEPT_ENDED frames remain.
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
        """Delete a frame, or with None all ended frames of the session. Writes in the background."""
        if frame is None:
            self._later("DELETE FROM frames WHERE session = ? AND request IS NULL", (session,))
            return
        self._later("DELETE FROM frames WHERE session = ? AND frame = ?", (session, frame))
        self._free(session, frame)

    async def close(self) -> None:
        """Finish pending writes and close the file. May be called twice."""
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
        self._executor.submit(self._write, statement, values).add_done_callback(self._report)

    def _report(self, done: Future[None]) -> None:
        error = done.exception()
        if isinstance(error, sqlite3.Error):
            log.error("outbox not written", path=str(self._path), error=_words(error))
        elif error is not None:
            log.error("outbox not written", exc_info=error)

    def _write(self, statement: str, values: tuple[object, ...]) -> None:
        with self._database:
            self._database.execute(statement, values)

    def _open(self) -> None:
        if self._path is not None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # Images are private: only the owner may read the file. SQLite gives its side files the same mode.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        self._database = sqlite3.connect(self._path or ":memory:", check_same_thread=False, timeout=1.0)
        try:
            # Exclusive, because a second transmitter with the same file would send its frames twice.
            for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL"):
                self._database.execute(f"PRAGMA {pragma}")
            found = self._database.execute("PRAGMA user_version").fetchone()[0]
            if found not in (0, _FORMAT):
                writer = "an earlier" if found < _FORMAT else "a later"
                raise sqlite3.DatabaseError(
                    f"format {found}, written by {writer} version of gocom; this one reads format {_FORMAT}. Let that "
                    "version send the frames that wait in it, or delete the file"
                )
            with self._database:
                self._database.execute(_TABLES)
                self._database.execute(f"PRAGMA user_version = {_FORMAT}")
        except BaseException:
            self._database.close()
            raise

    def _accept(self, session: str, frame: int, data: bytes) -> None:
        self._write("INSERT OR REPLACE INTO frames (session, frame, request) VALUES (?, ?, ?)", (session, frame, data))

    def _close(self) -> None:
        with contextlib.suppress(AttributeError):  # the file was never opened
            self._database.close()


def outbox_path(setting: str, port: int) -> Path | None:
    """Return the path of the database for the setting `outbox`; None stands for no file.

    "auto" stands for gocom/transmitter-PORT.sqlite in the user's state folder (XDG). A transmitter that listens on
    any free port (0) gets no file for "auto", because it could not find the file again.
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
    if isinstance(error, OSError):
        return error.strerror or str(error)
    text = str(error)
    return "another transmitter uses it" if "locked" in text else text
