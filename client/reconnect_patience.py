"""What a broken stream means to a client: to be patient, or to give up."""

from __future__ import annotations

import asyncio
import random
import time

import grpc

from gocom.common.errors import Busy, GoComError, NotReady
from gocom.common.rpc.status_mapping import error_from_rpc

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0

_PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.INTERNAL,  # how grpc reports a stream that was reset under it
    grpc.StatusCode.UNKNOWN,  # likewise
    grpc.StatusCode.CANCELLED,
)


class Patience:
    """How long a service may be out of reach, and how long to wait before the next try.

    Args:
        first_s: for a service that never answered.
        again_s: for one that did.
    """

    def __init__(self, first_s: float, again_s: float) -> None:
        self._first_s, self._again_s = first_s, again_s
        self._met = False
        self._lost_at: float | None = None
        self._pause = FIRST_PAUSE_S

    def heard(self) -> None:
        """The service is there."""
        self._met, self._lost_at, self._pause = True, None, FIRST_PAUSE_S

    async def lost(self, error: grpc.aio.AioRpcError | None, where: str) -> None:
        """Wait before the next try. Raises GoComError: a refusal, or the service stayed away too long.

        Args:
            error: how the stream ended; None: without a word.
            where: who is meant.
        """
        if error is not None and not _passes(error):
            raise named(error, where) from error
        now = time.monotonic()
        if self._lost_at is None:
            self._lost_at = now
        if now - self._lost_at >= (self._again_s if self._met else self._first_s):
            if error is None:
                raise NotReady(f"{where}: it ended the stream without a word")
            raise named(error, where) from error
        await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))
        self._pause = min(2 * self._pause, LONGEST_PAUSE_S)


def named(error: grpc.aio.AioRpcError, where: str) -> GoComError:
    """The exception of a status; one that a service is out of reach says which."""
    result = error_from_rpc(error)
    if type(result) is not NotReady:
        return result
    wrapped = NotReady(f"{where}: {result}")
    wrapped.__cause__ = error
    return wrapped


def _passes(error: grpc.aio.AioRpcError) -> bool:
    return error.code() in _PASSING or isinstance(error_from_rpc(error), Busy)
