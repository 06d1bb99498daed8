"""Entropy coding of each packet on its own: what it saves, and whether quality still falls gracefully."""

from __future__ import annotations

from gocom.common.types import ElementCoding
from gocom.evaluation.feature_imputing.counts import COUNTS
from gocom.evaluation.feature_imputing.orders import CHANNEL, RANDOM, SPATIAL
from gocom.evaluation.feature_imputing.world import SETS, World
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import (
    UNLABELLED,
    average,
    by_picture,
    difference_cells,
    groups,
    heads,
    metric_cells,
    sizes,
    table,
    where,
    words,
)
from gocom.evaluation.study.world import Picture, Row

RATES = (0.0, 0.1, 0.3, 0.5)
FIXED, HUFFMAN, RANGE = ElementCoding.FIXED.value, ElementCoding.HUFFMAN.value, ElementCoding.RANGE.value
CODINGS = (FIXED, HUFFMAN, RANGE)
ORDERS = (SPATIAL, CHANNEL, RANDOM)


def measure(world: World) -> list[Row]:
    """Bytes without loss for all orders; with loss for the default one."""
    rows: list[Row] = []
    for picture in world.each(world.pictures(SETS[0], COUNTS.coding), "coding"):
        rows += _of_picture(world, picture)
    return rows


def _of_picture(world: World, picture: Picture) -> list[Row]:
    jobs = []
    for coding in CODINGS:
        for order in ORDERS:
            for rate in RATES if order == SPATIAL else RATES[:1]:
                channel = f"packet_erasure:rate={rate}" if rate else "clean"
                keys = {"coding": coding, "order": order, "rate": rate}
                seeds = COUNTS.coding_seeds if rate else 1
                jobs += world.jobs(picture, keys, channel, seeds, coding=coding, packet_order=order)
    return [
        row | {"packets": job.sent.rounds[0].packets_sent, "pixels": picture.image[0].size}
        for row, job in zip(world.rows(jobs), jobs, strict=True)
    ]


def report(rows: list[Row]) -> str:
    """Bytes by coding and order; quality by loss."""
    saved, quality, against = [], [], []
    for (coding, order), found in groups(where(rows, rate=0.0), "coding", "order"):
        fixed = by_picture(where(rows, rate=0.0, coding=FIXED, order=order), "bytes")
        share = [row | {"saved": 1 - row["bytes"] / fixed[row["set"], row["picture"]]} for row in found]
        bpp = average([row | {"bpp": 8 * row["bytes"] / row["pixels"]} for row in found], "bpp")
        cells = (words(average(found, "bytes"), 0), words(bpp, 3), words(average(found, "packets"), 1))
        saved.append([coding, order, *cells, words(average(share, "saved"), 3)])
    lossy = where(rows, order=SPATIAL)
    for (rate, coding), found in groups(lossy, "rate", "coding"):
        missing = words(average(found, "missing"), 2)
        quality.append([rate, coding, words(average(found, "bytes"), 0), missing, *metric_cells(found, UNLABELLED)])
        if coding != FIXED and rate:
            other = where(lossy, rate=rate, coding=FIXED)
            cells_ = difference_cells(found, other, UNLABELLED)
            against.append([rate, coding, *cells_])
    quality.sort(key=lambda line: (line[0], CODINGS.index(line[1])))
    return "\n".join(
        [
            f"{sizes(rows)} where packets are lost. A packet never has more than 105 bytes of payload: shorter "
            "codewords mean fewer packets with more features each, coded without looking at any other packet.\n",
            table(["coding", "order", "bytes of a frame", "bits a pixel", "packets", "share saved"], saved),
            "At the same share of packets lost, order spatial:\n",
            table(["packets lost", "coding", "bytes", "features missing", *heads(UNLABELLED)], quality),
            "Minus fixed length (distance: negative is better):\n",
            table(["packets lost", "coding", *heads(UNLABELLED)], against),
        ]
    )


PART = Part("coding", "Entropy coding of each packet", measure, report)
