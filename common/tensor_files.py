"""Reading of safetensors files without torch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from gocom.common.errors import Mismatch

_MAX_HEADER_BYTES = 100 << 20
"""Limit on the header of a safetensors file, that of the format's own library."""


def read_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a safetensors file by name. Raises Mismatch if it is missing or damaged."""
    try:
        tensors: dict[str, npt.NDArray[Any]] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise Mismatch(f"model {path.parent.name}: cannot read {path.name}: {error}") from None
    return tensors


def is_cut_off(path: Path) -> bool:
    """Return whether a safetensors file has another length than its header states, or no readable header.

    The format: 8 bytes with the header's length, little-endian, the header as JSON with "data_offsets" of each tensor,
    then the data. Nothing but the header is read.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length > _MAX_HEADER_BYTES:
                return True
            header = json.loads(file.read(length))
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0)
        return bool(path.stat().st_size != 8 + length + end)
    except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
        return True
