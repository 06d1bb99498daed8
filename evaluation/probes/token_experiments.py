"""Experiments for a codec whose decoder fills tokens: what its sampler and the coding of tokens are worth."""

from __future__ import annotations

from collections.abc import Mapping

from gocom.common.systems.lami_go import CAPTION, TOKENS, TokenDraw, TSchedule
from gocom.common.types import ElementCoding
from gocom.evaluation.experiment.experiment import (
    ALL,
    Against,
    Curves,
    Experiment,
    Means,
    Pair,
    Settings,
    each,
    ours,
)
from gocom.evaluation.measure.fillers import most_frequent_received, nearest_received
from gocom.evaluation.probes.code_length import CodeLength
from gocom.evaluation.probes.token_filling import ALL_TOKENS, AtRandom, Convergence, Fill, Ranking, Sampled, Sent

PAPER_T = {"t_schedule": TSchedule.PAPER}
MULTINOMIAL = {"draw": TokenDraw.MULTINOMIAL}
AT_1 = {**MULTINOMIAL, "temperature": 1.0, "final_temperature": 1.0}
VARIANTS = {
    "default": Sampled(),
    "t_schedule=paper": Sampled(PAPER_T),
    "trusted channel off": Sampled(trusted=False),
    "t_schedule=paper, trusted channel off": Sampled(PAPER_T, trusted=False),
    "no text": Sampled(text=False),
    "guidance 2": Sampled({"guidance_scale": 2.0}),
    "draw=argmax": Sampled({"draw": TokenDraw.ARGMAX}),
    "draw=multinomial": Sampled(MULTINOMIAL),
    "draw=multinomial, temperature 1 throughout": Sampled(AT_1),
    "the paper's: this, t_schedule=paper, trusted channel off": Sampled(AT_1 | PAPER_T, trusted=False),
}
"""Ways to fill that differ from the receiver's own in what the name says."""
MIXED: Mapping[str, Settings] = {
    "Paella's t and draws": AT_1 | PAPER_T,
    "Paella's t, own draws": PAPER_T,
    "t matched, no re-noising": {"renoise_steps": 0},
}
"""Ways to sample that latent mixture is left out of: Paella's, and the least that can be lost."""
TEMPERATURES: Mapping[str, Settings] = {"1 to 0.2": MULTINOMIAL, "1": AT_1}
ALL_THERE = {"filled_by": ALL_TOKENS, "missing_by": 0.0}
RANKS = ("wrong_top", "wrong_rest", "off_top", "off_rest", "rank_of_uncertainty", "rank_of_probability")
SIZES = ("packets", "payload_bytes", "ideal_bytes", "packet_bytes", "frame_bytes", "total_bytes")
SMALL, SINGLE = "105 bytes", "a single packet"


def mixture_arms(steps: Mapping[int, Settings]) -> tuple[dict[str, Sampled], tuple[Pair, ...]]:
    """The receiver's own way and those of MIXED, with latent mixture and without; and what is compared."""
    arms, pairs = dict[str, Sampled](), list[Pair]()
    for total, settings in steps.items():
        arms[f"T = {total}, the receiver's own"] = Sampled(settings)
        for kind, more in MIXED.items():
            on, off = (f"T = {total}, {kind}, {word}" for word in ("with", "without"))
            arms[on] = Sampled({**settings, **more}, trusted=False)
            arms[off] = Sampled({**settings, **more}, trusted=False, held=False)
            label = f"Without mixture against with it, T = {total}, {kind}"
            pairs.append(Pair(label, {"filled_by": off}, {"filled_by": on}))
    return arms, tuple(pairs)


def token_experiments(
    prm: Settings, pdm: Settings, channel: str, steps: Mapping[int, Settings]
) -> tuple[Experiment, ...]:
    """Experiments on the sets images, labelled and street.

    Args:
        prm, pdm: options of a policy that withholds a quarter at random, and in a pattern.
        channel: that loses packets.
        steps: number of steps -> its options; 8, 32 and 62 are needed.
    """
    arms, pairs = mixture_arms({total: steps[total] for total in (8, 32)})
    return (
        Experiment(
            name="denoiser", title="The denoiser against neighbours", sets={"labelled": 320},
            measure=Fill({rate: AtRandom(rate) for rate in (0.25, 0.5, 0.0)}, {
                "denoiser": Sampled(), "nearest": nearest_received, "most frequent": most_frequent_received,
                "one argmax step": Sampled({"num_inference_steps": 1, "draw": TokenDraw.ARGMAX}),
            }),
            note="Tokens are missing at random, without a channel; the denoiser has 8 steps and the captioner's text.",
            views=(
                Means(("missing_by", "filled_by"), (*ALL, "token_accuracy")),
                Against((
                    *ours("filled_by", "denoiser", ("nearest", "most frequent")),
                    Pair("denoiser against all tokens", {"filled_by": "denoiser"}, ALL_THERE),
                ), ("missing_by",), ALL),
            ),
        ),
        Experiment(
            name="denoiser_variants", title="The denoiser asked in other ways", sets={"labelled": 48},
            measure=Fill({0.5: AtRandom(0.5)}, VARIANTS),
            note="Half of the tokens are missing. Default: t from the share that is missing, trusted channel on, text, "
            "no guidance, a temperature that falls from 1 to 0.2, at last the codeword nearest to the expected one.",
            views=(
                Means(("filled_by",), (*ALL, "token_accuracy")),
                Against(each("filled_by", VARIANTS, "default", "{}"), fields=(*ALL, "token_accuracy")),
            ),
        ),
        Experiment(
            name="neighbours", title="Packets lost: the denoiser against the nearest token", sets={"images": 24},
            measure=Fill({channel: Sent({**prm, "channel": channel})}, {
                "denoiser": Sampled(), "nearest": nearest_received}, seeds=5),
            note="PRM 0.25. Both have the same received tokens; the caption is known.",
            views=(Means(("filled_by",)), Against(ours("filled_by", "denoiser", ("nearest",)))),
        ),
        Experiment(
            name="ranking", title="Does the decoder know which guesses are wrong?", sets={"images": 24},
            measure=Ranking({p: Sent({**prm, "mask_ratio": p, "channel": channel}) for p in (0.25, 0.5)}),
            note="The least certain tenth of the guesses against the rest, by the share withheld, over packet erasure. "
            "Rank correlations (Spearman) are with the distance of the guessed codeword to the right one.",
            views=(Means(("missing_by",), RANKS),),
        ),
        Experiment(
            name="convergence", title="Wrong tokens after each step", sets={"images": 6, "street": 6},
            measure=Convergence(Sent(prm), {
                f"T = {total}, temperature {label}": Sampled({**steps[total], **more})
                for total in (8, 32, 62) for label, more in TEMPERATURES.items()
            }),
            note="Share of the tokens that PRM 0.25 withheld; multinomial draws.",
            views=(
                Means(("set", "filled_by"), ("wrong",), across="after"),
                Against(ours("after", "the last step", ("the first step",)), ("set", "filled_by"), ("wrong",)),
                Curves("steps", "step", ("filled_by",), ("wrong",), "set"),
            ),
        ),
        Experiment(
            name="mixture", title="Without latent mixture", sets={"images": 8, "labelled": 8, "street": 8},
            measure=Fill({"PDM 1/4": Sent(pdm)}, arms),
            note="PDM 1/4 as in the paper's ablation, no loss. Without mixture the sampler begins with what arrived "
            "but each step draws the whole grid: eq. 12 is all that differs in a pair. In no pair is the net told "
            "which tokens arrived: it would hold them by itself. Paella's: t from 1 to 0, multinomial draws at "
            "temperature 1. Matched: t from the share that is really missing.",
            views=(Means(("set", "filled_by"), ("held", "token_accuracy", *ALL)), Against(pairs, ("set",), ALL)),
        ),
        Experiment(
            name="coding", title="What a token costs", sets={"images": 24, "street": 24},
            measure=CodeLength(
                TOKENS, {name: {"masking": name, "send_caption": False} for name in ("none", "prm", "ebm")},
                tuple(ElementCoding), {105: SMALL, 1200: "1200 bytes", 65000: SINGLE}, option="coding",
            ),
            note="Bits of all payloads over the tokens that are sent; EBM's mask is in its packets and counted. What "
            "small packets cost more than a single one is what it costs that each can be decoded alone.",
            views=(
                Means(("set", "of", "coding", "interleaver"), ("bits_an_element",), across="packets_of"),
                Means(("set", "of", "interleaver"), SIZES, {"coding": "context", "packets_of": SMALL}),
                Against(each("packets_of", (SMALL, "1200 bytes"), SINGLE), ("set", "of", "coding", "interleaver"),
                        ("payload_bytes",), {"coding": ("huffman", "context")}, "Starting again in each packet"),
            ),
        ),
        Experiment(
            name="caption_coding", title="What a caption costs", sets={"images": 24, "street": 24},
            measure=CodeLength(CAPTION, {"caption": {}}, tuple(ElementCoding), {105: SMALL}, (True,)),
            note="Its payload; it is sent twice.", views=(Means(("coding",), ("elements", "payload_bytes")),),
        ),
    )  # fmt: skip
