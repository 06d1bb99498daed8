"""Loaders of the profile micro: the bundled nets, ready for codecs.

What only a receiver runs is put on the zoo's engine (common/nets/engines.py). Encoders decide the bits of a first
round, so they stay in torch, and so does the classifier.
"""

from __future__ import annotations

from diffusers.models.unets.unet_2d import UNet2DModel

from gocom.common.nets.classifier import Classifier
from gocom.common.nets.engines import put_on_engine
from gocom.common.nets.latent_imputer import LatentImputer
from gocom.common.nets.loading import load_net
from gocom.common.nets.random_token_denoiser import RandomTokenDenoiser
from gocom.common.nets.text_encoder import TextEncoder
from gocom.common.nets.token_denoiser import TokenDenoiser
from gocom.common.nets.vae import Vae
from gocom.common.nets.vq_tokenizer import VQTokenizer
from gocom.common.zoo import Zoo, net_folder


def load_vq_tokenizer(zoo: Zoo) -> VQTokenizer:
    """Load the tokenizer of lami_go. Raises as `Zoo.get`, as all loaders here."""
    net: VQTokenizer = load_net(VQTokenizer, net_folder("vq_tokenizer"), zoo.device)
    return put_on_engine(net, ("decoder",), zoo.engine)


def load_token_denoiser(zoo: Zoo) -> RandomTokenDenoiser:
    """Load the denoiser of lami_go's tokens, with the zoo's text encoder."""
    net = load_net(TokenDenoiser, net_folder("token_denoiser"), zoo.device)
    return RandomTokenDenoiser(put_on_engine(net, (), zoo.engine), zoo.get("text_encoder"))


def load_vae(zoo: Zoo) -> Vae:
    """Load the autoencoder of feature_imputing."""
    net: Vae = load_net(Vae, net_folder("vae"), zoo.device)
    return put_on_engine(net, ("decoder",), zoo.engine)


def load_feature_imputer(zoo: Zoo) -> LatentImputer:
    """Load the imputer of feature_imputing."""
    net = load_net(UNet2DModel, net_folder("feature_imputer"), zoo.device)
    return LatentImputer(put_on_engine(net, (), zoo.engine))


def load_text_encoder(zoo: Zoo) -> TextEncoder:
    """Load the encoder of captions."""
    return TextEncoder(str(zoo.device))


def load_classifier(zoo: Zoo) -> Classifier:
    """Load the classifier for tags, class activation maps and the task classify."""
    return Classifier("lite0", str(zoo.device))
