"""Tiny nets with random weights, of exactly the classes that the profile `full` loads, and a fake cache of their hub.

Sizes that a codec depends on are the real ones: 8192 codewords and 16 px a token, 4 channels and 8 px a position.
"""

import json
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel, UVit2DModel, VQModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

AMUSED = "amused/amused-256", "09b6259bf96dbe6d70a852b70812420fe02df55e"
SD_VAE = "stabilityai/sd-vae-ft-mse", "31f26fdeee1355a5c34592e401dd41e45d25a493"
SD_INPAINTING = "stable-diffusion-v1-5/stable-diffusion-inpainting", "8a4288a76071f7280aedbdb3253bdb9e9d5d84bb"
"""Repository and revision, each."""

MARKER = "RANDOM_WEIGHTS"
CODEBOOK_SIZE, VOCABULARY_SIZE = 8192, 8256
TEXT_DIM, MAX_WORD_PIECES = 16, 77
LETTERS = [chr(code) for code in range(ord("!"), ord("~") + 1)]
MERGES = ["d o", "do g</w>", "c a", "ca t</w>"]


def vq_model(seed=0):
    """Its codebook is spread as its latents are, so that a picture has many tokens, and its pictures are about gray."""
    torch.manual_seed(seed)
    net = VQModel(
        down_block_types=("DownEncoderBlock2D",) * 5, up_block_types=("UpDecoderBlock2D",) * 5,
        block_out_channels=(8,) * 5, latent_channels=8, norm_num_groups=4, num_vq_embeddings=CODEBOOK_SIZE,
        mid_block_add_attention=False, lookup_from_codebook=True, force_upcast=True,
    )  # fmt: skip
    torch.nn.init.normal_(net.quantize.embedding.weight, std=0.5)
    torch.nn.init.constant_(net.decoder.conv_out.bias, 0.5)
    return net.eval()


def uvit(seed=0):
    torch.manual_seed(seed)
    return UVit2DModel(
        hidden_size=16, cond_embed_dim=TEXT_DIM, micro_cond_encode_dim=4, micro_cond_embed_dim=20,
        encoder_hidden_size=TEXT_DIM, vocab_size=VOCABULARY_SIZE, codebook_size=CODEBOOK_SIZE, in_channels=16,
        block_out_channels=16, num_res_blocks=1, block_num_heads=2, num_hidden_layers=1, num_attention_heads=2,
        intermediate_size=32, sample_size=16,
    ).eval()  # fmt: skip


def text_encoder(kind, seed=0):
    """CLIPTextModelWithProjection or CLIPTextModel."""
    torch.manual_seed(seed)
    words = vocabulary()
    config = CLIPTextConfig(
        vocab_size=len(words), hidden_size=TEXT_DIM, intermediate_size=32, projection_dim=TEXT_DIM,
        num_hidden_layers=3, num_attention_heads=2, max_position_embeddings=MAX_WORD_PIECES,
        bos_token_id=words["<|startoftext|>"], eos_token_id=words["<|endoftext|>"],
    )  # fmt: skip
    return kind(config).eval()


def autoencoder_kl(seed=0):
    torch.manual_seed(seed)
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(8,) * 4, latent_channels=4, norm_num_groups=4,
    ).eval()  # fmt: skip


def inpainting_unet(seed=0):
    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=64, in_channels=9, out_channels=4, block_out_channels=(8,) * 4, layers_per_block=1,
        norm_num_groups=4, cross_attention_dim=TEXT_DIM, attention_head_dim=2,
    ).eval()  # fmt: skip


def vocabulary():
    """Single characters, the same at the end of a word, a few words, and the two special tokens at the end."""
    words = [*LETTERS, *(f"{letter}</w>" for letter in LETTERS), *(merge.replace(" ", "") for merge in MERGES)]
    return {word: index for index, word in enumerate([*words, "<|startoftext|>", "<|endoftext|>"])}


def save_clip_tokenizer(folder):
    """As the files on the hub: no tokenizer.json."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary()))
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *MERGES, ""]))
    special = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    options = {"tokenizer_class": "CLIPTokenizer", "model_max_length": MAX_WORD_PIECES, "unk_token": "<|endoftext|>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(options | special))
    (folder / "special_tokens_map.json").write_text(json.dumps(special))


def clip_tokenizer(folder):
    save_clip_tokenizer(folder)
    return CLIPTokenizer.from_pretrained(folder)


def snapshot(cache, repository, revision):
    """The folder of a revision in a cache, as huggingface_hub lays it out; it and its branch are made if absent."""
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True, exist_ok=True)
    (root / "refs" / "main").write_text(revision)
    folder = root / "snapshots" / revision
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save(cache: Path) -> None:
    """Write all of them below a folder that is to stand for the cache of the Hugging Face hub."""
    amused, vae, inpainting = (snapshot(cache, *source) for source in (AMUSED, SD_VAE, SD_INPAINTING))
    for folder in (amused, vae, inpainting):
        (folder / MARKER).write_text("These weights were drawn by tests/tiny_hub_nets.py.\n")
    vq_model().save_pretrained(amused / "vqvae")
    uvit().save_pretrained(amused / "transformer")
    text_encoder(CLIPTextModelWithProjection).save_pretrained(amused / "text_encoder")
    save_clip_tokenizer(amused / "tokenizer")
    autoencoder_kl().save_pretrained(vae)
    inpainting_unet().save_pretrained(inpainting / "unet")
    text_encoder(CLIPTextModel).save_pretrained(inpainting / "text_encoder")
    save_clip_tokenizer(inpainting / "tokenizer")
