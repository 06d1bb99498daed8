"""Command-line flags made from settings classes: each field becomes a flag, and its docstring the flag's help.

The flags are added to the signatures that typer reads, so that no command has to list them.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, get_args

import typer
from pydantic_settings import BaseSettings

from gocom.common.settings import SecuritySettings

SECURITY_PANEL = "TLS and token (docs/security.md)"
"""Heading of the security flags in the help of a command."""
SHORT_NAMES = {"warm_codecs": "--warm", "log_json": "--json"}
"""Flags that are not named after their field, by name of the field."""
_SECURITY = {*SecuritySettings.model_fields, "tls_client_ca"}
"""Names of the fields with security settings."""


def flag_of(name: str) -> str:
    """Return the flag of a field, such as --link-address for link_address."""
    return SHORT_NAMES.get(name, f"--{name.replace('_', '-')}")


def settings_flags(settings: type[BaseSettings]) -> dict[str, Any]:
    """Return the annotations by which typer knows the flags of a settings class, by name of the field."""
    return {name: _annotation(settings, name) for name in settings.model_fields}


def _annotation(settings: type[BaseSettings], name: str) -> Any:
    """Return the typer annotation of the flag of one field."""
    kind = _plain_type(settings.model_fields[name].annotation)
    flag = flag_of(name)
    option = typer.Option(
        # A boolean flag has no --no-... form: without the flag, the environment decides.
        *([flag] if kind is bool else [flag, *([f"--{name.replace('_', '-')}"] if name in SHORT_NAMES else [])]),
        help=_help(settings, name),
        metavar="FILE" if kind is Path else None,
        rich_help_panel=SECURITY_PANEL if name in _SECURITY else None,
    )
    return Annotated[kind | None, option]


def _plain_type(annotation: Any) -> Any:
    """Return the type that typer parses for a field with this annotation; pydantic checks ranges later."""
    arguments = get_args(annotation)
    if annotation in (bool, int, float, str, Path) or (isinstance(annotation, type) and issubclass(annotation, Enum)):
        return annotation
    if NoneType in arguments:
        return _plain_type(next(one for one in arguments if one is not NoneType))
    if hasattr(annotation, "__metadata__"):
        return _plain_type(arguments[0])
    return list[str]  # for a tuple of names, whose flag may be repeated


def _help(settings: type[BaseSettings], name: str) -> str:
    """Return the docstring of a field in one line, followed by its default if it has one."""
    # A class that overrides the default of an inherited field does not repeat the docstring.
    fields = [base.model_fields.get(name) for base in settings.__mro__ if issubclass(base, BaseSettings)]
    words = " ".join(next((field.description for field in fields if field and field.description), "").split())
    default = settings.model_fields[name].default
    if isinstance(default, Enum):
        default = default.value
    elif isinstance(default, tuple):
        default = ", ".join(default)
    if name == "log_json":
        words += " One line with the address goes to stdout."
    return words if default is None or default is False or default == "" else f"{words} (default: {default})"


def add_flags(signature: inspect.Signature, flags: Mapping[str, Any]) -> inspect.Signature:
    """Return the signature with the flags added as keyword-only parameters. A flag that is not given is None."""
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in flags.items()
    ]
    return signature.replace(parameters=[*signature.parameters.values(), *added])


def take_flags(flags: Mapping[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Remove the flags from `arguments`, and return the values of those that were given, by name of the field."""
    values = {name: arguments.pop(name, None) for name in flags}
    return {name: value for name, value in values.items() if value is not None}
