"""The standard streams of a command's process: what happens where one is closed or full, or lacks a character."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any, TextIO


class OutputFailed(Exception):
    """Standard output cannot be written to.

    Attributes:
        unread: whether the reader of a pipe has ended, as `head` does. That is no fault, and nothing need be said.
    """

    def __init__(self, error: OSError) -> None:
        super().__init__(f"stdout: {error.strerror or error}")
        self.unread = error.errno == errno.EPIPE


class _GuardedStream:
    """A text stream whose first failed write is reported, or ignored, and whose later output is dropped.

    Args:
        stream: the stream.
        report: whether a failed write raises OutputFailed. Messages on stderr are dropped instead: a picture is not
            lost because nobody can be told how far it is.
    """

    def __init__(self, stream: TextIO, report: bool) -> None:
        self._stream, self._report = stream, report

    def write(self, text: str) -> int:
        """Write text, and return its length. Raises OutputFailed."""
        try:
            self._stream.write(text)
        except OSError as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Write what is buffered. Raises OutputFailed."""
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        # Python flushes its streams once more at exit: what they still hold must then go somewhere.
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        if self._report:
            raise OutputFailed(error) from None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard_standard_streams() -> None:
    """Prepare stdin, stdout and stderr of this process for any state in which a shell may hand them over.

    A closed stream becomes /dev/null; otherwise the next file or socket would get its number, and the output of
    libraries. A character that a stream cannot encode is written as an escape sequence, such as \\u2713. A write to
    stdout that fails raises OutputFailed, one to stderr is ignored.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - open as long as the process is
        stream.reconfigure(errors="backslashreplace")
        setattr(sys, name, _GuardedStream(stream, report=name == "stdout"))
