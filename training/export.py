"""Saving nets for `models/`: fp16 safetensors, with the tensors that must not lose a bit kept as they are."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers.models.modeling_utils import ModelMixin
from safetensors.torch import save_file


def save_half(model: ModelMixin, folder: Path, keep_float: tuple[str, ...] = ()) -> None:
    """Write config.json and diffusion_pytorch_model.safetensors.

    Args:
        keep_float: names of state-dict entries kept in float32 (a codebook decides which token is nearest).
    """
    folder.mkdir(parents=True, exist_ok=True)
    model.register_to_config(_name_or_path="")  # where it was loaded from is nobody's business
    model.save_config(folder)
    state = {
        name: (value if name in keep_float or not value.is_floating_point() else value.half()).cpu().contiguous()
        for name, value in model.state_dict().items()
    }
    weights = folder / "diffusion_pytorch_model.safetensors"
    save_file(state, weights, metadata={"format": "pt"})
    weights.chmod(0o644)  # safetensors writes for the owner only; a service may run as somebody else
    for name, value in state.items():
        if not bool(torch.isfinite(value.float()).all()):
            raise FloatingPointError(f"{name} is not finite in fp16")
