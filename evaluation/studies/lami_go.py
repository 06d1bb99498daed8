"""LaMI-GO: what its paper claims, with the numbers that its text gives, and what docs/lami_go.md does."""

from __future__ import annotations

from gocom.common.samplers.latent_mixture import SamplerSettings
from gocom.common.systems.lami_go import MaskingPolicy
from gocom.common.types import FeedbackPolicy
from gocom.evaluation.experiment.experiment import (
    ALL,
    CLOSENESS,
    Against,
    Claim,
    Curves,
    Experiment,
    Factor,
    Means,
    Numbers,
    Settings,
    Status,
    Study,
    each,
    erasure,
    ours,
)
from gocom.evaluation.experiment.findings import PsnrCost
from gocom.evaluation.probes.equal_bytes import AllAtOnce, FileLike, Fitted, original
from gocom.evaluation.probes.levels import Noise, caption_lost, caption_wrong, tokens_lost
from gocom.evaluation.probes.stage_seconds import BatchSeconds, StageSeconds
from gocom.evaluation.probes.token_experiments import token_experiments
from gocom.evaluation.studies import STUDIES

LOSSY = "packet_erasure:rate=0.2"
CHANNELS = Factor("channel", {"clean": {}, LOSSY: {"channel": LOSSY}})
TAUS = {8: 4, 16: 14, 32: 28, 62: 50}
STEPS: dict[int, Settings] = {total: {"num_inference_steps": total, "renoise_steps": TAUS[total]} for total in TAUS}
NONE: Settings = {"masking": "none"}
PDM: Settings = {"masking": "pdm"}
PRM, EBM, FARTHEST = ({"masking": name, "mask_ratio": 0.25} for name in ("prm", "ebm", "ebm_farthest"))
PRM_35: Settings = {**PRM, "mask_ratio": 0.35}
POLICIES = {"PRM 0.25": PRM, "PRM 0.35": PRM_35, "PDM 1/4": PDM, "EBM 0.25": EBM}
AGAIN, REFINE = {"max_rounds": 2}, {"max_rounds": 2, "feedback_policy": FeedbackPolicy.UNCERTAIN}
SPENT = ("bytes", *CLOSENESS)
TWELVE, THREE_SETS = {"images": 12, "street": 12}, {"images": 12, "labelled": 12, "street": 12}
FILES = ("jpeg", "jpeg2000")
PACKETS = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
BITS = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
EXPERIMENTS = (
    *token_experiments(PRM, PDM, LOSSY, STEPS),
    Experiment(
        name="policies", title="Masking policies at equal bytes", sets=THREE_SETS, seeds=2,
        factors=(Factor("policy", {"pdm": PDM, "none": NONE} | {
            one.value: Fitted(one, PDM) for one in (MaskingPolicy.PRM, MaskingPolicy.EBM, MaskingPolicy.EBM_FARTHEST)
        }), CHANNELS),
        note="All spend the bytes of PDM 1/4, EBM's mask counted, and withhold as little as fits; none has no budget.",
        views=(
            Means(("set", "channel", "policy"), ("bytes", "missing", *ALL)),
            Against(each("policy", ("ebm", "pdm", "ebm_farthest", "none"), "prm"), ("set", "channel"), ALL),
        ),
    ),
    Experiment(
        name="table_iii", title="Which tokens EBM withholds", sets=THREE_SETS,
        factors=(Factor("of", {"closest": EBM, "farthest": FARTHEST}),),
        note="256 of 1024 tokens, those closest to their codewords or farthest from them; no loss.",
        views=(Means(("set", "of"), ("bytes", *ALL)), Against(ours("of", "closest", ("farthest",)), ("set",), ALL)),
    ),
    Experiment(
        name="ratio", title="The share withheld, and files", sets=TWELVE,
        factors=(
            Factor("codec", {name: {"codec": name} for name in ("lami_go", *FILES)}),
            Factor("at", {p: {**PRM, "mask_ratio": p} for p in (0.0, 0.1, 0.25, 0.35, 0.5, 0.7, 0.9)} | {
                "JPEG 40": FileLike({"codec": "jpeg", "quality": 40}), "PRM 0.25": FileLike(PRM)}),
        ),
        only=lambda keys: (keys["codec"] == "lami_go") != isinstance(keys["at"], str),
        note="No loss. At: PRM's share withheld, or what a file has the bytes of; its smallest may have more.",
        views=(
            Means(("set", "codec", "at"), SPENT),
            Against(ours("codec", "lami_go", FILES), ("set",), SPENT, {"at": (0.25, "PRM 0.25")}, "PRM 0.25's bytes"),
            Curves("bytes", "bytes", ("codec",), columns="set", points=("at",), log_x=True),
        ),
    ),
    Experiment(name="original", title="The originals as PNG", sets=TWELVE, measure=original,
               views=(Means(("set",), ("bytes",)),)),
    Experiment(
        name="steps", title="Denoising steps", sets={"images": 6, "street": 6},
        factors=(erasure((0.0, 0.1, 0.5)), Factor("policy", POLICIES), Factor("steps", STEPS)),
        only=lambda keys: keys["rate"] == 0 or keys["policy"] == "PRM 0.25",
        note="By policy without loss, and PRM 0.25 over packet erasure. tau/T is 4/8, 14/16, 28/32 or 50/62.",
        views=(
            Means(("set", "rate", "policy", "steps"), SPENT),
            Against(each("policy", POLICIES, "PRM 0.25"), ("set", "steps"), where={"rate": 0.0, "steps": (8, 62)}),
            Against(ours("steps", 62, (8,), "T = {} against {}"), ("set", "rate", "policy")),
            Curves("policies", "steps", ("policy",), columns="set", where={"rate": 0.0}, log_x=True),
            Curves("erasure", "steps", ("rate",), columns="set", where={"policy": "PRM 0.25"}, log_x=True),
        ),
    ),
    Experiment(
        name="noise", title="The paper's noise setups", sets={"images": 8}, seeds=2,
        factors=(
            Factor("setup", {1: {}, 3: {}, 2: {}, 4: {}}), Factor("losses", {"i.i.d.": {}, "bursty": {}}),
            Factor("level", {level: Noise(level) for level in sorted({*PACKETS, *BITS})}),
        ),
        only=lambda keys: keys["level"] in (PACKETS if keys["setup"] in (1, 3) else BITS) and (
            keys["level"] > 0 or keys["losses"] == "i.i.d."),
        note="1 and 3 lose packets, 2 and 4 flip bits; 1 and 2 have the interleaver. A burst: 5 packets, 50 bits.",
        views=(
            Means(("setup", "losses", "level"), ("missing", *CLOSENESS)),
            Against((*each("level", (0.05, 0.2), 0.0), *each("level", (1e-3, 1e-2), 1e-5)), ("losses", "setup")),
            Against((*ours("setup", 1, (3,)), *ours("setup", 2, (4,))), ("losses", "level"), title="Interleaver"),
            Curves("packets", "level", ("setup", "losses"), where={"setup": (1, 3)}, title="Packets lost"),
            Curves("bits", "level", ("setup", "losses"), where={"setup": (2, 4)}, title="Bits flipped", log_x=True),
        ),
    ),
    Experiment(
        name="captions", title="What the caption is worth", sets={"labelled": 24}, seeds=2,
        factors=(Factor("rate", {0.0: {}, 0.5: {"channel": "packet_erasure:rate=0.5"}}), Factor("caption", {
            "right": tokens_lost, "wrong": caption_wrong, "lost": caption_lost, "none": {"send_caption": False}})),
        note="Only token packets are lost at random. None sends no caption: fewer bytes, and other packets are lost.",
        views=(
            Means(("rate", "caption"), ("bytes", *ALL)),
            Against(each("caption", ("wrong", "lost", "none"), "right"), ("rate",), ALL),
        ),
    ),
    Experiment(
        name="erasure", title="20 % packet erasure", sets={"images": 24}, seeds=5,
        factors=(Factor("policy", {"PRM 0.25": PRM, "none": NONE, "jpeg": FileLike(PRM, "jpeg")}), CHANNELS),
        note="jpeg: the best file of at most PRM 0.25's bytes, or its smallest. A frame that fails counts as grey.",
        views=(
            Means(("policy", "channel"), ("bytes", "missing", "failed", *CLOSENESS)),
            Against(each("channel", (LOSSY,), "clean"), ("policy",)),
            Against(ours("policy", "PRM 0.25", ("jpeg",)), ("channel",), SPENT),
        ),
        findings=PsnrCost("policy", {"channel": "clean"}, {"channel": LOSSY}, 3),
    ),
    Experiment(
        name="refinement", title="A second round over 20 % erasure", sets={"images": 24}, seeds=3,
        settings={"channel": LOSSY}, factors=(
            Factor("mask_ratio", {p: {"mask_ratio": p} for p in (0.25, 0.5)}),
            Factor("round_bytes", {size: {"round_budget_bytes": size} for size in (0, 150, 300)}),
            Factor("arm", {"first": {}, "A: refine": REFINE, "B: at once": AllAtOnce(REFINE), "C: erased": AGAIN}),
        ),
        only=lambda keys: (keys["arm"] == "first") != bool(keys["round_bytes"]),
        note="A: a second round, of the tokens that the decoder is least certain of. B: one round with the bytes of A, "
        "feedback included: the smallest PRM ratio that fits, then RaptorQ repair. C: as A, of what was erased.",
        views=(
            Means(("mask_ratio", "round_bytes", "arm"), ("bytes", "feedback_bytes", "missing", *CLOSENESS)),
            Against(ours("arm", "A: refine", ("B: at once", "C: erased")), ("mask_ratio", "round_bytes"), SPENT),
        ),
    ),
    Experiment(
        name="showtime", title="Seconds a picture", sets={"images": 8},
        measure=StageSeconds("steps", {total: PRM | dict(STEPS[total]) for total in (8, 16, 32)}),
        note="PRM 0.25, medians of three runs. Encode: up to the cut into packets. Transport: up to entropy decoding.",
        views=(Means(("steps",), ("encode", "transport", "sample", "decode", "all", *CLOSENESS)),),
    ),
    Experiment(name="batches", title="The decoder's seconds a picture in batches", sets={"images": 3},
               measure=BatchSeconds((1, 4, 8), PRM),
               views=(Means(("batch",), ("sample", "decode", "pictures_a_second")),)),
)  # fmt: skip
OTHER, NO_POINTS = "Other judges.", "The figure's values are not in the text."
CLAIMS = (
    Claim(
        names="Fig. 1, Fig. 2, Fig. 3, Fig. 4", shows="drawings: architecture, channel, an iteration, showtime",
        said="Eq. 13 re-noises received positions too before the net looks, and eq. 12 puts them back after it.",
        differs="Here they are put back before it as well. docs/lami_go.md has our drawings.",
    ),
    Claim(
        names="Table I", shows="LPIPS, FID and steps beside other generative systems", status=Status.IN_PART,
        said="Cityscapes: LaMI-GO 0.1327 LPIPS and 29.84 FID in 8 steps; the tokenizer alone 0.056 and 11.21.",
        differs=f"The others' nets are not here. The numbers are those of table X, so the policy is EBM. {OTHER}",
        experiments=("steps", "policies"), numbers=Numbers(("method", "LPIPS", "FID", "steps"), (
            ("SPADE", 0.546, 103.24, ""), ("CC-FPSE", 0.546, 245.9, ""), ("SMIS", 0.546, 87.58, ""),
            ("OASIS", 0.561, 104.03, ""), ("SDM", 0.549, 98.99, ""), ("OD", 0.2191, 55.85, 1000),
            ("GESCO", 0.591, 83.74, 1000), ("RN", 0.3448, 96.409, 1000), ("Diff-GO (n=20)", 0.3206, 74.09, 1000),
            ("Diff-GO (n=50)", 0.2697, 72.95, 1000), ("Diff-GO (n=100)", "0.2450", 68.59, 1000),
            ("Diff-GO+ (W=64, L=32)", 0.2231, 60.93, 1000), ("Diff-GO+ (W=128, L=32)", 0.2126, "58.20", 1000),
            ("LaMI-GO", 0.1327, 29.84, 8), ("VQGAN (all tokens)", 0.056, 11.21, ""),
        )),
    ),
    Claim(
        names="Table II", shows="FID on 40,000 pictures of COCO beside text-to-image nets", status=Status.NOT_HERE,
        said="LaMI-GO (fixed) 10.26 at 28/32, 9.50 at 194/200. Stackformer 10.08, DSE-GAN 15.30, SSA-GAN 19.37, "
        "VQ-Diffusion 19.75, DF-GAN 21.42, VQ-GAN 22.28, DM-GAN 32.64, XMC-GAN 50.08.",
        differs="COCO, the generators and FID's weights are not here; a distance of small sets says nothing.",
    ),
    Claim(
        names="Table III, Fig. 5, Fig. 6, Fig. 7", shows="EBM withholds tokens closest to codewords, or farthest",
        said="Closest is better: FID 18.44 against 36.98 (Cityscapes), 58.65 against 126.66 (Flickr), 1024 tokens. "
        "In pictures the farthest lie on what is unique, the closest on what is plain.",
        differs=f"256 of 1024 tokens on every set; `gocom send --option masking=ebm` shows which ones. {OTHER}",
        experiments=("table_iii",),
    ),
    Claim(
        names="Table IV", shows="masking policies by steps on three sets", experiments=("steps", "policies"),
        said="PRM and PDM are alike; EBM is best on Cityscapes and by LPIPS everywhere, worst by FID on Flickr and "
        "COCO-Stuff; more steps are better. (Fixed's fourth line stands under distance-based in the text.)",
        differs=f"Up to 50/62 steps. EBM's mask costs bytes here, so `policies` compares at equal bytes. {OTHER}",
        numbers=Numbers(("LPIPS, FID", "", "28/32", "50/62", "94/100", "194/200"), (
            ("PRM 0.25", "Cityscapes", "0.1193, 24.62", "0.1167, 24.35", "0.1139, 23.00", "0.1123, 22.72"),
            ("", "Flickr", "0.159, 35.62", "0.155, 34.87", "0.154, 34.77", "0.154, 34.63"),
            ("", "COCO-Stuff", "0.135, 10.37", "0.155, 10.04", "0.130, 9.75", "0.129, 9.61"),
            ("PDM 1/4", "Cityscapes", "0.1187, 24.61", "0.1159, 24.31", "0.1122, 22.86", "0.1107, 22.15"),
            ("", "Flickr", "0.156, 35.32", "0.153, 34.22", "0.151, 34.15", "0.150, 34.43"),
            ("", "COCO-Stuff", "0.132, 10.20", "0.129, 9.92", "0.126, 9.62", "0.126, 9.50"),
            ("EBM 0.25", "Cityscapes", "0.1058, 21.62", "0.1038, 21.60", "0.1020, 20.52", "0.1010, 20.20"),
            ("", "Flickr", "0.1510, 54.15", "0.1477, 52.16", "0.1466, 52.01", "0.1461, 51.79"),
            ("", "COCO-Stuff", "0.126, 29.31", "0.123, 28.56", "0.122, 28.13", "0.121, 27.95"),
        )),
    ),
    Claim(
        names="Fig. 8, Fig. 9", shows="FID and LPIPS by steps: PRM at 0.25 and 0.35, PDM, other systems",
        said=f"0.35 is worse than 0.25, both gain with steps and beat the systems before. {NO_POINTS}",
        differs=f"Up to 50/62 steps; the other systems are not here. {OTHER}", experiments=("steps", "ratio"),
    ),
    Claim(
        names="Table V", shows="error of depth estimated from the received picture", status=Status.NOT_HERE,
        said="Cityscapes, RMSE: 5.95 at 4/8, 5.73 at 28/32, 5.72 at 50/62, 5.59 at 194/200; Diff-GO+ 6.58 at 1000 "
        "steps, 6.55 at 500, 6.65 at 200, 6.55 at 100.",
        differs="A net that estimates depth (MiDaS) is not bundled, and neither is Diff-GO+.",
    ),
    Claim(
        names="Table VI", shows="objects detected on the received picture, mAP in %", status=Status.IN_PART,
        said="COCO-Stuff 63.50 at 28/32, 63.77 at 94/100, 64.21 at 194/200; COCO 64.99 at 194/200; Flickr 44.54 at "
        "4/8, 44.72 at 28/32, 46.85 at 94/100.", experiments=("policies",),
        differs="No detector is bundled. Instead: does a classifier (EfficientNet-lite2) still know the picture?",
    ),
    Claim(
        names="Table VII", shows="bytes and FID beside files and other systems", experiments=("ratio", "original"),
        said="LaMI-GO takes less than JPEG of quality 40, with a better FID.",
        differs="An eighth of the tokens: frames are far smaller than JPEG 40; files of PRM 0.25's bytes are here too. "
        f"JPEG 2000 gets JPEG's bytes, as the paper's quality is some encoder's scale. 4/8 steps. {OTHER}",
        numbers=Numbers(("Cityscapes", "KB", "FID", "steps"), (
            ("original", 187.63, "", ""), ("GESCO", 14.52, 83.75, "1000/1000"), ("OD", 1994.41, 55.85, "1000/1000"),
            ("Diff-GO+ (n=1024, L=1024) + GO-EVAE (n=1024, L=16)", 13.5, 68.25, "1000/1000"),
            ("Diff-GO+ (n=128, L=32)", 87.04, "58.20", "1000/1000"), ("JPEG (quality = 40)", 10.28, 35.72, ""),
            ("JPEG 2000 (quality = 35)", 10.94, "65.10", ""), ("LaMI-GO, PRM p = 0.35", "8.50", 27.23, "194/200"),
            ("LaMI-GO, PRM p = 0.25", 9.39, 22.72, "194/200"),
        )),
    ),
    Claim(
        names="Fig. 10", shows="quality by packets lost, with interleaver (setup 1)", experiments=("noise",),
        said=f"Robust up to 20 % lost. {NO_POINTS}",
        differs=f"Some 9 packets a picture, not 85: one loss takes a ninth. The caption is sent twice. Photos. {OTHER}",
    ),
    Claim(
        names="Fig. 11, Fig. 12", shows="quality by bit errors, with and without interleaver", experiments=("noise",),
        said=f"Acceptable up to 0.01, very robust at 0.00001; the interleaver hardly matters. {NO_POINTS}",
        differs=f"Figure 12 is called setup 3; by section III-C it is setup 4, as here. Photos. {OTHER}",
    ),
    Claim(
        names="Fig. 13", shows="with and without latent mixture integration", experiments=("mixture",),
        said="Three pictures: without it a generic picture comes out that resembles the text only. No numbers.",
        differs="In numbers. The bundled net knows little of text: what it makes alone is hardly a picture at all.",
    ),
    Claim(
        names="Fig. 14", shows="wrong tokens by denoising iteration", experiments=("convergence",),
        said=f"The number falls with the iterations and is flat after 200. {NO_POINTS}",
        differs="62 steps at most; also at a temperature that falls to 0.2, which is Paella's own and ours.",
    ),
    Claim(
        names="Table IX, Fig. 15", shows="packets lost without interleaver (setup 3): tokens only, and text as well",
        said="Table IX at 1, 2, 3, 5 %: FID 23.18, 23.59, 24.49, 25.49, LPIPS 0.1148, 0.1179, 0.1150, 0.1270. With the "
        f"text hit too acceptable up to 20 %. {NO_POINTS}", experiments=("noise", "captions"),
        differs=f"The caption is always hit, and sent twice; `captions` has what losing it costs. Photos. {OTHER}",
    ),
    Claim(
        names="Table VIII, Fig. 16", shows="more steps with 10 % and 50 % of the packets lost", experiments=("steps",),
        said="10 % at 28/32, 50/62, 94/100, 194/200: FID 30.55, 30.05, 28.42, 27.23, LPIPS 0.1560, 0.1524, 0.1470, "
        f"0.1438, depth RMSE 5.99, 6.08, 5.97, 5.88. {NO_POINTS}",
        differs=f"Up to 50/62 steps. Depth is not here. {OTHER}",
    ),
    Claim(
        names="Table X", shows="seconds a picture (showtime) on an A100", experiments=("showtime", "batches"),
        said="LaMI-GO (EBM) 1.29 s at 4/8 (FID 29.84, LPIPS 0.1327), Diff-GO+ 7.2 s at 30/30 (65.81, 0.3546).",
        differs="Far smaller nets, half of the pixels, another machine: only the growth with steps can be compared.",
    ),
)  # fmt: skip
DIFFERENCES = (
    ("pictures", "Cityscapes 256x512; Flickr, COCO(-Stuff) 256x256", "the sets named above, by the dozen"),
    ("tokenizer", "VQGAN, f4, 8192 codewords, 8192 or 4096 tokens", "f8, 1024 codewords, 5 M parameters, 1024 tokens"),
    ("denoiser", "Paella, trained on LAION", "7 M parameters, 11,000 pictures; it is told which tokens arrived"),
    ("text", "BLIP-2; ByT5 and CLIP", "top labels of EfficientNet-lite0 as a phrase; all-MiniLM-L6-v2"),
    ("t, draws", "t from 1 to 0; multinomial", "t from the share missing; temperature 1 to 0.2, at last the mean"),
    ("channel", "packets and bits erased in a simulation", "packets on an emulated channel, with their headers"),
    ("bytes", "of the compressed message", "all: headers of frame and packets, caption twice, masks, repair"),
    ("judges", "FID, LPIPS, depth RMSE, mAP; no intervals", "PSNR, MS-SSIM, deep-feature distance, accuracy"),
)
LEAD = (
    "A. Wijesinghe, S. Wanninayaka, W. Wang, Y.-C. Chao, S. Zhang, Z. Ding: LaMI-GO: Latent Mixture Integration for "
    "Goal-Oriented Communications Achieving High Spectrum Efficiency.",
    "FID, LPIPS, depth and mAP need weights that are not bundled: deep-feature distance stands for LPIPS and PSNR for "
    "fidelity. Pictures, nets and judges are others, so what beats what can be compared, not numbers.",
)
STUDY = Study(
    system="lami_go", title="LaMI-GO: the paper's claims, and what was found", lead=LEAD,
    sets={"images": "photos", "labelled": "photos with imagenette's class numbers", "street": "street scenes"},
    experiments=EXPERIMENTS, claims=CLAIMS, differences=DIFFERENCES, sampler=SamplerSettings(),
    peers=FILES, unseen=("masking", "mask_ratio_permille", "mask_seed", "mask_pattern"),
)  # fmt: skip
STUDIES.add("lami_go", STUDY)
