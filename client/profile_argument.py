"""A profile for the command line of a process; what no argument can hold, a trace, goes into a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gocom.common.channel_spec import TRACE_REPLAY, format_spec
from gocom.common.packet_trace_file import TraceWriter
from gocom.v1 import channel_pb2


def profile_argument(profile: channel_pb2.ChannelProfile, folder: Path, name: str = "channel") -> str:
    """SPEC that parse_spec makes this profile of, but for its seed; traces go into files of that name in the folder."""
    if not any(impairment.HasField("trace_replay") for impairment in profile.impairments):
        return format_spec(profile) or "clean"
    items = [_item(f"{name}-{position}.trace", item, folder) for position, item in enumerate(profile.impairments)]
    path = folder / f"{name}.yml"
    path.write_text(json.dumps({"impairments": items}), "utf-8")  # JSON is YAML 1.2
    return str(path)


def _item(file: str, impairment: channel_pb2.Impairment, folder: Path) -> dict[str, Any]:
    if impairment.HasField("trace_replay"):
        with TraceWriter(folder / file) as writer:
            for message in impairment.trace_replay.rounds:
                writer.write(message)
        return {TRACE_REPLAY: {"file": file}}
    name, _, words = format_spec(channel_pb2.ChannelProfile(impairments=[impairment])).partition(":")
    return {name: dict(word.split("=") for word in words.split(",")) if words else {}}
