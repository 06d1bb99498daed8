"""Bearer token: read it from a file, add it to calls, check it in calls. No message or log line contains the token."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import grpc

from gocom.common.errors import InvalidInput, Unauthenticated
from gocom.common.rpc.pem_files import read_file

MIN_CHARACTERS, MAX_CHARACTERS = 16, 4096
OPEN_METHODS = frozenset({"/grpc.health.v1.Health/Check"})
"""Methods that need no token, for health probes: the only thing they tell is whether the service is up."""

_KEY, _SCHEME = "authorization", "bearer"
_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def read_token(path: Path) -> str:
    """Return the token in a file, without the white space around it.

    Raises:
        InvalidInput: the file cannot be read or holds no valid token. The message names token_file, never the token.
    """
    try:
        token = read_file("token_file", path).decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not token or not all("!" <= character <= "~" for character in token):
        raise InvalidInput(f"token_file: {str(path)!r} must hold one word of printable ASCII")
    if not MIN_CHARACTERS <= len(token) <= MAX_CHARACTERS:
        raise InvalidInput(
            f"token_file: {str(path)!r} holds {len(token)} characters; {MIN_CHARACTERS} to {MAX_CHARACTERS} are allowed"
        )
    return token


def add_token(channel: grpc.aio.Channel, token: str) -> grpc.aio.Channel:
    """Add a token to every call of the stubs that will be made from a channel; return the same channel.

    Call credentials would do so over TLS only. Interceptors would do so over plain text too, but they return streams in
    a wrapper that hides with which status a call ended.
    """
    token_metadata = (_KEY, f"Bearer {token}")

    def adding_token(make_callable: Callable[..., Any]) -> Callable[..., Any]:
        def make(*args: Any, **arguments: Any) -> Callable[..., Any]:
            call = make_callable(*args, **arguments)

            def call_with_token(
                *request: Any, metadata: Sequence[tuple[str, str | bytes]] | None = None, **options: Any
            ) -> Any:
                return call(*request, metadata=(token_metadata, *(metadata or ())), **options)

            return call_with_token

        return make

    for kind in _KINDS:
        setattr(channel, kind, adding_token(getattr(channel, kind)))
    return channel


def check_token(expected: str, method: str, metadata: Sequence[tuple[str, str | bytes]]) -> None:
    """Raise Unauthenticated unless a call carries the expected token or its method needs none.

    Args:
        expected: token of the service.
        method: full name of the method, "/package.Service/Method".
        metadata: invocation metadata of the call.
    """
    if method in OPEN_METHODS:
        return
    service = method.rpartition("/")[0].removeprefix("/")
    values = [str(value) for key, value in metadata if key == _KEY]
    if not values:
        raise Unauthenticated(f"token: missing; {service} wants one (token_file of the client or service that calls)")
    scheme, _, given = values[0].partition(" ")
    same = hmac.compare_digest(given.encode(errors="replace"), expected.encode())
    if len(values) > 1 or scheme.lower() != _SCHEME or not same:
        raise Unauthenticated(f"token: not the one that {service} wants (token_file)")
