"""The decision, after a stream of the client has ended, whether and when to open it again."""

from __future__ import annotations

import asyncio
import random
import time

import grpc

from gocom.common.errors import Busy, GoComError, InvalidInput, NotReady
from gocom.common.rpc.status_mapping import error_from_rpc, is_unknown_method

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
"""Shortest and longest pause between attempts, in seconds, before jitter; each pause is twice the one before."""
STEADY_S = 1.0
"""Seconds for which a stream has to last so that it counts as working although nothing came on it."""

_TRANSIENT = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,  # reported by grpc for a stream that was reset
    grpc.StatusCode.UNKNOWN,  # likewise
    grpc.StatusCode.CANCELLED,
)
"""Status codes after which the same call may succeed later."""


class ReconnectPolicy:
    """The pauses between attempts to reach a service, which grow exponentially, and the time after which to give up.

    Args:
        first_patience_s: seconds that a service may be out of reach before it has ever answered.
        patience_s: seconds that a service may be out of reach after it has answered.
    """

    def __init__(self, first_patience_s: float, patience_s: float) -> None:
        self._first_patience_s, self._patience_s = first_patience_s, patience_s
        self._reached = False
        self._answered_at: float | None = None
        self._lost_at: float | None = None
        self._pause = FIRST_PAUSE_S

    def mark_reached(self) -> None:
        """Note that the service has answered the call. A service that then fails at once, again and again, is lost."""
        self._reached, self._answered_at = True, time.monotonic()

    def mark_progress(self) -> None:
        """Note that the stream works: the next outage begins with the shortest pause and the full patience."""
        self._lost_at, self._pause = None, FIRST_PAUSE_S

    async def wait_or_raise(self, error: grpc.aio.AioRpcError | None, where: str) -> None:
        """Wait before the next attempt, after a stream has ended.

        Args:
            error: error with which the stream ended; None: it ended without an error.
            where: name and address of the service, for messages.

        Raises:
            GoComError: the service refused the call, or has been out of reach for too long.
        """
        if error is not None and not _is_transient(error):
            raise service_error(error, where) from error
        now = time.monotonic()
        if self._answered_at is not None and now - self._answered_at >= STEADY_S:
            self.mark_progress()
        self._answered_at = None
        if self._lost_at is None:
            self._lost_at = now
        if now - self._lost_at >= (self._patience_s if self._reached else self._first_patience_s):
            if error is None:
                raise NotReady(f"{where}: it ended the stream without a word")
            raise service_error(error, where) from error
        await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)


def service_error(error: grpc.aio.AioRpcError, where: str) -> GoComError:
    """Return the GoComError of a status.

    Args:
        error: exception that the call raised.
        where: name of the service, a space and its address; the message of a NotReady begins with it.
    """
    result = error_from_rpc(error)
    if is_unknown_method(error):
        wrapped: GoComError = InvalidInput(f"{where}: another service is there, which does not know this call")
    elif type(result) is NotReady:
        address = where.rpartition(" ")[2]
        wrapped = NotReady(f"{where}: {str(result).removeprefix(address).lstrip(': ')}")
    else:
        return result
    wrapped.__cause__ = error
    return wrapped


def _is_transient(error: grpc.aio.AioRpcError) -> bool:
    """Return whether the same call may succeed later."""
    return error.code() in _TRANSIENT or isinstance(error_from_rpc(error), Busy)
