"""Signals that end a command, as one exception, so that what the command has changed is put back."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def end_signals_interrupt() -> Iterator[None]:
    """Let the first SIGINT, SIGTERM or SIGHUP in a `with` block raise KeyboardInterrupt, and ignore those after it.

    What puts things back after the first one is so not interrupted itself. It has to end by itself, within seconds.

    SIGINT is heard even where it was ignored, since a shell starts background jobs with it ignored; SIGHUP is not,
    since nohup asks for that. Outside of the main thread, where signals cannot be handled, the block just runs.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if not interrupted:
            interrupted = True
            raise KeyboardInterrupt

    numbers = [n for n in _NUMBERS if n != signal.SIGHUP or signal.getsignal(n) is not signal.SIG_IGN]
    before = [(number, signal.signal(number, interrupt)) for number in numbers]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
