"""Recordings of what a running channel does to each packet, round by round, and their way into a trace file."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from gocom.client.callers_code import told_if_closed
from gocom.client.reconnect_policy import service_error
from gocom.common.errors import GoComError, InvalidInput, NotReady
from gocom.common.packet_trace_file import TraceWriter
from gocom.common.rpc.own_process import OwnProcess
from gocom.v1 import channel_pb2

LAST_ROUNDS_TIMEOUT_S = 5.0
"""Seconds that the recordings of rounds may still take to arrive after the rounds have ended."""


class AsyncRecording:
    """A stream of recorded rounds: those that began since it was opened, each as it ends. Close it after use.

    Args:
        call: the RecordTrace call.
        where: name and address of the channel emulator, for messages.
        process: the process of the call.
    """

    def __init__(self, call: Any, where: str, process: OwnProcess) -> None:
        self._call, self._where, self._process = call, where, process
        self._closed = False

    async def wait_until_started(self) -> None:
        """Wait until the channel records. Raises GoComError."""
        try:
            with told_if_closed(self._process):
                await self._call.initial_metadata()
                # A refused call has metadata as well.
                if self._call.done():
                    await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise service_error(error, self._where) from error

    async def next(self) -> channel_pb2.TraceRound | None:
        """Return the next round; None when either end has closed the recording.

        Raises:
            TooLarge: rounds were read too slowly; the emulator ends a recording that would have gaps.
            GoComError: the channel emulator is out of reach or refused.
        """
        self._process.check()
        try:
            with told_if_closed(self._process):
                response = await self._call.read()
        except (asyncio.CancelledError, InvalidInput):
            if self._closed:
                return None
            raise
        except grpc.aio.AioRpcError as error:
            raise service_error(error, self._where) from error
        if response is grpc.aio.EOF:
            return None
        message: channel_pb2.TraceRound = response.round
        return message

    async def close(self) -> None:
        """End the recording. May be called twice."""
        self._closed = True
        if self._process.is_this:
            self._call.cancel()


class Recording:
    """AsyncRecording without asyncio: iterate over it. Use it as a context manager, or close it.

    Args:
        inner: the recording to read.
        run: runs a coroutine in the event loop of `inner`, and returns its result.
        finish: runs the coroutine that a function returns in that loop; does nothing when the loop has been closed.
    """

    def __init__(
        self,
        inner: AsyncRecording,
        run: Callable[[Coroutine[Any, Any, Any]], Any],
        finish: Callable[[Callable[[], Coroutine[Any, Any, None]]], None],
    ) -> None:
        self._inner, self._run, self._finish = inner, run, finish

    def __iter__(self) -> Iterator[channel_pb2.TraceRound]:
        while (message := self._run(self._inner.next())) is not None:
            yield message

    def close(self) -> None:
        """End the recording. May be called twice."""
        self._finish(self._inner.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


class PendingTrace:
    """A trace file that replaces an existing file only once it has its first round. Close it after use.

    Until then a temporary file beside it is written; closing without a round leaves the existing file unchanged.

    Args:
        path: path of the trace file.

    Raises:
        InvalidInput: the file cannot be opened for writing.
        GoComError: the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._given = path.resolve(), path
        # Devices and pipes cannot be replaced; they are written directly.
        whole = not self._path.exists() or self._path.is_file()
        self._part = self._path.with_name(f".{self._path.name}.part") if whole else None
        try:
            self._writer = TraceWriter(self._part or self._path)
        except GoComError as error:
            words = str(error).replace(repr(str(self._part or self._path)), repr(str(path)))
            raise type(error)(f"record: {words}") from None

    @property
    def rounds(self) -> int:
        """Number of rounds written so far."""
        return self._writer.rounds

    def write(self, message: channel_pb2.TraceRound) -> bool:
        """Append a round; return False, and write nothing, if the trace has a round of that frame and number already.

        The rounds are written to a new file, which replaces an existing one with the first round.

        Raises:
            TooLarge: the trace would exceed its limits; the file is valid without the round.
            GoComError: the disk is full; the file is closed.
            InvalidInput: the existing file cannot be replaced.
        """
        written = self._writer.write(message)
        if self._part is not None:
            try:
                self._part.replace(self._path)
            except OSError as error:
                words = error.strerror or error
                raise InvalidInput(f"record: cannot write {str(self._given)!r}: {words}") from None
            self._part = None
        return written

    def close(self) -> None:
        """Close the file; remove the temporary one if no round was written. May be called twice."""
        self._writer.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FileRecording:
    """A thread that writes a recording into a file while pictures are sent. Use it as a context manager.

    Args:
        recording: the recording to read; closed with this object.
        file: the file that the rounds go to; closed with this object.

    Attributes:
        repeats: number of rounds that arrived but were in the file already, and are written only once.
    """

    def __init__(self, recording: Recording, file: PendingTrace) -> None:
        self.repeats = 0
        self._recording, self._writer = recording, file
        self._ended = threading.Event()
        self._error: GoComError | None = None
        self._thread = threading.Thread(target=self._run, name="gocom-recording", daemon=True)
        self._thread.start()

    @property
    def rounds(self) -> int:
        """Number of rounds written so far."""
        return self._writer.rounds

    def wait_for_rounds(self, count: int) -> None:
        """Wait until `count` rounds have arrived, repeats included.

        Raises:
            NotReady: fewer have arrived after LAST_ROUNDS_TIMEOUT_S.
            GoComError: the recording failed.
        """
        deadline = time.monotonic() + LAST_ROUNDS_TIMEOUT_S
        while self.rounds + self.repeats < count and not self._ended.wait(0.01):
            if time.monotonic() > deadline:
                raise NotReady(
                    f"recording: {self.rounds + self.repeats} of {count} rounds came within {LAST_ROUNDS_TIMEOUT_S:g} s"
                )
        if self._error is not None:
            raise self._error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._recording.close()
        self._thread.join()
        self._writer.close()

    def _run(self) -> None:
        try:
            for message in self._recording:
                self.repeats += not self._writer.write(message)
        except GoComError as error:
            self._error = error
        finally:
            self._ended.set()
