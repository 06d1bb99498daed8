"""Between the exceptions of common/errors.py and gRPC statuses, both ways."""

from __future__ import annotations

import re
from typing import Any, NoReturn

import grpc

from gocom.common import errors
from gocom.common.logs import get_logger
from gocom.common.rpc.true_status import CallStatus, status_parts

# Order matters: the first class that fits wins. The inverse takes the last one of a status, its most general.
_STATUS: tuple[tuple[type[errors.GoComError], grpc.StatusCode], ...] = (
    (errors.InvalidInput, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.UnknownName, grpc.StatusCode.UNIMPLEMENTED),
    (errors.Busy, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.TooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.NotReady, grpc.StatusCode.UNAVAILABLE),
    (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (errors.Mismatch, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.DecodeFailed, grpc.StatusCode.DATA_LOSS),
)
_KIND_KEY = "gocom-error"
"""Trailing metadata that tells errors of one status apart (Busy from TooLarge)."""

_NO_CONNECTION = re.compile(
    r"failed to connect to all addresses; last error: \w+: (?P<peer>\S+): (?P<why>.*)", re.DOTALL
)
_VERIFY = re.compile(r"CERTIFICATE_VERIFY_FAILED: (?P<why>[^:]+)")
_HUNG_UP = ("Socket closed", "End of TCP stream", "Connection reset by peer", "Broken pipe")

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
    if code == grpc.StatusCode.UNAVAILABLE:
        details = connection_words(details)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        kind, details = errors.NotReady, "no answer within the deadline"
    result = errors.GoComError.__new__(kind)
    Exception.__init__(result, details if kind is not errors.GoComError else f"{code.name}: {details}")
    result.__cause__ = error
    return result


def connection_words(details: str) -> str:
    """What gRPC says of a connection that was not made, in words that name the settings where TLS may be the reason."""
    failed = _NO_CONNECTION.search(details)
    if failed is None:
        return details
    peer, why = failed["peer"].rstrip(":"), failed["why"]
    if "Hostname Verification Check failed" in why:
        return (
            f"TLS with {peer}: its certificate is for other host names; subjectAltName must have the one in the address"
        )
    if verify := _VERIFY.search(why):
        return f"TLS with {peer}: its certificate is refused: {verify['why']}; is tls_ca the CA that signed it?"
    if "WRONG_VERSION_NUMBER" in why:
        return f"TLS with {peer}: it answers in plain text; it has no tls_cert, or this end needs no tls_ca"
    if "handshake failed" in why:
        return f"TLS with {peer}: {why}"
    if "Connection refused" in why:
        return f"{peer}: connection refused; is the service up, and does it listen there?"
    if any(words in why for words in _HUNG_UP):
        # All that a client learns of a server that wants TLS, or wants a certificate, or is about to end.
        return (
            f"{peer} hung up at once: it is not up yet, or wants TLS (tls_ca), or a certificate that its tls_client_ca "
            "signed (tls_cert, tls_key)"
        )
    return details
