"""Rows of results.csv with means that are known: what the report's statistics are held against."""

import json
import math

import numpy as np

from gocom.common.systems.classical import CLASSICAL_CODECS

ERASURES = {"clean": 0.0, **{f"packet_erasure:rate={rate:g}": rate for rate in (0.05, 0.1, 0.2, 0.5)}}
PICTURES = 8
SPREAD = tuple(0.1 * (i - (PICTURES - 1) / 2) for i in range(PICTURES))
"""Of the pictures about the mean, the same for every method: it cancels in paired differences."""


def row(method="lami_go", picture="p0", **values):
    """One row; what is not given is that of a frame of 1000 bytes without loss, repair or failure."""
    named, _, protection = method.partition("+")
    made = {
        "set": "images", "picture": picture, "method": method, "codec": named.partition(":")[0],
        "protection": protection or "none", "rate_bpp": 0.1, "channel": "clean", "seed": 0, "width_px": 256,
        "height_px": 256, "packet_erasure_rate": 0.0, "budget_bytes": None, "at_floor": 0, "options": "{}",
        "rounds": 1, "bytes_total": 1000, "bytes_header": 100, "bytes_feedback": 0, "bytes_repair": 0,
        "bytes_by_segment": "", "packets_sent": 10, "packets_lost": 0, "failed": 0, "reason": "", "psnr_db": 20.0,
        "ms_ssim": 0.8, "distance": 0.4, "agrees": 1, "correct": None, "correct_10": None,
        "lpips": None, "dists": None, "st_lpips": None,
    } | values  # fmt: skip
    segment = "file" if made["codec"] in CLASSICAL_CODECS else "tokens"
    rest = made["bytes_total"] - made["bytes_header"] - made["bytes_feedback"]
    made["bytes_by_segment"] = made["bytes_by_segment"] or json.dumps({segment: rest})
    made["bpp"] = 8 * made["bytes_total"] / (made["width_px"] * made["height_px"])
    return made


def timing(of, **values):
    """The row of timings.csv that belongs to one of results.csv."""
    keys = ("set", "picture", "method", "rate_bpp", "channel", "seed")
    made = {name: of[name] for name in keys} | {"encode_s": 0.1, "channel_s": 0.05, "decode_s": 0.25, "total_s": 0.4}
    return made | values


def steady(method, psnr_db, seeds=(0,), spread=SPREAD, **values):
    """A method's rows over eight pictures, whose PSNR is on average what is given."""
    return [
        row(method, f"p{i}", seed=seed, psnr_db=psnr_db + off, **values)
        for i, off in enumerate(spread)
        for seed in seeds
    ]


def over_losses():
    """lami_go falls from 24 dB by one a loss; jpeg+fec ahead, even, ahead, and then at 18 dB; jpeg+arq always 20.5."""
    rows = []
    for number, (channel, loss) in enumerate(ERASURES.items()):
        at = {"channel": channel, "packet_erasure_rate": loss}
        rows += steady("lami_go", 24.0 - number, seeds=(0, 1), **at)
        rows += steady("jpeg+fec", (26.0, 23.0, 23.0, 18.0, 18.0)[number], seeds=(0, 1), bytes_total=1040, **at)
        rows += steady("jpeg+arq", 20.5, seeds=(0, 1), **at)
    return rows


METHODS = tuple(["lami_go", *(f"{codec}{kept}" for codec in ("jpeg", "webp", "avif") for kept in ("", "+fec", "+arq"))])
CHANNELS = {
    **ERASURES, "gilbert_elliott:p=0.02,r=0.2": 0.09, "gilbert_elliott:p=0.05,r=0.1": 0.33,
    **{f"bit_flip:rate={rate:g},damage=deliver": 0.0 for rate in (1e-5, 1e-4, 1e-3, 1e-2)},
    **{f"block_fading:snr_db={snr},fading=rayleigh": 0.3 - snr / 100 for snr in (0, 5, 10, 20)},
}  # fmt: skip
_GAIN = {"lami_go": 0.0, "jpeg": 0.5, "webp": 2.0, "avif": 3.0}


def full_grid(
    pictures=8, seeds=(0, 1), rates=(0.12, 0.25, 0.5), methods=METHODS, channels=None, labels=False, set_name="images"
):
    """Rows of a whole grid, made up but of the shape that is to be expected, and their timings."""
    rng, rows, timings = np.random.default_rng(6), [], []
    for method in methods:
        for channel, loss in (channels or CHANNELS).items():
            for rate in rates:
                for index in range(pictures):
                    for seed in seeds:
                        made = _made_up(rng, method, channel, loss, rate, index, labels)
                        rows.append(row(method, f"p{index:02}", set=set_name, channel=channel, seed=seed, **made))
                        slow = 0.45 if method == "lami_go" else 0.02
                        parts = [slow * share * rng.uniform(0.9, 1.1) for share in (0.3, 0.05, 0.65)]
                        names = ("encode_s", "channel_s", "decode_s")
                        timings.append(timing(rows[-1], **dict(zip(names, parts, strict=True)), total_s=sum(parts)))
    return rows, timings


def _made_up(rng, method, channel, loss, rate, index, labels):
    codec, _, protection = method.partition("+")
    semantic, harm = codec == "lami_go", loss
    if channel.startswith("bit_flip"):
        harm = min(1.0, 20 * float(channel.partition("rate=")[2].partition(",")[0]))
    whole = 1 - (1 - harm) ** 15 if not protection else 0.05 * (harm > 0.3) if protection == "fec" else 0.0
    failed = int(not semantic and rng.random() < whole)
    spent = {"fec": 1 + harm, "arq": 1 + 0.6 * harm}.get(protection, 1.0)
    psnr = 21 + 2.5 * math.log2((rate or 0.2) / 0.12) * (0.5 if semantic else 1) / spent + _GAIN[codec]
    psnr = 12.5 if failed else psnr - (6 * harm if semantic else 4 * (spent - 1))
    psnr += 0.4 * (index % 7 - 3) + rng.normal(0, 0.3)
    good = min(1.0, max(0.0, (psnr - 10) / 20 + (0.15 if semantic else 0)))
    total = int(8192 * (rate or 0.2) * rng.uniform(0.96, 1.0))
    repair = int(total * 0.4 * harm) if protection == "fec" else 0
    feedback, header = (int(40 * harm) if protection == "arq" else 0), 60
    rest = total - feedback - header
    named = {"tokens": rest - 90, "text": 40, "mask": 50} if semantic else {"file": rest}
    right = int(rng.random() < good)
    return {
        "rate_bpp": rate, "packet_erasure_rate": loss, "bytes_total": total, "bytes_header": header,
        "bytes_repair": repair, "bytes_feedback": feedback, "bytes_by_segment": json.dumps(named),
        "rounds": 1 + int(rng.poisson(3 * harm)) if protection == "arq" else 1, "failed": failed, "psnr_db": psnr,
        "ms_ssim": 0.3 + 0.65 * good, "distance": 0.9 - 0.8 * good, "agrees": right,
        "correct": right if labels else None, "correct_10": int(rng.random() < 0.5 + good / 2) if labels else None,
    }  # fmt: skip
