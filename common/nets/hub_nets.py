"""Loaders of the profile full: pretrained nets of the Hugging Face hub, in adapters for the codecs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.autoencoders.vq_model import VQModel
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.models.unets.uvit_2d import UVit2DModel
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from gocom.common.errors import Mismatch
from gocom.common.nets.amused_tokenizer import AmusedTokenizer
from gocom.common.nets.inpainting_imputer import InpaintingImputer
from gocom.common.nets.loading import load_net
from gocom.common.nets.masked_token_denoiser import MaskedTokenDenoiser
from gocom.common.nets.stable_vae import StableVae
from gocom.common.systems.lami_go import patch_px
from gocom.common.zoo import Zoo, net_folder


def load_vq_tokenizer(zoo: Zoo) -> AmusedTokenizer:
    """Load the tokenizer of lami_go. Raises as `Zoo.get`, as all loaders here.

    It stays float32 on every device: its encoder decides bits, and half precision overflows in its decoder.
    """
    return AmusedTokenizer(load_net(VQModel, net_folder("vq_tokenizer") / "vqvae", zoo.device))


def load_token_denoiser(zoo: Zoo) -> MaskedTokenDenoiser:
    """Load the denoiser of lami_go's tokens with its text encoder."""
    root = net_folder("token_denoiser")
    net = load_net(UVit2DModel, root / "transformer", zoo.device, _sampling_dtype(zoo.device))
    encoder, tokenizer = _load_clip(CLIPTextModelWithProjection, root, zoo.device)
    return MaskedTokenDenoiser(net, encoder, tokenizer, patch_px())


def load_vae(zoo: Zoo) -> StableVae:
    """Load the autoencoder of feature_imputing. It stays float32 on every device: its encoder decides bits."""
    return StableVae(load_net(AutoencoderKL, net_folder("vae"), zoo.device))


def load_feature_imputer(zoo: Zoo) -> InpaintingImputer:
    """Load the imputer of feature_imputing with the text encoder that makes its empty prompt."""
    root = net_folder("feature_imputer")
    net = load_net(UNet2DConditionModel, root / "unet", zoo.device, _sampling_dtype(zoo.device))
    return InpaintingImputer(net, *_load_clip(CLIPTextModel, root, zoo.device))


def _sampling_dtype(device: torch.device) -> torch.dtype:
    """Return the type of the weights of nets that run at every step of a sampler: half precision on a GPU."""
    return torch.float16 if device.type == "cuda" else torch.float32


def _load_clip(cls: type[Any], root: Path, device: torch.device) -> tuple[Any, CLIPTokenizer]:
    """Load a text encoder in float32 and its tokenizer. Raises Mismatch if files are damaged or do not fit."""
    try:
        encoder, info = cls.from_pretrained(
            root / "text_encoder", output_loading_info=True, use_safetensors=True, dtype=torch.float32
        )
        tokenizer = CLIPTokenizer.from_pretrained(root / "tokenizer")
    except Exception as error:  # transformers raises many types on damaged files
        words = str(error).strip().split("\n")[0]
        raise Mismatch(f"text encoder of {root.name}: cannot be loaded ({words})") from error
    # Old files hold the positions 0 to 76, too, which newer code makes itself.
    if wrong := {key: found for key, found in info.items() if found and key != "unexpected_keys"}:
        raise Mismatch(f"text encoder of {root.name}: its weights do not fit the net: {wrong}")
    return encoder.to(device).eval(), tokenizer
