"""How much quicker a receiver is in OpenVINO than in torch, and how much its pictures differ.

    OMP_WAIT_POLICY=PASSIVE python -m gocom.evaluation.benches.engines [PICTURES]

That setting is what `gocom serve` starts services with: torch's threads do not spin while they wait.
Each picture goes the whole way in one process, over a channel that loses a quarter of the packets, once by each engine
in turn, so that what else the machine does meets all of them alike. Encoders run in torch.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Annotated, Any

import numpy as np
import torch
import typer
from torch import Tensor, nn

from gocom.client.command_process import run_command
from gocom.common.image_files import ImageArray
from gocom.common.image_quality import psnr_db
from gocom.common.nets.engines import Engine, EngineName, put_on_engine
from gocom.common.nets.openvino_engine import Precision
from gocom.common.types import Provenance
from gocom.common.zoo import Zoo
from gocom.evaluation.benches.golden import PHOTOS, photo
from gocom.evaluation.report.tables import NOTHING, Table, to_markdown
from gocom.evaluation.run.codec_setup import Codec, pictures
from gocom.receiver.decoders import DECODERS
from gocom.transmitter.encoders import ENCODERS

CHANNEL = "packet_erasure:rate=0.25"
ENGINES = {
    "torch": Engine(),
    "openvino": Engine(EngineName.OPENVINO),
    "openvino, bfloat16": Engine(EngineName.OPENVINO, Precision.BFLOAT16),
}
NETS: dict[str, dict[str, str]] = {
    "lami_go": {"vq_tokenizer": "decoder", "token_denoiser": "net"},
    "feature_imputing": {"vae": "decoder", "feature_imputer": "net"},
}
"""Codec -> name of a net of the zoo -> its attribute that runs in the engine."""
OPTIONS: dict[str, dict[str, Any]] = {"lami_go": {"masking": "none"}, "feature_imputing": {}}
"""Codec -> options; nothing is withheld."""
WARM_PICTURES = 2


@dataclass(frozen=True, slots=True)
class Measured:
    """What one engine made of the pictures.

    Attributes:
        sampling_s, whole_s: seconds of sampling, and of the whole way, of each picture.
        psnr_db: PSNR of each picture to torch's.
        equal: share of the tokens that are torch's, of each picture; empty for a codec without tokens.
        equal_missing: the same share of those that were not received.
    """

    sampling_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    psnr_db: list[float] = field(default_factory=list)
    equal: list[float] = field(default_factory=list)
    equal_missing: list[float] = field(default_factory=list)


def on_engine(codec: str, engine: Engine) -> Codec:
    """Return a codec with nets of its own on an engine."""
    zoo = Zoo("cpu", engine)
    return Codec(codec, ENCODERS.get(codec)(zoo), DECODERS.get(codec)(zoo))


class KeptLatent:
    """The latent that a SamplingDecoder decoded last."""

    def __init__(self, decoder: Any) -> None:
        decode = decoder.decode
        self.latent = torch.empty(0)

        def keep(latent: Tensor) -> Tensor:
            self.latent = latent
            image: Tensor = decode(latent)
            return image

        decoder.decode = keep


def measure(codec: str, images: Sequence[ImageArray], runs: int) -> dict[str, Measured]:
    """Send `runs` pictures by each engine in turn, after a few that do not count."""
    codecs = {name: on_engine(codec, engine) for name, engine in ENGINES.items()}
    kept = {name: KeptLatent(made.decoder) for name, made in codecs.items()}
    found = {name: Measured() for name in ENGINES}
    for run, image in enumerate(islice(cycle(images), runs + WARM_PICTURES)):
        reference: ImageArray | None = None
        for name, one in found.items():
            start = time.perf_counter()
            sent = codecs[name].send(image, CHANNEL, seed=run, **OPTIONS[codec])
            seconds, made = time.perf_counter() - start, sent.reconstruction
            assert made is not None
            if run < WARM_PICTURES or "sample" not in made.seconds:  # nothing was lost
                continue
            reference = made.image if reference is None else reference
            one.sampling_s.append(made.seconds["sample"])
            one.whole_s.append(seconds)
            one.psnr_db.append(psnr_db(reference, made.image))
            ours, theirs = kept[name].latent, kept["torch"].latent
            if not ours.is_floating_point():
                differ = float((ours != theirs).float().mean())
                one.equal.append(1 - differ)
                one.equal_missing.append(1 - differ / float((made.provenance != Provenance.RECEIVED).mean()))
    return found


@torch.inference_mode()
def largest_difference(codec: str, precision: Precision) -> dict[str, float]:
    """Return by net the largest difference of one pass from torch's, over the largest number that torch gave."""
    found, zoo = {}, Zoo("cpu", Engine())
    for name, attribute in NETS[codec].items():
        module: nn.Module = getattr(zoo.get(name), attribute)
        ours = put_on_engine(module, (), Engine(EngineName.OPENVINO, precision))
        expected, got = (example_result(name, run) for run in (module, ours))
        found[name] = float((got - expected).abs().max() / expected.abs().max())
    return found


def example_result(name: str, run: nn.Module) -> Tensor:
    """Return the result of one pass of one of NETS, for a picture of 256x256."""
    draws, side = torch.Generator().manual_seed(0), 32

    def normal(channels: int) -> Tensor:
        return torch.randn(1, channels, side, side, generator=draws)

    result: Tensor
    if name == "token_denoiser":
        tokens = torch.randint(1024, (1, side, side), generator=draws)
        result = run(tokens, torch.tensor([0.25]), (torch.rand(1, side, side, generator=draws) > 0.25).float())
    elif name == "feature_imputer":
        (result,) = run(normal(24), torch.tensor([500]), return_dict=False)
    else:
        result = run(normal(16 if name == "vq_tokenizer" else 8))
    return result


def table(codec: str, engines: dict[str, Measured]) -> list[str]:
    """Lines to print: medians, and the worst picture."""
    head = (
        "codec", "engine", "sampling, s", "than torch", "whole way, s", "than torch",
        "PSNR to torch, dB: median, least", "equal tokens: mean, least", "of missing ones: mean",
    )  # fmt: skip
    lines = []
    of_torch = [median(engines["torch"].sampling_s), median(engines["torch"].whole_s)]
    for name, one in engines.items():
        seconds = [median(one.sampling_s), median(one.whole_s)]
        times = [
            text
            for own, torchs in zip(seconds, of_torch, strict=True)
            for text in (f"{own:.3f}", f"{torchs / own:.2f}x")
        ]
        psnr = f"{median(one.psnr_db):.1f}, {min(one.psnr_db):.1f}"
        equal = (
            [f"{np.mean(one.equal):.1%}, {min(one.equal):.1%}", f"{np.mean(one.equal_missing):.1%}"]
            if one.equal
            else [NOTHING] * 2
        )
        lines.append((codec, name, *times, psnr, *equal))
    return to_markdown(Table("", (), head, tuple(lines))).splitlines()


def main(
    source: Annotated[
        Path | None, typer.Argument(exists=True, help="Folder or tar of pictures; sample photos without.")
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Pictures that count, of each codec and engine.")] = 24,
) -> None:
    """Measure both codecs on 256x256, and print tables."""
    images = [photo(name) for name in PHOTOS] if source is None else [image for _, image in pictures(source)]
    print(f"{runs} pictures of 256x256 over {CHANNEL}, {torch.get_num_threads()} threads:")
    for name in NETS:
        print("\n" + "\n".join(table(name, measure(name, images, runs))) + "\n", flush=True)
        for precision in Precision:
            worst = ", ".join(f"{net} {value:.1e}" for net, value in largest_difference(name, precision).items())
            print(f"One pass at {precision}, largest difference over largest number: {worst}", flush=True)


if __name__ == "__main__":
    run_command(main)
