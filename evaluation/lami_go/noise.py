"""Noise setups 1 to 4 (figures 10, 11, 12, 15, table IX), and what the caption is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gocom.client.noise_setups import noise_setup
from gocom.common.types import LinkSettings
from gocom.evaluation.lami_go.counts import COUNTS
from gocom.evaluation.lami_go.world import World
from gocom.evaluation.report.plots import Line, Panel, plot
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import (
    METRICS,
    UNLABELLED,
    average,
    difference_cells,
    heads,
    metric_cells,
    sizes,
    table,
    values_of,
    where,
    words,
)
from gocom.evaluation.study.world import Job, Picture, Row

PACKET_RATES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
BIT_RATES = (1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)
PACKET_SETUPS, BIT_SETUPS = (1, 3), (2, 4)
SETUP, CAPTION = "setups", "captions"
CAPTION_RATES = (0.0, 0.5)
RIGHT, WRONG, LOST, ABSENT = "right", "wrong", "lost", "none"
CAPTIONS = (RIGHT, WRONG, LOST, ABSENT)


def measure(world: World) -> list[Row]:
    """Setups on images; captions on labelled pictures, which have an accuracy."""
    rows: list[Row] = []
    for picture in world.each(world.pictures("images", COUNTS.noise), "noise setups"):
        rows += world.rows(_setups(world, picture))
    labelled = world.pictures("labelled", COUNTS.noise_captions)
    for place, picture in enumerate(world.each(labelled, "captions")):
        # Half-way round the set is another class: its pictures are sorted by class.
        other = labelled[(place + (len(labelled) + 1) // 2) % len(labelled)]
        rows += world.rows(_captions(world, picture, world.captions_of([other])[0]))
    return rows


def _setups(world: World, picture: Picture) -> list[Job]:
    jobs = []
    for number in (*PACKET_SETUPS, *BIT_SETUPS):
        packets = number in PACKET_SETUPS
        for level in PACKET_RATES if packets else BIT_RATES:
            for bursty in (False, True) if level else (False,):
                setup = noise_setup(number, level, bursty)
                link = LinkSettings(interleave=setup.interleave)
                keys = {"experiment": SETUP, "setup": number, "level": level, "bursty": bursty}
                for seed in range(COUNTS.noise_seeds if packets and level else 1):
                    options = setup.options_for("lami_go")
                    jobs.append(world.job(picture, keys, setup.channel, seed=seed, link=link, **options))
    return jobs


def _captions(world: World, picture: Picture, wrong: str) -> list[Job]:
    """Only token packets are erased at random (a frame without a caption has no others): the text is as it is."""
    jobs = []
    for rate in CAPTION_RATES:
        tokens = f"packet_erasure:rate={rate},segment=1"
        cases: dict[str, tuple[str, dict[str, Any]]] = {
            RIGHT: (tokens, {}),
            WRONG: (tokens, {"caption": wrong}),
            LOST: (f"{tokens}+packet_erasure:rate=1,segment=0", {}),
            ABSENT: (f"packet_erasure:rate={rate}", {"send_caption": False}),
        }
        for seed in range(COUNTS.noise_captions_seeds if rate else 1):
            for name, (channel, options) in cases.items():
                keys = {"experiment": CAPTION, "rate": rate, "caption": name}
                jobs.append(world.job(picture, keys, channel, seed=seed, **options))
    return jobs


def report(rows: list[Row]) -> str:
    """A table of setups by level, and one of captions."""
    setups, captions = where(rows, experiment=SETUP), where(rows, experiment=CAPTION)
    return "\n".join(
        [
            f"{sizes(setups)} where packets are lost, 1 where bits are flipped. PRM 0.25; the caption meets the same "
            "channel (sent twice, under a checksum). Setups 1 and 2 have the interleaver, 3 and 4 do not; 1 and 3 lose "
            "packets (Huffman coding), 2 and 4 flip bits (fixed length). Bursty: the same average rate in bursts of 5 "
            "packets or 50 bits.\n",
            _setup_table(setups),
            f"Captions, {sizes(captions)}; only token packets are erased. In brackets the difference to the right "
            "caption. (`none` sends no caption: fewer bytes, and other packets are lost.)\n",
            _caption_table(captions),
        ]
    )


def _setup_table(rows: list[Row]) -> str:
    lines = []
    for number in sorted(values_of(rows, "setup")):
        for bursty in (False, True):
            found = where(rows, setup=number, bursty=bursty)
            for level in values_of(found, "level"):
                here = where(found, level=level)
                kind = "bursty" if bursty else "i.i.d."
                cells = metric_cells(here, UNLABELLED)
                lines.append([number, kind, f"{level:g}", words(average(here, "missing"), 2), *cells])
    return table(["setup", "losses", "packet erasure or bit error rate", "missing", *heads(UNLABELLED)], lines)


def _caption_table(rows: list[Row]) -> str:
    lines = []
    for rate in CAPTION_RATES:
        right = where(rows, rate=rate, caption=RIGHT)
        for name in CAPTIONS:
            found = where(rows, rate=rate, caption=name)
            cells = metric_cells(found)
            if name != RIGHT:
                pairs = zip(cells, difference_cells(found, right), strict=True)
                cells = [a if a == "–" else f"{a.split(' ')[0]} [{b}]" for a, b in pairs]
            lines.append([f"{rate:.0%}", name, words(average(found, "bytes"), 0), *cells])
    return table(["erasure", "caption", "bytes", *heads()], lines)


def draw(rows: list[Row], out: Path) -> list[str]:
    """noise.png: packet erasure on the left, bit errors on the right."""
    setups = where(rows, experiment=SETUP)
    packets, bits = (PACKET_SETUPS, "packet erasure rate"), (BIT_SETUPS, "bit error rate")
    fields = ("distance", "psnr_db")
    panels = [[_panel(setups, field, numbers, x) for numbers, x in (packets, bits)] for field in fields]
    title = "Noise setups 1 and 3 (packets lost), 2 and 4 (bits flipped), PRM 0.25, 4/8 steps"
    plot(
        panels,
        f"{title}\n{sizes(setups)} for packets, 1 for bits; shade: 95 % over pictures, first line",
        out / "noise.png",
    )
    return ["noise.png"]


def _panel(rows: list[Row], field: str, numbers: tuple[int, int], x: str) -> Panel:
    bits, lines = numbers == BIT_SETUPS, []
    for color, number in enumerate(numbers):
        for bursty, style in ((False, "-o"), (True, "--s")):
            here = where(rows, setup=number)
            # Without loss there is nothing to come in bursts.
            found = [row for row in here if row["bursty"] == bursty or row["level"] == 0]
            levels = sorted(values_of(found, "level"))
            means = [average(where(found, level=level), field) for level in levels]
            label = f"{number}: interleaver {'off' if color else 'on'}, {'bursty' if bursty else 'i.i.d.'}"
            y, band = [m[0] for m in means if m], [m[1:] for m in means if m]
            # Intervals of one of four lines: they are much alike, and four would hide the lines.
            lines.append(Line(label, levels, y, band if not color and not bursty else (), style, f"C{color}"))
    clean = average(where(rows, setup=1, level=0.0), field)
    level = (clean[0], "no loss") if bits and clean else None
    return Panel(x, METRICS[field][0], lines, log_x=bits, level=level)


PART = Part("noise", "Noise setups and captions", measure, report, draw)
