"""Generative Feature Imputing, arXiv 2508.17957: what the paper claims and leaves open, and what answers it here."""

from __future__ import annotations

import numpy as np

from gocom.common.rounds import merge_rounds
from gocom.common.samplers.imputer_settings import ImputerSettings
from gocom.common.types import LinkSettings, PowerAllocation
from gocom.evaluation.experiment.experiment import (
    Against,
    Claim,
    Curves,
    Experiment,
    Factor,
    Means,
    Pair,
    Status,
    Study,
    each,
    erasure,
    fading,
    option,
    ours,
)
from gocom.evaluation.experiment.findings import Half, Knee, Share
from gocom.evaluation.probes.channel_state import GAINS, MEAN, Knowing
from gocom.evaluation.probes.draws import BETWEEN, NO_NOISE, NOISE, drawn
from gocom.evaluation.probes.feature_filling import EXACT, FILLS, IMPUTER, QUANTIZED, filled, unquantized
from gocom.evaluation.probes.planned import CleanBytes, Planned, all_tokens
from gocom.evaluation.probes.seconds import timed
from gocom.evaluation.probes.side_by_side import TargetClass, judged_apart, pair
from gocom.evaluation.studies import STUDIES
from gocom.transmitter.resources.repair_and_power import Delivery

OURS, LABELLED = "feature_imputing", "labelled"
SHOWN = ("psnr_db", "distance", "agrees", "correct")
LOSSES = (0.1, 0.3, 0.5)
SPATIAL, CHANNEL, RANDOM = "spatial", "channel", "random"
ORDER = Factor("order", {order: {"packet_order": order} for order in (SPATIAL, CHANNEL, RANDOM)})

CLEAN = Experiment(
    name="clean", title="Nothing lost", sets={"images": 24, LABELLED: 24}, measure=unquantized,
    note="What the VAE costs, and what seven bits a feature cost on top.",
    views=(Means(("set", "features")), Against(ours("features", QUANTIZED, (EXACT,)), ("set",))),
)  # fmt: skip

DRAWN = "imputer, drawn"
WAY = Factor("way", {IMPUTER: {}, DRAWN: {"deterministic": False}})
RIVALS = ours("way", IMPUTER, (DRAWN, *FILLS))
IMPUTING = Experiment(
    name="imputing", title="Imputing against filling", sets={"images": 24, LABELLED: 90}, seeds=5, probe=filled,
    factors=(ORDER, erasure((0.0, *LOSSES)), WAY),
    only=lambda case: case["order"] == SPATIAL or (case["rate"] == LOSSES[0] and case["way"] == IMPUTER),
    note="Imputer: the default, begun without noise; drawn: begun with noise, as in the paper. Fills of the latent: 0, "
    "the mean of what arrived of the channel, linear interpolation, the biharmonic equation.",
    views=(
        Means(("set", "order", "rate", "way"), SHOWN),
        Against(RIVALS, ("set", "order", "rate"), SHOWN, {"rate": LOSSES}),
        Curves("loss", "rate", ("way",), ("distance", "correct", "psnr_db"), where={"set": LABELLED, "order": SPATIAL}),
    ),
)  # fmt: skip
LEAST = Experiment(
    name="imputing_least", title="Imputing against filling, the least loss", sets={LABELLED: 500}, seeds=5,
    factors=(erasure((0.0, LOSSES[0])), WAY), probe=filled, note="As `imputing`, on more pictures: ways differ least.",
    views=(Means(("rate", "way"), SHOWN), Against(RIVALS, (), SHOWN, {"rate": LOSSES[0]})),
)  # fmt: skip
FILLED_ORDERS = Experiment(
    name="imputing_orders", title="Imputing against filling, orders", sets={"images": 16, LABELLED: 16}, seeds=5,
    factors=(ORDER, erasure(LOSSES[1:]), Factor("way", {IMPUTER: {}})), probe=filled, note="As `imputing`.",
    views=(
        Means(("set", "rate", "way", "order"), SHOWN),
        Against(ours("way", IMPUTER, FILLS), ("set", "order", "rate"), SHOWN),
        Against(ours("order", SPATIAL, (CHANNEL, RANDOM)), ("set", "rate", "way"), ("distance",)),
    ),
)  # fmt: skip

ARMS = {**ORDER.levels, "spatial, strips": {"link": LinkSettings(interleave=False)}}
ORDERS = Experiment(
    name="orders", title="Packet orders by loss", sets={"images": 16, LABELLED: 16}, seeds=2,
    factors=(erasure((0.05, 0.1, 0.2, 0.3, 0.48, 0.65, 0.8)), Factor("order", ARMS)),
    note="Spatial: all channels of a patch share a packet, patches are scattered over packets. Channel: a stretch of a "
    "channel. Random: from anywhere. Strips: spatial without the interleaver, a packet is a strip of the picture.",
    views=(
        Means(("set", "rate", "order"), ("missing", *SHOWN)),
        Against(ours("order", SPATIAL, ARMS), ("set", "rate"), SHOWN),
        Curves("loss", "rate", ("order",), ("distance", "agrees", "psnr_db"), where={"set": LABELLED}),
    ),
)  # fmt: skip

BY_WORTH = {"delivery": Delivery(PowerAllocation.SEMANTIC)}
NO_MAP = BY_WORTH | {"importance": "uniform"}
EQUAL, WATER, ALIKE = "equal", "water-filling, gains known", "all patches alike, gains known"
WORTH_MEAN, WORTH = "by importance, mean known", "by importance, gains known"
WHOLE = "no region"
MAP = Pair(f"{WORTH} against {ALIKE}", {"power": WORTH}, {"power": ALIKE, "layout": WHOLE})
POWERS = (*ours("power", WORTH_MEAN, (EQUAL,)), *ours("power", WORTH, (EQUAL, WATER)), MAP)
POWER = Experiment(
    name="power", title="Power allocation by SNR", sets={LABELLED: 40}, seeds=2,
    factors=(
        Factor("layout", {WHOLE: {}, "region apart": {"roi_share": 0.25}}), fading((6, 8, 10)),
        Factor("power", {
            EQUAL: Knowing(MEAN), WORTH_MEAN: Knowing(MEAN, BY_WORTH), WORTH: Knowing(GAINS, BY_WORTH),
            WATER: Knowing(GAINS, {"delivery": Delivery(PowerAllocation.WATER_FILLING)}), ALIKE: Knowing(GAINS, NO_MAP),
        }),
    ),
    only=lambda case: case["power"] != ALIKE or case["layout"] == WHOLE,
    note="Block fading, BPSK without a code, four packets share a gain. Known: the mean SNR, or each packet's. Region "
    "apart: the worthiest quarter of the patches shares packets with no others. All patches alike: by importance, none "
    "said to be worth more. The mean power is always 1. Powers are on the wire, 4 bytes a packet.",
    views=(
        Means(("layout", "snr_db", "power"), ("bytes", "missing", *SHOWN)),
        Against(POWERS, ("layout", "snr_db"), SHOWN),
        Curves("snr", "snr_db", ("power",), ("correct", "agrees", "distance"), columns="layout"),
    ),
)  # fmt: skip

STEPS = (1, 2, 4, 6, 8, 10, 13, 16, 25, 50)
TIME = Experiment(
    name="steps", title="Steps by time", sets={"images": 16}, settings={"channel": "packet_erasure:rate=0.3"},
    factors=(
        Factor("start", {NO_NOISE: {"deterministic": True}, NOISE: {"deterministic": False}}),
        Factor("steps", {steps: {"num_inference_steps": steps} for steps in STEPS}),
    ),
    probe=timed, findings=Knee("steps", ("start",)),
    note="30 % of the packets lost. Seconds: the sampler's, one picture at a time, beside whatever else was measured.",
    views=(
        Means(("start", "steps"), ("seconds", "psnr_db", "distance", "agrees")),
        Against(each("steps", STEPS[:-1], STEPS[-1], "{} steps against {}"), ("start",), ("distance",)),
        Curves("time", "steps", ("start",), ("distance", "psnr_db", "seconds"), log_x=True),
    ),
)  # fmt: skip

INVENTION = Experiment(
    name="invention", title="Loss up to 90 %: imputation and invention", sets={LABELLED: 16}, probe=drawn,
    factors=(
        erasure((0.0, 0.1, 0.2, 0.3, 0.4, 0.48, 0.6, 0.7, 0.8, 0.9)),
        Factor("start", {NO_NOISE: {}, NOISE: {"deterministic": False}}),
    ),
    findings=Half({
        "The default sampler's picture shows the original's class": ({"start": NO_NOISE}, "agrees"),
        "A drawn picture shows the original's class": ({"start": NOISE}, "agrees"),
        "Two draws show the same class as each other": ({"start": NOISE}, BETWEEN[0]),
    }),
    note="No noise: the default sampler. Drawn noise: the paper's, four draws of the same received packets. Where they "
    "differ the net does not know.",
    views=(
        Means(("rate", "start"), ("agrees", "correct", "distance", "psnr_db", *BETWEEN)),
        Curves("class", "rate", ("start",), ("agrees", BETWEEN[0])),
        Curves("distance", "rate", ("start",), ("distance", *BETWEEN[1:])),
    ),
)  # fmt: skip

BY_MAP = BY_WORTH | {"roi_share": 0.25}
MAP_A, MAP_B, SAME = "left one's map", "right one's map", "no map, all alike"
TASKS = Experiment(
    name="tasks", title="Power by one task, scored on another", sets={LABELLED: 28}, seeds=2, subject=pair,
    factors=(
        fading((6, 8)),
        Factor("power", {
            MAP_A: TargetClass("left", BY_MAP), MAP_B: TargetClass("right", BY_MAP), SAME: NO_MAP,
            EQUAL: {"importance": "uniform"},
        }),
        Factor("known", {"gains": Knowing(GAINS)}),
    ),
    probe=judged_apart,
    note="Two pictures of two classes side by side, 512x256; block fading, gains known. Power goes by either class's "
    "map, whose quarter of the patches shares packets with no others, or by none. The halves are judged apart.",
    views=(
        Means(("snr_db", "judged", "power"), SHOWN),
        Against(each("power", (MAP_A, MAP_B, EQUAL), SAME), ("judged", "snr_db"), SHOWN),
    ),
)  # fmt: skip

FIXED, _, RANGE = CODINGS = ("fixed", "huffman", "range")
CODING = Experiment(
    name="coding", title="Entropy coding of each packet", sets={"images": 12}, seeds=2,
    factors=(option("coding", CODINGS), ORDER, erasure((0.0, *LOSSES))),
    only=lambda case: not case["rate"] or case["order"] == SPATIAL,
    findings=Share("range coding", {"rate": 0.0, "coding": RANGE}, {"coding": FIXED}, ("bytes",), ("order",)),
    note="Shorter codewords mean fewer packets of 105 bytes of payload, with more features each, each coded without "
    "looking at any other. 8192 bytes are one bit a pixel.",
    views=(
        Means(("coding", "order"), ("bytes", "packets"), {"rate": 0.0}),
        Means(("rate", "coding"), ("bytes", "missing", "psnr_db", "ms_ssim", "distance"), {"order": SPATIAL}),
        Against(each("coding", CODINGS[1:], FIXED), ("rate",), where={"order": SPATIAL, "rate": LOSSES}),
    ),
)  # fmt: skip

NONE, EVENLY, UNEVENLY = "none", "all features alike", "by importance"
PROTECTED = {"delivery": Delivery(protection_share=0.25)}
PROTECTION = Experiment(
    name="protection", title="Importance to RaptorQ redundancy at equal bytes", sets={LABELLED: 28}, seeds=2,
    factors=(
        erasure((0.1, 0.2, 0.3)), Factor("known", {MEAN: Knowing(MEAN)}), Factor("at", {OURS: CleanBytes(OURS)}),
        Factor("repair", {NONE: {}, EVENLY: PROTECTED, UNEVENLY: PROTECTED | {"roi_share": 0.15}}),
    ),
    note="Every frame has at most the bytes that all features take without repair packets; for these, a quarter of the "
    "bytes, patches are withheld. By importance: the 15 % of the patches that the map is strongest in have as many as "
    "their worth pays for. The rate of loss is known.",
    views=(
        Means(("rate", "repair"), ("bytes", "missing", *SHOWN)),
        Against((*each("repair", (UNEVENLY, EVENLY), NONE), *ours("repair", UNEVENLY, (EVENLY,))), ("rate",), SHOWN),
    ),
)  # fmt: skip

LAMI_GO, FILE, FEC = "lami_go", "jpeg2000", "jpeg2000+fec"
RATED = (*SHOWN, "correct_10")
PEERS = Experiment(
    name="peers", title="Against jpeg2000 and lami_go at equal total bytes", sets={LABELLED: 28}, seeds=3,
    factors=(
        Factor("bytes_of", {OURS: CleanBytes(OURS), LAMI_GO: CleanBytes(LAMI_GO, {"mask_ratio": 0.0})}),
        erasure((0.0, 0.1, 0.3, 0.48)),
        Factor("method", {OURS: Planned(OURS), LAMI_GO: all_tokens, FILE: Planned(f"{FILE}+none"), FEC: Planned(FEC)}),
    ),
    findings=Share("with 48 % lost", {"rate": 0.48}, {"rate": 0.0}, RATED[-2:], ("bytes_of", "method")),
    note="Every method has the bytes of the named codec for that picture, all counted. lami_go sends all tokens and as "
    "much RaptorQ repair as fits; jpeg2000 the best file that fits, without and with the redundancy that has the best "
    "PSNR to expect. A file that does not arrive is scored as a grey picture. At lami_go's bytes we withhold patches.",
    views=(
        Means(("bytes_of", "rate", "method"), ("bytes", *RATED)),
        Against(ours("method", OURS, (LAMI_GO, FILE, FEC)), ("bytes_of", "rate"), RATED),
        Curves("loss", "rate", ("method",), ("distance", "correct_10", "psnr_db"), columns="bytes_of"),
    ),
)  # fmt: skip

NO_NUMBERS = "The figures' values are not in the text."
CLAIMS = (
    Claim(
        names="Section III", shows="an autoencoder, and seven bits a feature", experiments=("clean",),
        said="A pre-trained VAE, uniform quantization.", differs="The VAE is ours, made on two CPU cores.",
    ),
    Claim(
        names="Section III.A", shows="errors concentrated in space, against scattered ones", experiments=("orders",),
        said=f"Concentrated errors are imputed better: lower LPIPS, higher semantic accuracy. {NO_NUMBERS}",
        differs="The text can be read two ways, so there are three orders; patches of the spatial one are scattered, "
        "unless the interleaver is off (strips).",
    ),
    Claim(
        names="Section III.B", shows="a conditional diffusion model imputes erased features",
        said=f"Lower LPIPS and higher accuracy than without; PSNR is given up for it. {NO_NUMBERS}",
        differs="The paper draws features from noise. So can ours; its default begins without noise, which gives about "
        "the mean of what is possible.", experiments=("imputing", "imputing_least", "imputing_orders"),
    ),
    Claim(
        names="Section IV.A", shows="power by importance, equal and by water-filling", experiments=("power",),
        said=f"Packet error rates, weighted by class activation: accuracy rises at equal total power. {NO_NUMBERS}",
        differs="Uncoded BPSK. With the gain of each packet known, as in the paper, or the mean only.",
    ),
    Claim(
        names="Section V.B", shows="denoising steps by time", said="The knee is at 10 to 16 steps.",
        differs="A smaller net, on the processor named above.", experiments=("steps",),
    ),
    Claim(
        names="Key results", shows="accuracy with 48 % of the packets lost, beside JPEG 2000", status=Status.IN_PART,
        said="Up to 72 % semantic accuracy at packet error probability 0.48, where JPEG 2000 is gone; lower PSNR than "
        "JPEG 2000 where little is lost.", experiments=("peers",),
        differs="Deep joint source-channel coding is not here; JPEG 2000 with the best RaptorQ redundancy and lami_go "
        "are. Another classifier, other pictures.",
    ),
    Claim(
        names="Open question 1", shows="variable-length coding without error propagation", experiments=("coding",),
        said="Only fixed-length codes are used.", differs="Huffman and range codes, restarted in each packet.",
    ),
    Claim(
        names="Open question 2", shows="importance for other resources than power: redundancy", said="Left open.",
        differs="RaptorQ repair packets; a region of interest is a segment of its own.", experiments=("protection",),
    ),
    Claim(
        names="Open question 3", shows="importance from one task, scored on another", said="Left open.",
        differs="Two pictures side by side: power goes by the map of one, both are judged.", experiments=("tasks",),
    ),
    Claim(
        names="Beyond 0.48", shows="where imputation turns into invention", said="The paper stops at 48 % loss.",
        differs="Up to 90 %, the same packets imputed several times from other noise.", experiments=("invention",),
    ),
)  # fmt: skip
DIFFERENCES = (
    ("pictures", "not named in the text at hand", "sets images and labelled, named above, cut to 256x256"),
    ("features", "a VAE of the latent diffusion kind", "an f8 autoencoder of 5 M parameters, 8 channels"),
    ("imputer", "a diffusion U-Net", "a U-Net of 7 M parameters, trained for 80 minutes on two CPU cores"),
    ("importance", "class activation map of ResNet-50", "class activation map of EfficientNet-lite0"),
    ("channel", "simulated block fading", "packets on an emulated channel, with their headers"),
    ("judges", "LPIPS, PSNR, accuracy", "deep-feature distance for LPIPS, PSNR, accuracy of EfficientNet-lite2"),
)
STUDY = Study(
    system=OURS, title="Generative Feature Imputing: the paper's claims, and ours", claims=CLAIMS,
    lead=(
        "Generative Feature Imputing: A Technique for Error-resilient Semantic Communication, arXiv 2508.17957. The "
        "paper's numbers are those of its text. Both sides ask the same, not of the same pictures, nets or judges.",
    ),
    sets={"images": "photos", LABELLED: "pictures with imagenette's class numbers, sorted by class"},
    experiments=(
        CLEAN, IMPUTING, LEAST, FILLED_ORDERS, ORDERS, POWER, TIME, INVENTION, TASKS, CODING, PROTECTION, PEERS,
    ),
    differences=DIFFERENCES, sampler=ImputerSettings(), peers=(LAMI_GO, FILE),
    missing=lambda sent: 1 - float(np.any([part.received for part in merge_rounds(sent.rounds).values()], 0).mean()),
)  # fmt: skip
STUDIES.add(OURS, STUDY)
