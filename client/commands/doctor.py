"""`gocom doctor`: report the installed packages, devices, nets and optional metrics, and the services that answer."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from gocom.client import console
from gocom.client.console import CHANNEL, RECEIVER, TRANSMITTER, command, emit, show, spinner
from gocom.client.exit_status import FAILURE
from gocom.client.service_health import is_serving
from gocom.common.entry_points import CHECKS, load_entry_points
from gocom.common.errors import Mismatch, NotReady
from gocom.common.model_files import models_root
from gocom.common.net_sources import PROFILES, PackageFiles
from gocom.common.printable_text import printable
from gocom.common.zoo import active_profile, find_fault, fingerprint, has_random_weights, knowledge_names, net_source

PACKAGES = (
    "gocom", "grpcio", "protobuf", "numpy", "pillow", "pydantic", "constriction", "raptorq", "torch", "torchvision",
    "diffusers", "transformers", "huggingface_hub", "openvino", "scikit-image",
)  # fmt: skip


@command
def doctor(
    transmitter: console.Transmitter = TRANSMITTER,
    receiver: console.Receiver = RECEIVER,
    channel_address: console.ChannelAddress = CHANNEL,
    as_json: console.Json = False,
) -> None:
    """Report what this machine has and what is missing: packages, devices, nets, optional metrics, services.

    The nets are those of the profile that GOCOM_ZOO names. Exit status 1 when something is wrong with the files of one:
    they cannot be read, some are missing or cut off, they are not those that its CARD.md states, or there is no card to
    check them by. A net that is missing altogether is named, with status 0.
    """
    addresses = {"transmitter": transmitter, "channel": channel_address, "receiver": receiver}
    with spinner("looking (importing torch may take a while)"):
        checks = _checks()
        record: dict[str, Any] = {
            **checks,
            "python": platform.python_version(),
            "packages": {name: _version(name) for name in PACKAGES},
            "devices": _devices(),
            "models_root": str(models_root()),
            "profile": active_profile(),
            "models": _models(),
            "services": {
                name: {"address": at, "serving": is_serving(at, security=console.security())}
                for name, at in addresses.items()
            },
        }
    if as_json:
        emit(record)
    else:
        _print(record, checks)
    if any(net["wrong"] and not net["missing"] for net in record["models"].values()):
        raise typer.Exit(FAILURE)


def _checks() -> dict[str, Any]:
    """Return the results of all checks found as entry points, by name; for one that fails, {"error": why}.

    A check that cannot be imported has {}: evaluation is left out of the images of services.
    """
    found: dict[str, Any] = {}
    checks = load_entry_points(CHECKS, lambda name, error: found.update({name: {}}))
    for name, check in checks.items():
        try:
            found[name] = check()
        except Exception as error:  # a check of another distribution may raise anything
            found[name] = {"error": f"{type(error).__name__}: {error}"}
    return found


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> list[str]:
    """Return the CPU and, if torch is installed, the GPUs that it sees."""
    found = [f"cpu ({os.cpu_count()} cores)"]
    try:
        import torch  # noqa: PLC0415 - slow to import, and optional
    except ImportError:
        return found
    if torch.cuda.is_available():
        found += [f"cuda:{i} ({torch.cuda.get_device_name(i)})" for i in range(torch.cuda.device_count())]
    return found


def _models() -> dict[str, dict[str, Any]]:
    """Return the state of each net of the active profile, by name.

    Returns:
        For each: "sha256", its fingerprint, None if it needs none or cannot be read; "missing", whether it is not there
        at all; "wrong", what is wrong with it, None if nothing is.
    """
    return {name: _model(name) for name in sorted({*PROFILES[active_profile()], *knowledge_names()})}


def _model(name: str) -> dict[str, Any]:
    record: dict[str, Any] = {"sha256": None, "missing": False, "wrong": None}
    try:
        record["wrong"] = find_fault(name)
        if record["wrong"] is None:
            has_random_weights(name)
        if not isinstance(net_source(name).files, PackageFiles):
            record["sha256"] = fingerprint(name).hex()
    except NotReady as error:
        if record["wrong"] is None:  # else some of its files are there
            record |= {"missing": True, "wrong": str(error).partition(": ")[2]}
    except Mismatch as error:
        record["wrong"] = str(error).partition(": ")[2]
    except OSError as error:
        record["wrong"] = f"cannot be read: {error}"
    return record


def _print(record: dict[str, Any], checks: dict[str, dict[str, str]]) -> None:
    table = Table("what", "state", box=None, padding=(0, 2))
    table.add_row("python", record["python"])
    for name, version in record["packages"].items():
        table.add_row(name, version or Text("missing", style="red"))
    table.add_row("devices", ", ".join(record["devices"]))
    table.add_row("profile of nets", record["profile"])
    for name, net in record["models"].items():
        table.add_row(
            f"net {name}", Text(net["wrong"], style="red") if net["wrong"] else (net["sha256"] or "whole")[:16]
        )
    for check, result in checks.items():
        for name, state in result.items():
            style = "green" if state == "ready" else "yellow"
            table.add_row(f"{name} ({check.replace('_', ' ')})", Text(printable(str(state)), style=style))
    for name, service in record["services"].items():
        answer = Text("serving", style="green") if service["serving"] else Text("not serving", style="yellow")
        table.add_row(name, answer.append(f" at {service['address']}", style="default"))
    show(table)
