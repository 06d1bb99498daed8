"""`gocom codecs`: the registered codecs and their options."""

from __future__ import annotations

import types
from enum import Enum
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from rich.table import Table
from rich.text import Text

from gocom.client import console
from gocom.client.console import command, emit, say, show
from gocom.common.errors import Mismatch, NotReady
from gocom.common.systems import SYSTEMS, SegmentSpec, System

_BOUNDS = (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"), ("max_length", "length <="))


@command
def codecs(as_json: console.Json = False) -> None:
    """List the codecs with their segments, nets and options (defaults and ranges)."""
    systems = [SYSTEMS.get(name) for name in SYSTEMS]
    if as_json:
        for system in systems:
            emit(_record(system))
        return
    for system in systems:
        record = _record(system)
        segments = ", ".join(f"{s['name']} ({'/'.join(s['codings'])})" for s in record["segments"])
        console.out.print(Text(system.name, style="bold"), "", system.summary, soft_wrap=True)
        nets = f"; nets: {', '.join(system.knowledge)}" if system.knowledge else ""
        say(f"  sends {segments}{nets}")
        table = Table("option", "type", "default", "range", box=None, padding=(0, 2))
        for option in record["options"]:
            table.add_row(option["name"], option["type"], _word(option["default"]), option["range"])
        show(table)
        say("")


def _record(system: System) -> dict[str, Any]:
    return {
        "codec": system.name,
        "summary": system.summary,
        "segments": [
            {"name": s.name, "alphabet_size": _alphabet_size(s), "codings": [c.value for c in s.codings]}
            for s in system.segments
        ],
        "knowledge": list(system.knowledge),
        "options": [_option(name, field) for name, field in system.options.model_fields.items()],
    }


def _alphabet_size(segment: SegmentSpec) -> int | None:
    """Return the size of a segment's alphabet; None if a net says it that is not on this machine."""
    try:
        return segment.alphabet_size
    except (NotReady, Mismatch):
        return None


def _option(name: str, field: FieldInfo) -> dict[str, Any]:
    kinds, notes = _flatten(field.annotation)
    limits = [
        f"{sign} {getattr(note, key)}"
        for note in [*field.metadata, *notes]
        for key, sign in _BOUNDS
        if hasattr(note, key)
    ]
    choices = [member.value for kind in kinds if issubclass(kind, Enum) for member in kind]
    default = field.get_default()
    return {
        "name": name,
        "type": "choice" if choices else "/".join(kind.__name__ for kind in kinds),
        "default": default.value if isinstance(default, Enum) else default,
        "range": ", ".join(map(str, choices or limits)),
    }


def _flatten(annotation: Any) -> tuple[list[type], list[Any]]:
    """Return the plain types of an annotation, without None, and the pydantic constraints in it."""
    origin = get_origin(annotation)
    if origin in (Union, types.UnionType):
        parts = [_flatten(part) for part in get_args(annotation)]
        return [t for kinds, _ in parts for t in kinds], [n for _, notes in parts for n in notes]
    if hasattr(annotation, "__metadata__"):
        kinds, notes = _flatten(annotation.__origin__)
        constraints = [m for note in annotation.__metadata__ for m in getattr(note, "metadata", [note])]
        return kinds, [*notes, *constraints]
    if annotation is type(None):
        return [], []
    return [annotation if isinstance(annotation, type) else str], []


def _word(default: Any) -> str:
    return "-" if default is None else str(default).lower() if isinstance(default, bool) else str(default)
