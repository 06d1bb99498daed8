"""`gocom zoo`: the nets of a profile, with their size, licence and where they are used."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from gocom.client import console
from gocom.client.console import command, emit, say, show, spinner
from gocom.common.errors import NotReady
from gocom.common.net_sources import PROFILES, HubFiles
from gocom.common.systems import SYSTEMS
from gocom.common.zoo import (
    RANDOM_MARK,
    active_profile,
    find_fault,
    knowledge_names,
    net_folder,
    net_source,
    size_bytes,
)

_ALSO_USED = {
    "classifier": ("lami_go", "feature_imputing", "task classify"),
    "text_encoder": ("lami_go",),
}
"""Where nets are used that the two ends of a link need not hold alike."""
Fetch = Annotated[bool, typer.Option("--fetch", help="First fetch from the hub what the profile lacks.")]


@command
def zoo(fetch: Fetch = False, as_json: console.Json = False) -> None:
    """List the nets of the profile that GOCOM_ZOO names: micro (default) or full."""
    profile = active_profile()
    if fetch:
        for name, source in PROFILES[profile].items():
            if isinstance(source.files, HubFiles):
                with spinner(f"fetching {name}: {source.files}"):
                    net_folder(name)
    records = [_record(profile, name) for name in sorted({*PROFILES[profile], *knowledge_names()})]
    if as_json:
        for record in records:
            emit(record)
        return
    say(f"profile {profile} (GOCOM_ZOO chooses among {', '.join(PROFILES)})")
    table = Table("net", "class", "size", "from", "licence", "used by", "state", box=None, padding=(0, 2))
    for record in records:
        size = "-" if record["bytes"] is None else f"{record['bytes'] / 1e6:.1f} MB"
        used, state = ", ".join(record["used_by"]), record["state"]
        table.add_row(record["net"], record["class"], size, record["from"], record["licence"], used, state)
    show(table)


def _record(profile: str, name: str) -> dict[str, Any]:
    source = net_source(name)
    try:
        state = find_fault(name) or ("random weights" if (net_folder(name) / RANDOM_MARK).exists() else "ready")
    except NotReady:
        state = "not on this machine"
    except OSError as error:
        state = f"cannot be read: {error}"
    used_by = [codec for codec in SYSTEMS if name in SYSTEMS.get(codec).knowledge]
    return {
        "net": name,
        "profile": profile,
        "class": source.kind,
        "bytes": size_bytes(name),
        "from": str(source.files),
        "licence": source.licence,
        "used_by": used_by or list(_ALSO_USED.get(name, ())),
        "state": state,
    }
