"""Every figure and table of the paper of LaMI-GO, in its order, and what answers it."""

from __future__ import annotations

from gocom.evaluation.papers import lami_go_loss_tables as loss
from gocom.evaluation.papers import lami_go_tables as ours
from gocom.evaluation.papers.items import Item, Status
from gocom.evaluation.papers.lami_go_figures import LOSS_PNG, POLICIES_PNG

NO_JUDGE = "Other judges (above)."
NOT_IN_TEXT = "The figure's values are not in the paper's text, and are not read off it here."
FEW_STEPS = "Ours end at 50/62 steps."

DRAWINGS = (
    ("Fig. 1", "the architecture", "docs/lami_go.md has ours."),
    ("Fig. 2", "the channel model: setups 1 to 4", "`gocom send --noise-setup 1..4`; docs/lami_go.md."),
    (
        "Fig. 3",
        "one iteration of latent mixture integration",
        "common/samplers/latent_mixture.py. Eq. 13 as printed re-noises received positions too before the net looks, "
        "and eq. 12 puts them back after it; here they are put back before it as well.",
    ),
    ("Fig. 4", "what the receiver does at showtime", "docs/lami_go.md."),
)


def _drawing(name: str, shows: str, where: str) -> Item:
    return Item((name,), shows, Status.DRAWING, "A drawing.", where)


TABLES_I_TO_IV = (
    Item(
        ("Table I",),
        "LPIPS, FID and steps beside other generative systems, Cityscapes",
        Status.IN_PART,
        "LaMI-GO 0.1327 LPIPS and 29.84 FID in 8 steps; the tokenizer alone 0.056 and 11.21.",
        f"The other systems' nets are not here; only LaMI-GO and its tokenizer are. {NO_JUDGE} The paper does not name "
        "the policy; its numbers are those of table X, which is EBM.",
        ("steps", "policies"),
        ours.table_i,
    ),
    Item(
        ("Table II",),
        "FID on 40,000 pictures of COCO beside text-to-image generators",
        Status.NOT_HERE,
        "LaMI-GO (fixed policy) 10.26 at 28/32 and 9.50 at 194/200; the best other, Stackformer, 10.08.",
        "COCO, the generators and FID's weights are not here, and a distance between sets of a few pictures means "
        "nothing. The same policy and steps on our images are shown so that the row is not empty.",
        ("steps",),
        ours.table_ii,
    ),
    Item(
        ("Table III",),
        "EBM's order: withhold the tokens closest to their codewords, or the farthest",
        Status.HERE,
        "Closest is better on both sets: FID 18.44 against 36.98, and 58.65 against 126.66.",
        "The paper withholds 1024 tokens at 4/8: an eighth of Cityscapes' 8192, a quarter of Flickr's 4096. Here 256 "
        f"of 1024 on every set. {NO_JUDGE}",
        ("policies",),
        ours.table_iii,
        ours.answer_iii,
    ),
    Item(
        ("Table IV",),
        "masking policies by steps on three sets",
        Status.HERE,
        "PRM and PDM are alike; EBM is best on Cityscapes by both measures, and by LPIPS everywhere, but worst by FID "
        "on Flickr and COCO-Stuff; more steps are better.",
        f"{NO_JUDGE} {FEW_STEPS} The paper counts tokens withheld; the mask of EBM follows the picture and costs bytes "
        "here, so the policies are compared at equal total bytes too. (In the text of the paper the fourth line of the "
        "fixed policy stands under distance-based; its 9.50 is table II's for fixed. PRM's LPIPS of 0.155 on "
        "COCO-Stuff at 50/62 is as printed.)",
        ("steps", "policies"),
        ours.table_iv,
        ours.answer_iv,
        (POLICIES_PNG,),
    ),
)

FIGURES_5_TO_9 = (
    Item(
        ("Fig. 5", "Fig. 6", "Fig. 7"),
        "a picture, and where the farthest and the closest tokens lie in it",
        Status.IN_PART,
        "Pictures: farthest tokens lie on what is unique, closest ones on what is plain. No numbers.",
        "This page shows no one's photos. What the choice does is table III; which tokens are withheld of a picture of "
        "one's own, `gocom send --option masking=ebm` shows in its provenance picture.",
        ("policies",),
        None,
        ours.answer_iii,
    ),
    Item(
        ("Fig. 8", "Fig. 9"),
        "FID and LPIPS by steps: PRM at p = 0.25 and 0.35, PDM, other systems",
        Status.HERE,
        "p = 0.35 is worse than 0.25, both gain with steps, and both are better than the systems before. "
        f"{NOT_IN_TEXT} Table IV has those of p = 0.25 and of PDM, table VII one of p = 0.35 (FID 27.23 at 194/200).",
        f"{NO_JUDGE} {FEW_STEPS} The other systems' nets are not here.",
        ("steps", "ratio"),
        ours.figures_8_9,
        ours.answer_8_9,
        (POLICIES_PNG,),
    ),
)

TABLES_V_TO_VII = (
    Item(
        ("Table V",),
        "error of depth estimated from the received picture",
        Status.NOT_HERE,
        "RMSE 5.95 at 4/8, 5.73 at 28/32, 5.72 at 50/62, 5.59 at 194/200; Diff-GO+ 6.55 to 6.65.",
        "A net that estimates depth (MiDaS) is not bundled, and neither is Diff-GO+.",
        ours=ours.table_v,
    ),
    Item(
        ("Table VI",),
        "objects detected on the received picture",
        Status.IN_PART,
        "mAP of 63.5 to 65.0 % on COCO(-Stuff), 44.5 to 46.9 % on Flickr, more with more steps.",
        "A detector is not bundled. The nearest task that is: does a classifier (EfficientNet-lite2) still know what "
        "is in the picture? Accuracy is of another kind than mAP, and its pictures have one object.",
        ("policies",),
        ours.table_vi,
    ),
    Item(
        ("Table VII",),
        "bytes and FID beside JPEG, JPEG 2000 and other systems",
        Status.HERE,
        "8.50 KB (p = 0.35) and 9.39 KB (p = 0.25) with FID 27.23 and 22.72; JPEG of quality 40: 10.28 KB and 35.72.",
        "Pictures here have half of the pixels and, with an f8 tokenizer, an eighth of the tokens: a frame is far "
        "smaller than JPEG's of quality 40, which says nothing. Therefore files of the same total bytes as PRM 0.25 "
        "are shown too, or the smallest there are. All packets and headers are counted. Quality 35 of the paper's JPEG "
        "2000 is some encoder's scale; here it gets JPEG's bytes. 4/8 steps, not 194/200. GESCO, OD and "
        f"Diff-GO+ are not here. {NO_JUDGE}",
        ("ratio",),
        ours.table_vii,
        ours.answer_vii,
        ("ratio.png",),
    ),
)

CHANNEL = (
    Item(
        ("Fig. 10",),
        "quality by packet error rate, with interleaver (setup 1)",
        Status.HERE,
        f"Robust up to 20 % of the packets lost. {NOT_IN_TEXT}",
        "Packets cross an emulated channel, with their headers; payloads of 105 bytes as the paper has, but some 9 of "
        "them a picture instead of 85, so a single loss takes a ninth of it. The caption is sent twice. Photos, not "
        f"Cityscapes. {NO_JUDGE}",
        ("noise",),
        loss.figure_10,
        loss.answer_10,
        ("noise.png",),
    ),
    Item(
        ("Fig. 11", "Fig. 12"),
        "quality by bit error rate, with and without interleaver",
        Status.HERE,
        "Acceptable up to 0.01 and very robust at 0.00001; the interleaver makes a subtle difference. " + NOT_IN_TEXT,
        "The text calls figure 12 setup 3; by section III-C bit errors without interleaver are setup 4, and so they "
        "are here. With independent bit errors an interleaver has nothing to spread: what differs between the two is "
        f"chance and where in a packet the bits fall; bursts are in the plot. Photos, not Cityscapes. {NO_JUDGE}",
        ("noise",),
        loss.figures_11_12,
        loss.answer_11_12,
        ("noise.png",),
    ),
    Item(
        ("Fig. 16", "Table VIII"),
        "more steps over a lossy channel: 50 % and 10 % of the packets lost",
        Status.HERE,
        "More steps help: at 10 % FID falls from 30.55 (28/32) to 27.23 (194/200), LPIPS from 0.1560 to 0.1438.",
        f"{NO_JUDGE} {FEW_STEPS} Depth is not here (table V).",
        ("steps",),
        loss.table_viii,
        loss.answer_viii,
        (LOSS_PNG,),
    ),
    Item(
        ("Table IX", "Fig. 15"),
        "packets lost without interleaver (setup 3): tokens only, and text as well",
        Status.HERE,
        "FID from 23.18 at 1 % to 25.49 at 5 %, LPIPS from 0.1148 to 0.1270 (table IX). With the text hit too, "
        "acceptable up to 20 % (figure 15). " + NOT_IN_TEXT,
        "The caption is always hit here, and sent twice; as losing it does next to nothing to the bundled net (part "
        f"`noise`, captions), both are one. Photos, not Cityscapes; 3 % was not measured. {NO_JUDGE}",
        ("noise",),
        loss.table_ix,
        loss.answer_ix,
        ("noise.png",),
    ),
)

RECEIVER = (
    Item(
        ("Fig. 13",),
        "ablation: with and without latent mixture integration",
        Status.HERE,
        "Three pictures: without it a generic picture comes out that resembles the text only. No numbers, and no "
        "steps.",
        "In numbers here. Without mixture the sampler begins with the same received and random tokens but holds none: "
        "each step draws the whole grid, and re-noising takes positions from all of it (eq. 12 left out). In both of a "
        "pair the net is not told which tokens were received. The third pair is the least that can be lost: t begins "
        "at the share really masked and nothing is re-noised. The bundled net knows little of text, so what it makes "
        "without the received tokens is not a good picture of something else, as in the paper, but hardly one at all.",
        ("mixture",),
        loss.figure_13,
        loss.answer_13,
        ("mixture.png",),
    ),
    Item(
        ("Fig. 14",),
        "wrong tokens by denoising iteration",
        Status.HERE,
        f"The number falls with the iterations and is flat after 200. {NOT_IN_TEXT}",
        "62 steps at most. The share is of the withheld tokens. At a constant temperature of 1, which is the paper's "
        "draw, and with one that falls to 0.2, which is Paella's own sampler and ours.",
        ("steps",),
        loss.figure_14,
        loss.answer_14,
        ("steps_convergence.png",),
    ),
    Item(
        ("Table X",),
        "seconds a picture (showtime)",
        Status.HERE,
        "LaMI-GO 1.29 s at 4/8 on an A100, Diff-GO+ 7.2 s at 30/30.",
        "On the processor that the results name, with far smaller nets and a picture of half the pixels: the "
        "seconds are not comparable, their growth with the steps is. PRM 0.25 here, EBM there. Diff-GO+ is not here.",
        ("showtime",),
        loss.table_x,
    ),
)

ITEMS: tuple[Item, ...] = (
    *(_drawing(*drawing) for drawing in DRAWINGS),
    *TABLES_I_TO_IV,
    *FIGURES_5_TO_9,
    *TABLES_V_TO_VII,
    *CHANNEL,
    *RECEIVER,
)

DIFFERENCES = (
    ("pictures", "Cityscapes 256x512; Flickr, COCO(-Stuff) 256x256", "sets street, images and labelled, named above, "
     "all cut to 256x256, by the dozen"),
    ("tokenizer", "VQGAN, f4, 8192 codewords: 8192 or 4096 tokens a picture", "f8, 1024 codewords, 5 M parameters: "
     "1024 tokens a picture, each for four times the area"),
    ("denoiser", "Paella, trained on LAION", "7 M parameters, 11,000 pictures, two hours on two CPU cores; a channel "
     "of its input says which tokens were received"),
    ("text", "BLIP-2; ByT5 and CLIP", "top labels of EfficientNet-lite0 as a phrase; all-MiniLM-L6-v2"),
    ("t, draws", "t from 1 to 0; multinomial", "t from the share that is missing; temperature falls from 1 to 0.2, the "
     "last step takes the codeword nearest to the expected one"),
    ("steps", "up to 194/200", "4/8 by default, up to 50/62"),
    ("channel", "packets and bits erased in a simulation", "packets on an emulated channel, with their headers"),
    ("bytes", "of the compressed message", "all: headers of frame and packets, caption twice, masks, repair"),
    ("judges", "FID, LPIPS, depth RMSE, mAP", "PSNR, MS-SSIM, deep-feature distance (1 - cosine of EfficientNet-lite2 "
     "features), top-1 accuracy; Student's 95 % interval over pictures on every number, the paper has none"),
)  # fmt: skip
"""(what, paper, here): of every item."""
