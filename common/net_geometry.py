"""What sizes of messages depend on, read from the config of an autoencoder. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gocom.common.errors import Mismatch, abbreviate

F8_PATCH_PX = 8
"""Side in pixels of the patch of a latent position of the nets in common/nets/autoencoder.py."""


def token_geometry(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return (codebook size K, side of a patch in pixels) of a tokenizer.

    Args:
        config: config of a VQTokenizer or of a VQModel of diffusers, as in its config.json.

    Raises:
        Mismatch: the config is of another class, or lacks what it says there.
    """
    name = config.get("_class_name")
    if name == "VQTokenizer":
        return _whole(config, "codebook_size"), F8_PATCH_PX
    if name == "VQModel":
        return _whole(config, "num_vq_embeddings"), _patch_px(config)
    raise Mismatch(f"tokenizer: the class of its config is {abbreviate(name)}; known are VQTokenizer, VQModel")


def latent_geometry(config: Mapping[str, Any]) -> tuple[int, int]:
    """Return (channels C of the latent, side of a patch in pixels) of a variational autoencoder.

    Args:
        config: config of a Vae or of an AutoencoderKL of diffusers, as in its config.json.

    Raises:
        Mismatch: the config is of another class, or lacks what it says there.
    """
    name = config.get("_class_name")
    if name == "Vae":
        return _whole(config, "latent_channels"), F8_PATCH_PX
    if name == "AutoencoderKL":
        return _whole(config, "latent_channels"), _patch_px(config)
    raise Mismatch(f"vae: the class of its config is {abbreviate(name)}; known are Vae, AutoencoderKL")


def _whole(config: Mapping[str, Any], key: str) -> int:
    """Return a positive whole number of a config. Raise Mismatch if it is none."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        what = f"config of {config['_class_name']}"
        raise Mismatch(f"{what}: {key} is {abbreviate(value)}; it must be a whole number above 0")
    return value


def _patch_px(config: Mapping[str, Any]) -> int:
    """Return the side of a patch of an autoencoder of diffusers, which halves the grid after each block but the last.

    Raises:
        Mismatch: the config names no blocks.
    """
    blocks = config.get("block_out_channels")
    if not isinstance(blocks, list | tuple) or not blocks:
        what = f"config of {config['_class_name']}"
        raise Mismatch(f"{what}: block_out_channels is {abbreviate(blocks)}; it must be a list of channels")
    return 1 << (len(blocks) - 1)
