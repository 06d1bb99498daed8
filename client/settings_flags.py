"""Flags of the command line that are made from settings classes: each field is a flag, its docstring is the help.

They are added to the signatures that typer reads, so that no command has to list them.
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
SHORT_NAMES = {"warm_codecs": "--warm", "log_json": "--json"}
"""Flags that are not named as their field is."""
_SECURITY = {*SecuritySettings.model_fields, "tls_client_ca"}


def flag_of(name: str) -> str:
    """Return the flag of a field: --link-address of link_address."""
    return SHORT_NAMES.get(name, f"--{name.replace('_', '-')}")


def settings_flags(settings: type[BaseSettings]) -> dict[str, Any]:
    """Return the annotation of typer for each field of a settings class, by the field's name."""
    return {name: _annotation(settings, name) for name in settings.model_fields}


def _annotation(settings: type[BaseSettings], name: str) -> Any:
    kind = _plain_type(settings.model_fields[name].annotation)
    flag = flag_of(name)
    option = typer.Option(
        # A flag of its own, without its opposite: what is not given is left to the environment.
        *([flag] if kind is bool else [flag, *([f"--{name.replace('_', '-')}"] if name in SHORT_NAMES else [])]),
        help=_help(settings, name),
        metavar="FILE" if kind is Path else None,
        rich_help_panel=SECURITY_PANEL if name in _SECURITY else None,
    )
    return Annotated[kind | None, option]


def _plain_type(annotation: Any) -> Any:
    """Return the type that the command line reads; pydantic checks the ranges."""
    arguments = get_args(annotation)
    if annotation in (bool, int, float, str, Path) or (isinstance(annotation, type) and issubclass(annotation, Enum)):
        return annotation
    if NoneType in arguments:
        return _plain_type(next(one for one in arguments if one is not NoneType))
    if hasattr(annotation, "__metadata__"):
        return _plain_type(arguments[0])
    return list[str]  # of a tuple of names: the flag may be repeated


def _help(settings: type[BaseSettings], name: str) -> str:
    """Return the docstring of a field in one line, and its default."""
    # A class that gives a field of its base another default does not describe it again.
    fields = [base.model_fields.get(name) for base in settings.__mro__ if issubclass(base, BaseSettings)]
    words = " ".join(next((field.description for field in fields if field and field.description), "").split())
    default = settings.model_fields[name].default
    if isinstance(default, Enum):
        default = default.value
    elif isinstance(default, tuple):
        default = ", ".join(default)
    return words if default in (None, False, "") else f"{words} (default: {default})"


def add_flags(signature: inspect.Signature, flags: Mapping[str, Any]) -> inspect.Signature:
    """Return the signature with the flags after its own parameters."""
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
        for name, annotation in flags.items()
    ]
    return signature.replace(parameters=[*signature.parameters.values(), *added])


def take_flags(flags: Mapping[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """Move the flags out of the arguments, and return those that were given, by name of the setting."""
    values = {name: arguments.pop(name, None) for name in flags}
    return {name: value for name, value in values.items() if value is not None}
