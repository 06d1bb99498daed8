"""What a running channel does to packets, round by round, and into a file."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import grpc

from gocom.client.stream_errors import named
from gocom.common.errors import GoComError, InvalidInput, NotReady
from gocom.common.packet_trace_file import TraceWriter
from gocom.v1 import channel_pb2

LAST_S = 5.0
"""How long rounds that have ended may take to come here."""


class AsyncRecording:
    """The rounds that began since it was opened, each when it has ended. Close it.

    Args:
        call: RecordTrace.
        where: who is called, for messages.
    """

    def __init__(self, call: Any, where: str) -> None:
        self._call, self._where = call, where
        self._closed = False

    async def begun(self) -> None:
        """Until the channel records. Raises GoComError."""
        try:
            await self._call.initial_metadata()
            # A refused call has metadata as well.
            if self._call.done():
                await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise named(error, self._where) from error

    async def next(self) -> channel_pb2.TraceRound | None:
        """The next round; None: closed, here or there. Raises GoComError, TooLarge where this end is too slow."""
        try:
            response = await self._call.read()
        except asyncio.CancelledError:
            if self._closed:
                return None
            raise
        except grpc.aio.AioRpcError as error:
            raise named(error, self._where) from error
        if response is grpc.aio.EOF:
            return None
        message: channel_pb2.TraceRound = response.round
        return message

    async def close(self) -> None:
        """May be called twice."""
        self._closed = True
        self._call.cancel()


class Recording:
    """The same without asyncio: iterate over it. Use it as a context manager, or close it.

    Args:
        inner: what it reads.
        run: waits for a coroutine in the loop that `inner` belongs to.
        finish: likewise, of what makes one; does nothing where the loop has ended.
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
        """May be called twice."""
        self._finish(self._inner.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()


class PendingTrace:
    """A file that takes the place of another with its first round: until then what was there is there. Close it.

    Args:
        path: of the file. Raises InvalidInput where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._given = path.resolve(), path
        # Devices and pipes are written as they are.
        whole = not self._path.exists() or self._path.is_file()
        self._part = self._path.with_name(f".{self._path.name}.part") if whole else None
        try:
            self._writer = TraceWriter(self._part or self._path)
        except InvalidInput as error:
            words = str(error).replace(repr(str(self._part or self._path)), repr(str(path)))
            raise InvalidInput(f"record: {words}") from None

    @property
    def rounds(self) -> int:
        """Written so far."""
        return self._writer.rounds

    def write(self, message: channel_pb2.TraceRound) -> bool:
        """As TraceWriter.write. Raises TooLarge, and InvalidInput where the file cannot be replaced."""
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
        """May be called twice."""
        self._writer.close()
        if self._part is not None:
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FileRecording:
    """A recording on its way into a file, in a thread, while something is sent. Use it as a context manager.

    Args:
        recording: closed with this.
        file: where rounds go; closed with this.

    Attributes:
        repeats: rounds that came and were in the file already.
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
        """Written so far."""
        return self._writer.rounds

    def await_rounds(self, count: int) -> None:
        """Until so many have come. Raises GoComError: of the recording, or it lacks some after LAST_S."""
        deadline = time.monotonic() + LAST_S
        while self.rounds + self.repeats < count and not self._ended.wait(0.01):
            if time.monotonic() > deadline:
                raise NotReady(f"recording: {self.rounds + self.repeats} of {count} rounds came within {LAST_S:g} s")
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
