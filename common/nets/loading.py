"""Loading of the bundled nets. A weight that would silently keep its random initial value is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.modeling_utils import ModelMixin

from gocom.common.errors import Mismatch

M = TypeVar("M", bound=ModelMixin)


def resolve_device(device: str) -> torch.device:
    """Return the torch device of a name; "auto" is cuda if it is available, otherwise cpu."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def load_net(cls: type[M], folder: Path, device: torch.device) -> M:
    """Load a net with from_pretrained, in eval mode, float32 and channels-last.

    Raises:
        Mismatch: weights are missing, unexpected or of the wrong shape.
    """
    model, info = cls.from_pretrained(folder, output_loading_info=True, use_safetensors=True, low_cpu_mem_usage=False)
    wrong: dict[str, Any] = {k: v for k, v in info.items() if v}
    if wrong:
        raise Mismatch(f"model {folder.name}: its weights do not fit the net: {wrong}")
    return model.float().to(device, memory_format=torch.channels_last).eval()  # type: ignore[no-any-return]
