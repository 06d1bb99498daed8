"""Mapping between the exceptions of common/errors.py and gRPC statuses, in both directions."""

from __future__ import annotations

import re
from typing import Any, NoReturn
from urllib.parse import unquote

import grpc

from gocom.common import errors
from gocom.common.logs import get_logger
from gocom.common.rpc.call_status import CallStatus, status_parts

# The order matters. An exception gets the status of the first class that it is an instance of. A status without
# metadata becomes the last class listed for it, the most general one.
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
"""Key of trailing metadata that tells the errors of one status apart, such as Busy and TooLarge."""

_NO_CONNECTION = re.compile(
    r"failed to connect to all addresses; last error: \w+: (?P<peer>\S+): (?P<why>.*)", re.DOTALL
)
_NO_HOST = re.compile(r"errors resolving .*: (?P<why>[^:\]]+)\]", re.DOTALL)
_BAD_CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED: (?P<why>[^:]+)")
_HUNG_UP = ("Socket closed", "End of TCP stream", "Connection reset by peer", "Broken pipe")
_STOPPED = "Cancelling all calls"
"""What gRPC says for a server that ends while a call is open."""
_SILENT = "ping timeout"
"""What gRPC says of a connection that it gave up, since nobody answered its pings: "Stream removed (ping timeout)"."""
_UNREACHABLE = ("No route to host", "Network is unreachable", "connect() timed out", "tcp handshaker shutdown")
"""What gRPC says, depending on the moment, where no machine has the address: a container that was stopped."""

log = get_logger("rpc")


def status_of(error: BaseException) -> tuple[grpc.StatusCode, str]:
    """Return the status and the text that a client gets for an exception. An unexpected exception is INTERNAL."""
    if isinstance(error, grpc.aio.AioRpcError):
        error = error_from_rpc(error)
    for kind, code in _STATUS:
        if isinstance(error, kind):
            return code, str(error)
    if isinstance(error, errors.GoComError):
        return grpc.StatusCode.INTERNAL, str(error)
    return grpc.StatusCode.INTERNAL, f"internal error ({type(error).__name__}); see the log of the service"


async def abort_with(context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> NoReturn:
    """End a call with the status of an exception. Log the exception if it is unexpected."""
    if not isinstance(error, errors.GoComError | grpc.aio.AioRpcError):
        log.error("unexpected error", exc_info=error)
    code, details = status_of(error)
    await context.abort(code, details, ((_KIND_KEY, type(error).__name__),))


def error_from_rpc(error: grpc.aio.AioRpcError, watched: CallStatus | None = None) -> errors.GoComError:
    """Return the exception that the server raised, as far as the status tells it. Its `__cause__` is `error`.

    Args:
        error: exception that the call raised at the client.
        watched: status of the call as first received, for streams that the client writes to; None: use that of `error`.
    """
    code, details, trailing = watched.of(error) if watched else status_parts(error)
    sent = dict(trailing).get(_KIND_KEY)
    kinds = [kind for kind, status in _STATUS if status == code]
    kind = next((k for k in kinds if k.__name__ == sent), kinds[-1] if kinds else errors.GoComError)
    if code == grpc.StatusCode.UNAVAILABLE:
        details = explain_connection_error(details)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        kind, details = errors.NotReady, "no answer within the deadline"
    result = errors.GoComError.__new__(kind)
    Exception.__init__(result, details if kind is not errors.GoComError else f"{code.name}: {details}")
    result.__cause__ = error
    return result


def is_unknown_method(error: grpc.aio.AioRpcError) -> bool:
    """Return whether a server said that it has no such method. What a handler of ours raises carries its name."""
    code, _, trailing = status_parts(error)
    return code == grpc.StatusCode.UNIMPLEMENTED and _KIND_KEY not in dict(trailing)


def explain_connection_error(details: str) -> str:
    """Return gRPC's text on a failed connection in clearer words, which name the settings if TLS may be the reason.

    Text of any other kind is returned as it is.
    """
    if unknown := _NO_HOST.search(details):
        return f"the host name cannot be resolved: {unknown['why']}"
    if details == _STOPPED:
        return "the service was stopped during the call"
    if _SILENT in details:
        return "the other end does not answer any more; is it paused, or its network cut?"
    failed = _NO_CONNECTION.search(details)
    if failed is None:
        return details
    peer, why = unquote(failed["peer"].rstrip(":")), failed["why"]
    peer = peer.removeprefix("ipv4:").removeprefix("ipv6:")
    if "Hostname Verification Check failed" in why:
        return (
            f"TLS with {peer}: its certificate is for other host names; subjectAltName must have the one in the address"
        )
    if verify := _BAD_CERTIFICATE.search(why):
        return f"TLS with {peer}: its certificate is refused: {verify['why']}; is tls_ca the CA that signed it?"
    if "WRONG_VERSION_NUMBER" in why:
        return f"TLS with {peer}: it answers in plain text; it has no tls_cert, or this end needs no tls_ca"
    if "handshake failed" in why:
        return f"TLS with {peer}: {why}"
    if "Connection refused" in why:
        return f"{peer}: connection refused; is the service up, and does it listen there?"
    if any(words in why for words in _UNREACHABLE):
        return f"{peer}: nothing answers at this address; is its machine or container up?"
    if "Failed parsing HTTP/2" in why:
        return f"{peer}: what answers is no gRPC service"
    if "SETTINGS" in why:
        return f"{peer}: takes connections, but does not answer; is it paused, or no gRPC service?"
    if any(words in why for words in _HUNG_UP):
        # A client learns no more from a server that requires TLS or a certificate, or that is about to end.
        return (
            f"{peer} hung up at once: it is not up yet, or wants TLS (tls_ca), or a certificate that its tls_client_ca "
            "signed (tls_cert, tls_key)"
        )
    return details
