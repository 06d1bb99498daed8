"""Between the exceptions of common/errors.py and gRPC statuses, both ways."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc

from common import errors
from common.logs import get_logger
from common.rpc.call_status import CallStatus, status_parts

# Order matters: the first class that fits wins. The inverse takes the last one of a status, its most general.
_STATUS: tuple[tuple[type[errors.GoComError], grpc.StatusCode], ...] = (
    (errors.InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.UnknownName, grpc.StatusCode.UNIMPLEMENTED),
    (errors.Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.TooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.NotReady, grpc.StatusCode.UNAVAILABLE),
    (errors.Mismatch, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.DecodeFailed, grpc.StatusCode.DATA_LOSS),
)
_KIND_KEY = "gocom-error"
"""Trailing metadata that tells errors of one status apart (Busy from TooLarge)."""

log = get_logger("rpc")


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """The status and the text a client gets for an exception; what nobody raised on purpose is INTERNAL."""
    if isinstance(error, grpc.aio.AioRpcError):
        error = error_from_rpc(error)
    for kind, code in _STATUS:
        if isinstance(error, kind):
            return code, str(error)
    if isinstance(error, errors.GoComError):
        return grpc.StatusCode.INTERNAL, str(error)
    return grpc.StatusCode.INTERNAL, f"internal error ({type(error).__name__}); see the log of the service"


async def abort_with(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> NoReturn:
    """End a call with the status of an exception. Logs what nobody raised on purpose."""
    if not isinstance(error, errors.GoComError | grpc.aio.AioRpcError):
        log.error("unexpected error", exc_info=error)
    code, details = status_of(error)
    await context.abort(code, details, ((_KIND_KEY, type(error).__name__),))


def error_from_rpc(error: grpc.aio.AioRpcError, watched: CallStatus | None = None) -> errors.GoComError:
    """The exception a server raised, from the status a client got; the original is its `__cause__`.

    Args:
        error: what the call raised.
        watched: the call's status as it came, for streams that are written to.
    """
    code, details, trailing = watched.of(error) if watched else status_parts(error)
    sent = dict(trailing).get(_KIND_KEY)
    kinds = [kind for kind, status in _STATUS if status == code]
    kind = next((k for k in kinds if k.__name__ == sent), kinds[-1] if kinds else errors.GoComError)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        kind, details = errors.NotReady, "no answer within the deadline"
    result = errors.GoComError.__new__(kind)
    Exception.__init__(result, details if kind is not errors.GoComError else f"{code.name}: {details}")
    result.__cause__ = error
    return result
