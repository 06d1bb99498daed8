"""Grids of tokens of which some are missing, filled by the decoder's sampler or by neighbours, and counted.

For lami_go's decoder and any other with its `fill`. Received tokens are the transmitter's own, so what is measured is
the filling alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import spearmanr
from torch import Tensor

from gocom.common.counter_rng import CounterRng
from gocom.common.pipeline import sampler_generator
from gocom.common.rounds import merge_rounds
from gocom.common.samplers.latent_mixture import SamplerSettings, Step, sample
from gocom.common.systems.lami_go import TOKENS, TSchedule
from gocom.common.types import Bools, Ints
from gocom.evaluation.experiment.bench import Bench, Picture
from gocom.evaluation.experiment.experiment import Settings
from gocom.evaluation.run.work import Row
from gocom.receiver.decoders.lami_go import LamiGoDecoder
from gocom.transmitter.encoders.lami_go import LamiGoAnalysis

ALL_TOKENS = "all tokens"
"""What a grid is filled by that lacks nothing."""


@dataclass(frozen=True, slots=True)
class AtRandom:
    """Tokens are missing with this probability each; what is missing at a rate is missing at higher ones."""

    rate: float

    def __call__(self, bench: Bench, picture: Picture, seed: int) -> Bools:
        """bool [h, w], True where a token arrived."""
        shape = tokens_of(bench, picture).shape
        draws = CounterRng(seed, "denoiser study", picture.index).uniform(np.arange(shape[0] * shape[1]))
        arrived: Bools = (draws >= self.rate).reshape(shape)
        return arrived


@dataclass(frozen=True, slots=True)
class Sent:
    """Tokens are missing that a send withholds or loses, with these settings of `Bench.send`."""

    settings: Settings

    def __call__(self, bench: Bench, picture: Picture, seed: int) -> Bools:
        """bool [h, w], True where a token arrived."""
        rounds = bench.send(picture, seed=seed, **self.settings).rounds
        arrived: Bools = merge_rounds(rounds)[TOKENS].received.reshape(tokens_of(bench, picture).shape)
        return arrived


Missing = AtRandom | Sent


@dataclass(frozen=True, slots=True)
class Sampled:
    """A way to ask the sampler; by default the receiver's own.

    Attributes:
        settings: of SamplerSettings.
        trusted: the net is told which tokens arrived.
        text: the net is told the captioner's text.
        held: tokens that arrived are put back at every step (latent mixture). Without it the sampler begins with them,
            but each step draws the whole grid and re-noising takes positions from all of it; the net is not told which
            tokens arrived, as then it would hold them by itself.
    """

    settings: Settings = field(default_factory=dict)
    trusted: bool = True
    text: bool = True
    held: bool = True

    def steps(self, bench: Bench, picture: Picture, arrived: Bools, seed: int) -> Iterator[Step]:
        """Each step of the sampler on a grid; `arrived` bool [h, w]."""
        decoder, settings = decoder_of(bench), SamplerSettings(**self.settings)
        tokens, known = (torch.from_numpy(a)[None] for a in (tokens_of(bench, picture), arrived))
        captions = [_analysis(bench, picture).caption() if self.text else None]
        generators = [sampler_generator(seed, picture.index, 0)]
        if self.held:
            return decoder.fill(tokens, known, captions, settings, generators, self.trusted)
        return _unheld(decoder, tokens, known, captions, settings, generators)

    def tokens(self, bench: Bench, picture: Picture, arrived: Bools, seed: int) -> Ints:
        """Tokens int64 [h, w] after the last step."""
        *_, last = self.steps(bench, picture, arrived, seed)
        return last.tokens[0].cpu().numpy()


Rule = Callable[[Ints, Bools], Ints]
"""Tokens int64 [h, w], and which arrived, bool [h, w] -> all tokens: without a net, see measure/fillers.py."""


@dataclass(frozen=True, slots=True)
class Fill:
    """A measure: every grid filled in every way, with scores of its picture.

    Rows have token_accuracy, the share of the missing tokens that are right, and held, that of the others that are
    still there. A grid that lacks nothing is there once, filled by ALL_TOKENS.

    Attributes:
        missing: value of the key `missing_by` -> what is missing.
        ways: value of the key `filled_by` -> how it is filled.
        seeds: of what is missing and of the sampler, 0 and on.
    """

    missing: Mapping[float | str, Missing]
    ways: Mapping[str, Sampled | Rule]
    seeds: int = 1

    def __call__(self, bench: Bench, picture: Picture) -> Iterator[Row]:
        """Rows of a picture."""
        truth = tokens_of(bench, picture)
        for by, missing in self.missing.items():
            for seed in range(self.seeds):
                arrived, keys = missing(bench, picture, seed), {"missing_by": by, "seed": seed}
                if arrived.all():
                    yield keys | {"filled_by": ALL_TOKENS} | _scores(bench, picture, truth)
                    break
                for label, way in self.ways.items():
                    if isinstance(way, Sampled):
                        tokens = way.tokens(bench, picture, arrived, seed)
                    else:
                        tokens = way(truth, arrived)
                    hit = tokens == truth
                    shares = {"token_accuracy": float(hit[~arrived].mean()), "held": float(hit[arrived].mean())}
                    yield keys | {"filled_by": label} | shares | _scores(bench, picture, tokens)


@dataclass(frozen=True, slots=True)
class Convergence:
    """A measure: `wrong`, the share of the missing tokens that are, after each `step`, 1 to T.

    The first, the middle and the last step also have the key `after`.
    """

    missing: Missing
    ways: Mapping[str, Sampled]

    def __call__(self, bench: Bench, picture: Picture) -> Iterator[Row]:
        """Rows of a picture."""
        truth, arrived = tokens_of(bench, picture), self.missing(bench, picture, 0)
        for label, way in self.ways.items():
            steps = [step.tokens[0].cpu().numpy() for step in way.steps(bench, picture, arrived, 0)]
            places = {len(steps): "the last step", len(steps) // 2: "half of them", 1: "the first step"}
            for number, tokens in enumerate(steps, 1):
                after = {"after": places[number]} if number in places else {}
                wrong = float((tokens != truth)[~arrived].mean())
                yield {"filled_by": label, "step": number, "steps": len(steps), "wrong": wrong} | after


@dataclass(frozen=True, slots=True)
class Ranking:
    """A measure: how well the decoder's uncertainty tells which of its guesses are wrong, and how far off.

    Attributes:
        missing: value of the key `missing_by` -> what is missing.
    """

    missing: Mapping[float | str, Missing]

    def __call__(self, bench: Bench, picture: Picture) -> Iterator[Row]:
        """A row for each grid: see `tenths`; `rank_of_probability` is that of one minus the drawn token's."""
        decoder, truth = decoder_of(bench), torch.from_numpy(tokens_of(bench, picture))
        codebook = decoder.tokenizer.codebook.cpu()
        for by, missing in self.missing.items():
            arrived = missing(bench, picture, 0)
            *_, step = Sampled().steps(bench, picture, arrived, 0)
            off = (codebook[step.tokens[0].cpu()] - codebook[truth]).norm(dim=-1).numpy()[~arrived]
            doubt = step.uncertainty(decoder.tokenizer.codebook)[0].cpu().numpy()[~arrived]
            unlikely = 1 - step.probability[0].cpu().numpy()[~arrived]
            of_probability = {"rank_of_probability": _rank_correlation(unlikely, off)}
            yield {"missing_by": by} | tenths(doubt, off) | of_probability


def tenths(doubt: npt.NDArray[Any], off: npt.NDArray[Any]) -> Row:
    """The tenth of the guesses with the most doubt against the rest, and the rank correlation (Spearman's).

    Args:
        doubt: float [M], the decoder's uncertainty of each guess.
        off: float [M], distance of the guessed codeword to the right one; 0: the guess is right.
    """
    top: Bools = np.zeros(len(doubt), bool)
    top[np.argsort(-doubt, kind="stable")[: max(1, round(len(doubt) / 10))]] = True
    wrong = off > 0
    return {
        "wrong_top": float(wrong[top].mean()), "wrong_rest": float(wrong[~top].mean()),
        "off_top": float(off[top].mean()), "off_rest": float(off[~top].mean()),
        "rank_of_uncertainty": _rank_correlation(doubt, off),
    }  # fmt: skip


def _rank_correlation(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    """Spearman's; 0 where one of both is the same everywhere."""
    return float(spearmanr(a, b).statistic) if np.ptp(a) and np.ptp(b) else 0.0


def decoder_of(bench: Bench) -> LamiGoDecoder:
    """The study's decoder."""
    decoder = bench.codec().decoder
    assert isinstance(decoder, LamiGoDecoder)
    return decoder


def tokens_of(bench: Bench, picture: Picture) -> Ints:
    """The transmitter's tokens, int64 [h, w]."""
    shape = [side // 8 for side in picture.image.shape[1:]]
    return _analysis(bench, picture).tokens.reshape(shape)


def _analysis(bench: Bench, picture: Picture) -> LamiGoAnalysis:
    analysis = bench.codec().encoder.analyse(picture.image)
    assert isinstance(analysis, LamiGoAnalysis)
    return analysis


@torch.inference_mode()
def _scores(bench: Bench, picture: Picture, tokens: Ints) -> Row:
    decoder = decoder_of(bench)
    image = decoder.decode(torch.from_numpy(tokens)[None].to(decoder.device))[0].cpu().numpy()
    (scores,) = bench.scores([picture], [image])
    return scores


@torch.inference_mode()
def _unheld(
    decoder: LamiGoDecoder, tokens: Tensor, known: Tensor, captions: list[str | None], settings: SamplerSettings,
    generators: list[torch.Generator],
) -> Iterator[Step]:  # fmt: skip
    """The sampler with no position held: only what it looks at first has the received tokens in it."""
    tokens, known = tokens.to(decoder.device), known.to(decoder.device)
    denoise, _ = decoder.denoiser.bind(captions, torch.zeros_like(known, dtype=torch.float32))
    # To the sampler all is missing, so its t falls from 1; matched, it is to fall from the share really missing.
    start = (~known).flatten(1).float().mean(1) if settings.t_schedule is TSchedule.MATCHED else 1.0
    begun = False

    def first_with_received(x: Tensor, t: Tensor) -> Tensor:
        nonlocal begun
        x, begun = (x if begun else torch.where(known, tokens, x)), True
        return denoise(x, t * start)

    yield from sample(
        first_with_received, tokens, torch.zeros_like(known), codebook=decoder.tokenizer.codebook, settings=settings,
        generators=generators,
    )  # fmt: skip
