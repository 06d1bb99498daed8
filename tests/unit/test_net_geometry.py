"""Sizes that are read from a net's config are those that the net has."""

import pytest
import tiny_hub_nets as tiny
import torch

from gocom.common.errors import Mismatch
from gocom.common.net_geometry import latent_geometry, token_geometry
from gocom.common.nets.vae import Vae
from gocom.common.nets.vq_tokenizer import VQTokenizer

SIDE_PX = 64


def config_of(net):
    return {"_class_name": type(net).__name__, **net.config}


@torch.inference_mode()
def test_of_tokenizers():
    x = torch.rand(1, 3, SIDE_PX, SIDE_PX)
    ours = VQTokenizer(codebook_size=48, quarter_channels=8, eighth_channels=8)
    size, patch_px = token_geometry(config_of(ours))
    assert size == len(ours.codebook) and ours.encode(x)[0].shape[2] * patch_px == SIDE_PX == 8 * patch_px
    assert patch_px == ours.patch_px
    hub = tiny.vq_model()
    size, patch_px = token_geometry(config_of(hub))
    assert size == hub.quantize.embedding.num_embeddings and hub.encode(x).latents.shape[2] * patch_px == SIDE_PX
    assert (size, patch_px) == (8192, 16)


@torch.inference_mode()
def test_of_vaes():
    x = torch.rand(1, 3, SIDE_PX, SIDE_PX)
    ours = Vae(latent_channels=5, quarter_channels=8, eighth_channels=8)
    channels, patch_px = latent_geometry(config_of(ours))
    assert ours.encode(x).shape == (1, channels, SIDE_PX // patch_px, SIDE_PX // patch_px)
    assert (channels, patch_px) == (ours.latent_channels, ours.patch_px) == (5, 8)
    hub = tiny.autoencoder_kl()
    channels, patch_px = latent_geometry(config_of(hub))
    mean = hub.encode(x).latent_dist.mean
    assert mean.shape == (1, channels, SIDE_PX // patch_px, SIDE_PX // patch_px) == (1, 4, 8, 8)


@pytest.mark.parametrize(
    ("geometry", "config", "said"),
    [
        (token_geometry, {}, r"tokenizer: the class of its config is None; known are VQTokenizer, VQModel"),
        (token_geometry, {"_class_name": "Vae"}, "tokenizer: the class of its config is 'Vae'"),
        (latent_geometry, {"_class_name": "VQModel"}, "vae: the class of its config is 'VQModel'; known are Vae,"),
        (token_geometry, {"_class_name": "VQTokenizer"}, "config of VQTokenizer: codebook_size is None"),
        (token_geometry, {"_class_name": "VQTokenizer", "codebook_size": True}, "is True; it must be a whole number"),
        (latent_geometry, {"_class_name": "Vae", "latent_channels": 0}, "latent_channels is 0; it must be a whole"),
        (token_geometry, {"_class_name": "VQModel", "num_vq_embeddings": 9}, "block_out_channels is None; it must be"),
        (
            latent_geometry,
            {"_class_name": "AutoencoderKL", "latent_channels": 4, "block_out_channels": []},
            r"config of AutoencoderKL: block_out_channels is \[\]; it must be a list of channels",
        ),
    ],
)
def test_a_config_that_does_not_say_it(geometry, config, said):
    with pytest.raises(Mismatch, match=said):
        geometry(config)
