"""Nets of a hub behind the interfaces of ours: tiny random ones of their classes, compared with their pipelines."""

import warnings

import pytest
import tiny_hub_nets as tiny
import torch
from diffusers import (
    AmusedPipeline,
    AmusedScheduler,
    AutoencoderKL,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
    UVit2DModel,
    VQModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from gocom.common.nets.amused_tokenizer import AmusedTokenizer
from gocom.common.nets.inpainting_imputer import InpaintingImputer
from gocom.common.nets.loading import load_net
from gocom.common.nets.masked_token_denoiser import MaskedTokenDenoiser
from gocom.common.nets.stable_vae import StableVae
from gocom.common.samplers.feature_imputation import impute
from gocom.common.samplers.imputer_settings import ImputerSettings
from gocom.common.samplers.latent_mixture import SamplerSettings, sample
from gocom.common.systems.lami_go import TokenDraw

CPU = torch.device("cpu")
GRID = 3, 5
"""Rows and columns of tokens, neither even."""
MASK = tiny.VOCABULARY_SIZE - 1


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return tiny.clip_tokenizer(tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture(scope="module")
def tokenizer():
    return AmusedTokenizer(tiny.vq_model())


@pytest.fixture(scope="module")
def denoiser(words):
    return MaskedTokenDenoiser(tiny.uvit(), tiny.text_encoder(CLIPTextModelWithProjection), words, 16)


@pytest.fixture(scope="module")
def imputer(words):
    return InpaintingImputer(tiny.inpainting_unet(), tiny.text_encoder(CLIPTextModel), words)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def seeded(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def pictures(count, rows=GRID[0], columns=GRID[1], patch_px=16):
    return noise(count, 3, rows * patch_px, columns * patch_px).sigmoid()


class Watched(torch.nn.Module):
    """A net, and what it was called with."""

    def __init__(self, net):
        super().__init__()
        self.net, self.config, self.calls, self.answers = net, net.config, [], []

    @property
    def dtype(self):
        return self.net.dtype

    def forward(self, *inputs, **named):
        self.calls.append((inputs, named))
        self.answers.append(self.net(*inputs, **named))
        return self.answers[-1]


# the tokenizer


def test_tokens_are_those_of_the_net_and_distances_those_to_their_codewords(tokenizer):
    x = pictures(2)
    tokens, distance = tokenizer.encode(x)
    z = tokenizer.net.encode(x).latents
    assert tokens.shape == distance.shape == (2, *GRID) and (tokens.dtype, distance.dtype) == (
        torch.int64,
        torch.float32,
    )
    assert torch.equal(tokens.flatten(), tokenizer.net.quantize(z)[2][2])
    difference = z - tokenizer.codebook[tokens].permute(0, 3, 1, 2)
    torch.testing.assert_close(distance, difference.square().sum(1).sqrt(), atol=1e-4, rtol=1e-4)
    assert len(tokens.unique()) > 10 and distance.min() > 0


def test_tokens_are_decoded_as_their_codewords(tokenizer):
    tokens, _ = tokenizer.encode(pictures(2))
    x_hat = tokenizer.decode(tokens)
    codewords = tokenizer.codebook[tokens].permute(0, 3, 1, 2)
    expected = tokenizer.net.decoder(tokenizer.net.post_quant_conv(codewords)).clamp(0, 1)
    assert x_hat.shape == (2, 3, 48, 80) and x_hat.std() > 0.01
    torch.testing.assert_close(x_hat, expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(tokenizer.decode(tokens[1:]), x_hat[1:], atol=1e-5, rtol=0)


def test_nets_of_half_precision_give_and_take_whole_numbers_of_float32(words):
    half = torch.bfloat16
    tokenizer, vae = AmusedTokenizer(tiny.vq_model().to(half)), StableVae(tiny.autoencoder_kl().to(half))
    tokens, distance = tokenizer.encode(pictures(1))
    encoder = tiny.text_encoder(CLIPTextModelWithProjection)
    denoise, _ = MaskedTokenDenoiser(tiny.uvit().to(half), encoder, words, 16).bind(["a dog"], torch.ones(1, *GRID))
    imputer = InpaintingImputer(tiny.inpainting_unet().to(half), tiny.text_encoder(CLIPTextModel), words)
    y = vae.encode(pictures(1, 8, 8))
    found = [
        tokenizer.codebook, distance, tokenizer.decode(tokens), denoise(tokens, torch.ones(1)), y, vae.decode(y),
        imputer.predict(y, y, torch.ones_like(y), torch.tensor([1])),
    ]  # fmt: skip
    assert {one.dtype for one in found} == {torch.float32} and all(one.isfinite().all() for one in found)


# the denoiser


def test_the_net_gets_what_the_pipeline_of_amused_gives_it(words, denoiser):
    """Of a picture that is not square, with guidance: first the empty prompt, then the caption."""
    net = Watched(denoiser.net)
    scheduler = AmusedScheduler(mask_token_id=denoiser.noise_token)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # diffusers calls the pipeline deprecated
        pipe = AmusedPipeline(
            tiny.vq_model(), words, tiny.text_encoder(CLIPTextModelWithProjection), denoiser.net, scheduler
        )
    pipe.transformer.register_forward_hook(lambda _, inputs, out: net.answers.append(out), always_call=False)
    pipe.set_progress_bar_config(disable=True)
    pipe("a dog", height=48, width=80, num_inference_steps=1, output_type="latent", guidance_scale=2.0)
    without, with_text = net.answers[-1]
    conditional, unconditional = denoiser.bind(["a dog"], torch.zeros(1, *GRID))
    hidden = torch.full((1, *GRID), MASK)
    torch.testing.assert_close(conditional(hidden, torch.ones(1))[0], with_text, atol=1e-5, rtol=0)
    torch.testing.assert_close(unconditional(hidden, torch.ones(1))[0], without, atol=1e-5, rtol=0)
    assert (with_text - without).abs().max() > 1e-3 and with_text.shape == (tiny.CODEBOOK_SIZE, *GRID)


def test_captions_stay_with_their_frames_and_no_caption_is_the_empty_prompt(denoiser):
    captions = ["a dog", None, "cat " * 100, ""]
    tokens, t = torch.randint(tiny.CODEBOOK_SIZE, (4, *GRID), generator=seeded(0)[0]), torch.ones(4)
    conditional, unconditional = denoiser.bind(captions, torch.zeros(4, *GRID))
    logits = conditional(tokens, t)
    for i, caption in enumerate(captions):
        alone, other = denoiser.bind([caption], torch.zeros(1, *GRID))
        torch.testing.assert_close(alone(tokens[i : i + 1], t[:1])[0], logits[i], atol=1e-5, rtol=0)
        assert (other is None) == (not caption)
    without = unconditional(tokens, t)
    assert torch.equal(without[1::2], logits[1::2]) and (without - logits)[::2].abs().amax((1, 2, 3)).min() > 1e-3
    assert denoiser.bind([None, ""], torch.zeros(2, *GRID))[1] is None


@pytest.mark.parametrize("draw", TokenDraw)
def test_missing_tokens_are_masked_and_filled_and_received_ones_stay(words, tokenizer, draw):
    net = Watched(tiny.uvit())
    denoiser = MaskedTokenDenoiser(net, tiny.text_encoder(CLIPTextModelWithProjection), words, 16)
    tokens, _ = tokenizer.encode(pictures(2))
    received = torch.rand(tokens.shape, generator=seeded(1)[0]) < 0.5
    conditional, unconditional = denoiser.bind(["a dog", None], received.float())
    settings = SamplerSettings(num_inference_steps=4, guidance_scale=3.0, draw=draw)
    steps = list(
        sample(
            conditional, torch.where(received, tokens, 0), received, codebook=tokenizer.codebook, settings=settings,
            generators=seeded(2, 3), unconditional=unconditional, noise_token=denoiser.noise_token,
        )
    )  # fmt: skip
    looked = [inputs[0] for inputs, _ in net.calls]
    assert len(looked) == 8 and torch.equal(looked[0] == MASK, ~received)  # with the caption and without it, each step
    assert 0 < (looked[-1] == MASK).sum() < (~received).sum()
    for x in looked:
        assert torch.equal(x[received], tokens[received])
    for step in steps:
        assert torch.equal(step.tokens[received], tokens[received]) and (step.tokens < tiny.CODEBOOK_SIZE).all()
    assert steps[-1].probability.shape == tokens.shape


# the autoencoder


def test_features_are_the_scaled_mean_and_pictures_stay_in_range():
    vae = StableVae(tiny.autoencoder_kl())
    x = pictures(2, 3, 5, 8)
    y = vae.encode(x)
    assert y.shape == (2, 4, 3, 5) and torch.equal(y, vae.encode(x))
    assert torch.equal(y, 0.18215 * vae.net.encode(2 * x - 1).latent_dist.mean)
    x_hat = vae.decode(y)
    assert x_hat.shape == x.shape and x_hat.min() >= 0 and x_hat.max() <= 1 and x_hat.std() > 0
    sample_ = vae.net.decode(y / 0.18215).sample
    torch.testing.assert_close(x_hat, (sample_ / 2 + 0.5).clamp(0, 1))
    assert vae.decode(99 * y).max() <= 1


# the imputer


def test_the_schedule_is_that_of_stable_diffusion(imputer):
    scheduler = imputer.scheduler()
    assert scheduler is not imputer.scheduler() and scheduler.config.prediction_type == "epsilon"
    assert float(scheduler.alphas_cumprod[-1]) == pytest.approx(0.00466, abs=1e-5)
    scheduler.set_timesteps(20)
    assert scheduler.timesteps[0] == 951 and scheduler.timesteps[-1] == 1
    assert not imputer.default_settings.deterministic


def test_the_net_gets_what_the_inpainting_pipeline_gives_it(words, imputer):
    """For the same mask, and the same latent of what is left."""
    unet, seen = imputer.net, []
    pipe = StableDiffusionInpaintPipeline(
        tiny.autoencoder_kl(), tiny.text_encoder(CLIPTextModel), words, unet, imputer.scheduler(), None, None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    received = torch.ones(1, 4, 8, 16)
    received[..., 5:9] = 0
    y, noisy = noise(1, 4, 8, 16), noise(1, 4, 8, 16, seed=1)
    hole_px = 1 - received[:, :1].repeat_interleave(8, 2).repeat_interleave(8, 3)
    hook = unet.register_forward_hook(
        lambda _, inputs, named, out: seen.append((inputs[0], inputs[1], out[0])), with_kwargs=True
    )
    try:
        pipe(
            "", image=torch.zeros(1, 3, 64, 128), mask_image=hole_px, masked_image_latents=y * received, height=64,
            width=128, num_inference_steps=2, guidance_scale=1.0, latents=noisy, output_type="latent",
        )  # fmt: skip
        (x, t, predicted), *_ = seen
        ours = imputer.predict(noisy, y, received, t.expand(1))
    finally:
        hook.remove()
    assert torch.equal(seen[-1][0], x)
    torch.testing.assert_close(ours, predicted, atol=1e-6, rtol=0)


def test_a_position_that_arrived_in_part_is_missing_to_the_net(words):
    net = Watched(tiny.inpainting_unet())
    imputer = InpaintingImputer(net, tiny.text_encoder(CLIPTextModel), words)
    received = torch.ones(1, 4, 8, 8)
    received[0, 2, 3, 4] = received[0, :, 6, 6] = 0
    y = noise(1, 4, 8, 8)
    imputer.predict(noise(1, 4, 8, 8, seed=1), y, received, torch.tensor([500]))
    ((x, _), _), *_ = net.calls
    hole = torch.zeros(8, 8)
    hole[3, 4] = hole[6, 6] = 1
    assert torch.equal(x[0, 4], hole) and (x[0, 5:, 3, 4] == 0).all() and torch.equal(x[0, 5:, 0, 0], y[0, :, 0, 0])


@pytest.mark.parametrize("settings", [None, ImputerSettings(3), ImputerSettings(3, 1.0, False)])
def test_erased_features_are_imputed_on_odd_grids_and_received_ones_stay(imputer, settings):
    settings = settings or imputer.default_settings
    y = noise(2, 4, 7, 9)
    received = torch.rand(y.shape, generator=seeded(1)[0]) < 0.8
    damaged = torch.where(received, y, 99.0)
    steps = list(impute(imputer, damaged, received, settings, seeded(1, 2)))
    assert len(steps) == settings.num_inference_steps and imputer.grid_step == 8
    for step in steps:
        assert step.shape == y.shape and step.isfinite().all() and torch.equal(step[received], y[received])
    assert (steps[-1][~received] != 99).all()
    *_, alone = impute(imputer, damaged[1:], received[1:], settings, seeded(2))
    torch.testing.assert_close(alone, steps[-1][1:], atol=1e-3, rtol=1e-3)


# their files


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hub")
    tiny.save(folder)
    return folder


def same(one, other):
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_each_net_is_loaded_from_its_folder_in_the_cache(cache):
    amused, vae, inpainting = (
        tiny.snapshot(cache, *source) for source in (tiny.AMUSED, tiny.SD_VAE, tiny.SD_INPAINTING)
    )
    assert same(load_net(VQModel, amused / "vqvae", CPU), tiny.vq_model())
    assert same(load_net(UVit2DModel, amused / "transformer", CPU), tiny.uvit())
    assert same(load_net(AutoencoderKL, vae, CPU), tiny.autoencoder_kl())
    assert same(load_net(UNet2DConditionModel, inpainting / "unet", CPU), tiny.inpainting_unet())
    for folder, kind in ((amused, CLIPTextModelWithProjection), (inpainting, CLIPTextModel)):
        assert same(kind.from_pretrained(folder / "text_encoder"), tiny.text_encoder(kind))
        ids = CLIPTokenizer.from_pretrained(folder / "tokenizer")("A dog").input_ids
        assert ids == [tiny.vocabulary()[word] for word in ("<|startoftext|>", "a</w>", "dog</w>", "<|endoftext|>")]
        assert (folder / tiny.MARKER).is_file()


def test_weights_with_the_names_that_the_hub_has_for_them_are_loaded(cache, tmp_path):
    """Files of 2022 have other names for an attention's parts, and one more prefix and tensor in the text encoder."""
    vae, inpainting = (tiny.snapshot(cache, *source) for source in (tiny.SD_VAE, tiny.SD_INPAINTING))
    old = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    weights = load_file(vae / "diffusion_pytorch_model.safetensors")
    for new, name in old.items():
        assert any(new in key for key in weights)
        weights = {key.replace(new, name): value for key, value in weights.items()}
    save_file(weights, tmp_path / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((vae / "config.json").read_text())
    assert same(load_net(AutoencoderKL, tmp_path, CPU), tiny.autoencoder_kl())
    weights = load_file(inpainting / "text_encoder" / "model.safetensors")
    weights = {f"text_model.{key}": value for key, value in weights.items()}
    weights["text_model.embeddings.position_ids"] = torch.arange(tiny.MAX_WORD_PIECES)[None]
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    (tmp_path / "config.json").write_text((inpainting / "text_encoder" / "config.json").read_text())
    net, info = CLIPTextModel.from_pretrained(tmp_path, output_loading_info=True)
    assert same(net, tiny.text_encoder(CLIPTextModel)) and not any(info.values())
