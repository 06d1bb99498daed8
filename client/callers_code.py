"""Code of the caller that the event loop runs, iterators and callbacks: it may raise anything, or never return."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any, TypeVar, cast

from gocom.common.errors import InvalidInput
from gocom.common.rpc.own_process import OwnProcess

T = TypeVar("T")


def was_cancelled() -> bool:
    """Return whether somebody cancels the current task: a CancelledError may also come from the caller's own code."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@contextlib.contextmanager
def told_if_closed(process: OwnProcess) -> Iterator[None]:
    """Raise InvalidInput where a call in a `with` block fails because its client was closed meanwhile.

    gRPC would raise CancelledError, as if somebody had cancelled the caller's task.
    """
    try:
        yield
    except (asyncio.CancelledError, Exception) as error:
        if was_cancelled() or not process.closed:
            raise
        raise InvalidInput("client: was closed meanwhile") from error


async def in_daemon_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Call a function in a thread of its own, and return its result.

    Python waits at its end for the threads of asyncio.to_thread, but not for this one: the caller's iterator may wait
    for ever, as a queue or a camera does.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(cast(T, result))

    def run() -> None:
        result, error = None, None
        try:
            result = function(*arguments)
        except BaseException as raised:
            error = raised
        with contextlib.suppress(RuntimeError):  # the loop may have been closed meanwhile
            loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=run, name="gocom-images", daemon=True).start()
    return await done
