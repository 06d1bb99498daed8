"""Reading of safetensors files without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from gocom.common.errors import Mismatch


def read_tensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the arrays of a safetensors file by name. Raises Mismatch if it is missing or damaged."""
    try:
        tensors: dict[str, npt.NDArray[Any]] = load_file(path)
    except (OSError, SafetensorError) as error:
        raise Mismatch(f"model {path.parent.name}: cannot read {path.name}: {error}") from None
    return tensors
