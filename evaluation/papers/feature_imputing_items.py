"""What the paper of Generative Feature Imputing claims and leaves open, and what answers it here."""

from __future__ import annotations

from gocom.evaluation.papers import feature_imputing_tables as ours
from gocom.evaluation.papers.items import Item, Status

NOT_IN_TEXT = "The figures' values are not in the paper's text, and are not read off them here."

CLAIMS = (
    Item(
        ("Section III",),
        "an autoencoder, and seven bits a feature",
        Status.HERE,
        "A pre-trained VAE, uniform scalar quantization with 7 bits.",
        "The autoencoder is ours, made on two CPU cores.",
        ("clean",),
        ours.clean,
    ),
    Item(
        ("Section III.A",),
        "packets that concentrate an error in space, against scattered errors",
        Status.HERE,
        "Concentrated errors are imputed better: lower LPIPS, higher semantic accuracy. " + NOT_IN_TEXT,
        "The text can be read two ways, so there are three orders: `spatial` (all channels of a patch share a packet), "
        "`channel` (a group of channels; the text speaks of channel mappings), `random`. Patches of the spatial order "
        "are scattered over packets unless the interleaver is off (strips).",
        ("orders",),
        ours.orders,
        ours.answer_orders,
        ("orders.png",),
    ),
    Item(
        ("Section III.B",),
        "a conditional diffusion model imputes erased features",
        Status.HERE,
        "Lower LPIPS and higher accuracy than without; PSNR is given up for it. " + NOT_IN_TEXT,
        "The paper draws features from noise. So can ours; its default begins without noise, which gives about the "
        "mean of what is possible, and is nearer to what was sent.",
        ("imputing",),
        ours.imputing,
        ours.answer_imputing,
        ("imputing.png",),
    ),
    Item(
        ("Section IV.A",),
        "power by importance, against equal power and water-filling",
        Status.HERE,
        "Least weighted sum of packet error rates, weights from a class activation map; accuracy rises at equal total "
        "power. " + NOT_IN_TEXT,
        "Uncoded BPSK, four packets share a gain. With the gain of each packet known, as in the paper, and with the "
        "mean only.",
        ("power",),
        ours.power,
        ours.answer_power,
        ("power.png",),
    ),
    Item(
        ("Section V.B",),
        "denoising steps by time",
        Status.HERE,
        "The knee is at 10 to 16 steps.",
        "A smaller net, on the processor named above.",
        ("steps",),
        ours.steps,
        ours.answer_steps,
        ("steps.png",),
    ),
    Item(
        ("Key results",),
        "semantic accuracy with 48 % of the packets lost, beside JPEG 2000",
        Status.IN_PART,
        "Up to 72 % semantic accuracy at packet error probability 0.48, where JPEG 2000 is gone; lower PSNR than JPEG "
        "2000 where little is lost.",
        "Deep joint source-channel coding, the paper's other peer, is not here. JPEG 2000 with the best RaptorQ "
        "redundancy and lami_go are, at equal total bytes. Packets are lost independently.",
        ("peers",),
        ours.peers,
        ours.answer_peers,
        ("peers.png",),
    ),
)

QUESTIONS = (
    Item(
        ("Open question 1",),
        "variable-length coding without error propagation",
        Status.HERE,
        "Left open: only fixed-length codes are used.",
        "Static Huffman and range codes, restarted in each packet.",
        ("coding",),
        ours.coding,
        ours.answer_coding,
    ),
    Item(
        ("Open question 2",),
        "importance for other resources than power: redundancy",
        Status.HERE,
        "Left open.",
        "RaptorQ repair packets at equal total bytes; a region of interest is a segment of its own.",
        ("protection",),
        ours.protection,
        ours.answer_protection,
    ),
    Item(
        ("Open question 3",),
        "importance from one task, scored on another",
        Status.HERE,
        "Left open.",
        "Two pictures side by side: power goes by the map of the left one's class, and both are judged.",
        ("tasks",),
        ours.tasks,
        ours.answer_tasks,
    ),
    Item(
        ("Beyond 0.48",),
        "where imputation turns into invention",
        Status.HERE,
        "The paper stops at a packet error probability of 0.48.",
        "Up to 90 %. The same received packets, imputed several times from other noise.",
        ("invention",),
        ours.invention,
        ours.answer_invention,
        ("invention.png",),
    ),
)

ITEMS: tuple[Item, ...] = (*CLAIMS, *QUESTIONS)

DIFFERENCES = (
    ("pictures", "not named in the text at hand", "sets images and labelled, named above, cut to 256x256"),
    ("features", "a VAE of the latent diffusion kind", "an f8 autoencoder of 5 M parameters, 8 channels"),
    ("imputer", "a diffusion U-Net", "a U-Net of 7 M parameters, trained for 80 minutes on two CPU cores"),
    ("importance", "class activation map of ResNet-50", "class activation map of EfficientNet-lite0"),
    ("channel", "simulated block fading", "packets on an emulated channel, with their headers"),
    ("judges", "LPIPS, PSNR, semantic accuracy", "deep-feature distance (1 - cosine of EfficientNet-lite2 features), "
     "PSNR, top-1 accuracy of that net; Student's 95 % interval over pictures on every number"),
)  # fmt: skip
"""(what, paper, here): of every item."""
