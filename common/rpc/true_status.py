"""The status a server really sent, in spite of grpc/grpc issue 36066.

A server that ends a stream while the client still writes makes that write fail, and grpc.aio then replaces the status
the server sent by INTERNAL "Internal error from Core" (seen in 252 of 300 tries on loopback, grpcio 1.85). The status
is therefore noted when it comes, before it can be replaced.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

import grpc

Status = tuple[grpc.StatusCode, str, tuple[Any, ...]]
"""Code, details and trailing metadata, as `ServicerContext.abort` takes them."""

_REPLACEMENT = "Internal error from Core"


def status_parts(error: grpc.aio.AioRpcError) -> Status:
    """Code, details and trailing metadata of an error."""
    return error.code(), error.details() or "", tuple(error.trailing_metadata() or ())


class CallStatus:
    """Watches one streaming call; make it right after the call.

    Args:
        call: a grpc.aio call that is not done yet.
    """

    def __init__(self, call: Any) -> None:
        self._noted: Status | None = None
        call.add_done_callback(self._note)

    def of(self, error: grpc.aio.AioRpcError) -> Status:
        """The server's status, given the error with which the call ended."""
        if error.details() == _REPLACEMENT and self._noted is not None:
            return self._noted
        return status_parts(error)

    def _note(self, call: Any) -> None:
        self._noted = (_now(call.code()), _now(call.details()) or "", tuple(_now(call.trailing_metadata()) or ()))


def _now(answer: Coroutine[Any, Any, Any]) -> Any:
    """Result of a coroutine that has nothing to wait for: the call is done. Awaiting it later would be too late."""
    try:
        answer.send(None)
    except StopIteration as stop:
        return stop.value
    answer.close()
    raise RuntimeError("a call that is done made its status wait")
