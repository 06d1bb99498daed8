"""Loading bundled nets so that nothing is left at its random initial value without a word."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.modeling_utils import ModelMixin

from gocom.common.errors import Mismatch

M = TypeVar("M", bound=ModelMixin)


def resolve_device(device: str) -> torch.device:
    """ "auto" -> cuda where there is one, else cpu."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def load_net(cls: type[M], folder: Path, device: torch.device) -> M:
    """from_pretrained that raises Mismatch on missing, unexpected or mismatched weights; eval mode, float32."""
    model, info = cls.from_pretrained(folder, output_loading_info=True, use_safetensors=True, low_cpu_mem_usage=False)
    wrong: dict[str, Any] = {k: v for k, v in info.items() if v}
    if wrong:
        raise Mismatch(f"model {folder.name}: its weights do not fit the net: {wrong}")
    return model.float().to(device, memory_format=torch.channels_last).eval()  # type: ignore[no-any-return]
