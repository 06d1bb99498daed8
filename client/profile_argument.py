"""Conversion of a profile to a command-line argument; a trace, which no argument can hold, is written to a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gocom.common.channel_spec import TRACE_REPLAY, format_spec
from gocom.common.packet_trace_file import TraceWriter
from gocom.v1 import channel_pb2


def profile_argument(profile: channel_pb2.ChannelProfile, folder: Path, name: str = "channel") -> str:
    """Return a SPEC of which parse_spec makes this profile, without its seed.

    Args:
        profile: the profile.
        folder: folder for the files of a profile with traces. The SPEC is then the path of a YAML file in it.
        name: beginning of the names of these files.
    """
    if not any(impairment.HasField("trace_replay") for impairment in profile.impairments):
        return format_spec(profile) or "clean"
    items = [_yaml_item(f"{name}-{position}.trace", item, folder) for position, item in enumerate(profile.impairments)]
    path = folder / f"{name}.yml"
    path.write_text(json.dumps({"impairments": items}), "utf-8")  # JSON is YAML 1.2
    return str(path)


def _yaml_item(file: str, impairment: channel_pb2.Impairment, folder: Path) -> dict[str, Any]:
    """Return an impairment as it is written in a YAML file; a trace is written to `file` in the folder."""
    if impairment.HasField("trace_replay"):
        with TraceWriter(folder / file) as writer:
            for message in impairment.trace_replay.rounds:
                writer.write(message)
        return {TRACE_REPLAY: {"file": file}}
    name, _, words = format_spec(channel_pb2.ChannelProfile(impairments=[impairment])).partition(":")
    return {name: dict(word.split("=") for word in words.split(",")) if words else {}}
