"""The bearer token: read from its file, put into calls, asked of calls. It appears in no message and no log line."""

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
"""Need no token, so that probes work: they learn whether the service is up, and nothing else."""

_KEY, _SCHEME = "authorization", "bearer"
_KINDS = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def read_token(path: Path) -> str:
    """The token in a file, without white space around it. Raises InvalidInput naming token_file, never the token."""
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
    """The same channel; calls of the stubs made from it carry the token.

    Call credentials would do this over TLS only. Interceptors would do it everywhere, but streams come back from them
    in a wrapping that hides how a call ended.
    """
    carried = (_KEY, f"Bearer {token}")

    def carrying(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **arguments: Any) -> Callable[..., Any]:
            call = make(*args, **arguments)

            def begin(*request: Any, metadata: Sequence[tuple[str, str | bytes]] | None = None, **options: Any) -> Any:
                return call(*request, metadata=(carried, *(metadata or ())), **options)

            return begin

        return made

    for kind in _KINDS:
        setattr(channel, kind, carrying(getattr(channel, kind)))
    return channel


def check_token(expected: str, method: str, metadata: Sequence[tuple[str, str | bytes]]) -> None:
    """Raises Unauthenticated unless a call's metadata has the token, or the method needs none."""
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
