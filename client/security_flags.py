"""Flags for TLS and tokens, the same for all commands that connect, and for all that serve.

They are added to the signatures that typer reads, so that no command has to list them.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

PANEL = "TLS and token (docs/security.md)"


def _file(flag: str, words: str) -> Any:
    return Annotated[Path | None, typer.Option(flag, metavar="FILE", help=words, rich_help_panel=PANEL)]


def _switch(words: str) -> Any:
    return Annotated[bool | None, typer.Option("--insecure", help=words, rich_help_panel=PANEL)]


CONNECT: Mapping[str, Any] = {
    "tls_ca": _file("--tls-ca", "CA of the services; connect by TLS."),
    "tls_cert": _file("--tls-cert", "Own certificate, for services that ask for one."),
    "tls_key": _file("--tls-key", "Its private key."),
    "token_file": _file("--token-file", "File of the bearer token."),
    "insecure": _switch("Send the token also in plain text to other machines."),
}
SERVE: Mapping[str, Any] = {
    "tls_cert": _file("--tls-cert", "Certificate of this service."),
    "tls_key": _file("--tls-key", "Its private key."),
    "tls_client_ca": _file("--tls-client-ca", "CA of the certificates that whoever connects must show."),
    "tls_ca": _file("--tls-ca", "CA of the service that this one connects to; connect by TLS."),
    "token_file": _file("--token-file", "File of the bearer token, asked for and shown."),
    "insecure": _switch("Listen on any address without TLS and token."),
}


def add_flags(signature: inspect.Signature, flags: Mapping[str, Any]) -> inspect.Signature:
    """The signature with the flags after its own parameters."""
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in flags.items()
    ]
    return signature.replace(parameters=[*signature.parameters.values(), *added])


def take_flags(flags: Mapping[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Move the flags out of the arguments; -> those that were given, by name of the setting."""
    values = {name: arguments.pop(name, None) for name in flags}
    return {name: value for name, value in values.items() if value is not None}


def serves(function: Callable[..., None]) -> Callable[..., None]:
    """Decorator of commands that serve: their parameter `security` gets the flags that were given."""

    @functools.wraps(function)
    def run(**arguments: Any) -> None:
        function(security=take_flags(SERVE, arguments), **arguments)

    signature = inspect.signature(function, eval_str=True)
    own = [parameter for name, parameter in signature.parameters.items() if name != "security"]
    run.__signature__ = add_flags(signature.replace(parameters=own), SERVE)  # type: ignore[attr-defined]
    return run
