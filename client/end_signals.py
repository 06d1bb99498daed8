"""Signals that end a command: SIGTERM and SIGHUP unwind it as Ctrl-C does, so that nothing is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

UNWIND_S = 10.0
"""Seconds after a signal in which further ones are ignored: an impatient second Ctrl-C must not stop the clean-up."""
_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class EndSignal(KeyboardInterrupt):
    """A signal that ends the command. It is a KeyboardInterrupt, so that it goes wherever Ctrl-C does.

    Attributes:
        status: exit status of the command, 128 plus the number of the signal: 130 for Ctrl-C.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = _status(number)


def _status(number: int) -> int:
    return 128 + number


def leave_on_signals(*numbers: int) -> None:
    """From here on these signals end the process at once and without a word, except those that the parent had ignored.

    This is for the time before and after a command, when there is nothing to clean up and Python would print the line
    of an import, or of the end of a thread, that was interrupted.

    Args:
        numbers: the signals; none: SIGINT, SIGTERM and SIGHUP.
    """
    for number in numbers or _NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda number, _: os._exit(_status(number)))


class _Handler:
    """Handler that raises EndSignal, and ignores signals for UNWIND_S after one that it raised for."""

    def __init__(self) -> None:
        self._last = -UNWIND_S

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if time.monotonic() - self._last >= UNWIND_S:
            self._last = time.monotonic()
            raise EndSignal(number)


@contextmanager
def raising_end_signals(hear_ignored_interrupt: bool = False) -> Iterator[None]:
    """Raise EndSignal in a `with` block on SIGINT, SIGTERM and SIGHUP, except on those that the parent had ignored.

    For UNWIND_S after a signal further ones are ignored, which must be enough for what puts things back. Outside of
    the main thread, where Python allows no handlers, the block runs without them. Blocks may be nested.

    Args:
        hear_ignored_interrupt: whether SIGINT is heard even if it was ignored, as a shell does for background jobs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    deaf = {number for number, handler in before.items() if handler in (signal.SIG_IGN, None)}
    if hear_ignored_interrupt:
        deaf.discard(signal.SIGINT)
    outer = [handler for handler in before.values() if isinstance(handler, _Handler)]
    # The handler of a block around this one goes on, so that what it ignores stays ignored when this block has ended.
    handle = outer[0] if outer else _Handler()
    taken = [number for number in _NUMBERS if number not in deaf]
    for number in taken:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
