"""Loading of nets. A weight that would silently keep its random initial value is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.modeling_utils import ModelMixin

from gocom.common.errors import InvalidInput, Mismatch

M = TypeVar("M", bound=ModelMixin)


def resolve_device(device: str) -> torch.device:
    """Return the torch device of a name; "auto" is cuda if it is available, otherwise cpu.

    Raises:
        InvalidInput: there is no such device on this machine.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (AssertionError, RuntimeError, NotImplementedError):  # torch raises each of these, by how it was built
        usable = ", ".join(["auto", "cpu", *(f"cuda:{index}" for index in range(torch.cuda.device_count()))])
        raise InvalidInput(f"device: {device!r} cannot be used on this machine; choose {usable}") from None
    return found


def load_net(cls: type[M], folder: Path, device: torch.device, dtype: torch.dtype = torch.float32) -> M:
    """Load a net with from_pretrained, in eval mode and channels-last, with weights of one type.

    Raises:
        Mismatch: a file is missing or damaged, or weights are missing, unexpected or of the wrong shape.
    """
    try:
        model, info = cls.from_pretrained(
            folder, output_loading_info=True, use_safetensors=True, low_cpu_mem_usage=False, torch_dtype=dtype
        )
    except Exception as error:  # diffusers raises many types on damaged files
        words = str(error).strip().split("\n")[0]
        raise Mismatch(f"model {folder.name}: cannot be loaded ({words}); `gocom doctor` checks its files") from error
    wrong: dict[str, Any] = {k: v for k, v in info.items() if v}
    if wrong:
        raise Mismatch(f"model {folder.name}: its weights do not fit the net: {wrong}")
    # from_pretrained leaves some nets in the files' half precision, whatever type it is asked for.
    model = model.float() if dtype is torch.float32 else model
    return model.to(device, memory_format=torch.channels_last).eval()  # type: ignore[no-any-return]
