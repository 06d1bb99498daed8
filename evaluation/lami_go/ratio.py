"""How much to withhold: PRM from nothing to nine tenths; and table VII: bytes beside JPEG and JPEG 2000."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from gocom.common.errors import BudgetTooSmall
from gocom.common.image_files import png_bytes, to_uint8
from gocom.evaluation.lami_go.counts import COUNTS
from gocom.evaluation.lami_go.world import World
from gocom.evaluation.report.plots import Line, Panel, plot
from gocom.evaluation.run.codec_setup import Codec, make_codec
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import (
    METRICS,
    UNLABELLED,
    average,
    by_picture,
    difference_cells,
    heads,
    metric_cells,
    sizes,
    table,
    where,
    words,
)
from gocom.evaluation.study.world import Picture, Row

RATIOS = (0.0, 0.1, 0.25, 0.35, 0.5, 0.7, 0.9)
BANDWIDTH_RATIOS = (0.35, 0.25)
"""Of table VII."""
SETS = ("images", "street")
PEERS = ("jpeg", "jpeg2000")
QUALITY = 40
"""Of table VII's JPEG."""
RATIO, FILE = "ratio", "file"
AT_QUALITY, AT_PRM = f"at JPEG {QUALITY}'s bytes", "at PRM 0.25's bytes"
ORIGINAL = "original (PNG)"
BYTES = (250, 500, 1000, 2000, 4000, 8000)
"""Of the plot's axis."""

_peer = cache(make_codec)


def measure(world: World) -> list[Row]:
    """A clean channel: what matters is bytes."""
    rows: list[Row] = []
    for name in SETS:
        for picture in world.each(world.pictures(name, COUNTS.ratio), f"ratio {name}"):
            jobs = [
                world.job(picture, {"experiment": RATIO, "ratio": p}, "clean", masking="prm", mask_ratio=p)
                for p in RATIOS
            ]
            rows += world.rows(jobs)
            (spent,) = [job.sent.bytes.total_bytes for job in jobs if job.keys["ratio"] == BANDWIDTH_RATIOS[-1]]
            rows += _files(world, picture, spent)
    return rows


def _files(world: World, picture: Picture, spent: int) -> list[Row]:
    """JPEG at its quality, JPEG 2000 at those bytes, both within `spent` bytes, and what the original takes."""
    keys = {"set": picture.set, "picture": picture.name, "seed": 0, "experiment": FILE}
    first, image = _sent(_peer("jpeg", "cpu"), picture, quality=QUALITY)
    rows = [keys | {"codec": "jpeg", "at": AT_QUALITY} | first | _score(world, picture, image)]
    cases = [("jpeg2000", AT_QUALITY, first["bytes"]), *((codec, AT_PRM, spent) for codec in PEERS)]
    for codec, at, budget in cases:
        row, image = _within(_peer(codec, "cpu"), picture, budget)
        rows.append(keys | {"codec": codec, "at": at} | row | _score(world, picture, image))
    size = len(png_bytes(to_uint8(picture.image)))
    return [*rows, keys | {"codec": ORIGINAL, "at": "", "bytes": size, "at_floor": 0}]


def _within(codec: Codec, picture: Picture, budget: int) -> tuple[Row, Any]:
    """The best file that all bytes of the budget allow; the smallest there is where none does."""
    try:
        return _sent(codec, picture, budget=budget)
    except BudgetTooSmall:
        row, image = _sent(codec, picture, quality=0)
        return row | {"at_floor": 1}, image


def _sent(codec: Codec, picture: Picture, **settings: Any) -> tuple[Row, Any]:
    result = codec.send(picture.image, "clean", seed=0, frame_index=picture.index, **settings)
    assert result.reconstruction is not None
    return {"bytes": result.bytes.total_bytes, "at_floor": 0}, result.reconstruction.image


def _score(world: World, picture: Picture, image: Any) -> Row:
    (score,) = world.judge.scores([picture.original], [image])
    return score


def report(rows: list[Row]) -> str:
    """Quality by ratio; table VII; PRM 0.25 against the files that have no more bytes, or their smallest."""
    ratios, files = where(rows, experiment=RATIO), where(rows, experiment=FILE)
    by_ratio, bandwidth, against = [], [], []
    for name in [n for n in SETS if where(rows, set=n)]:
        for ratio in RATIOS:
            found = where(ratios, set=name, ratio=ratio)
            by_ratio.append([name, ratio, words(average(found, "bytes"), 0), *metric_cells(found, UNLABELLED)])
        for label, found in bandwidth_cases(rows, name):
            bandwidth.append([name, label, words(average(found, "bytes"), 0), *metric_cells(found, UNLABELLED)])
        ours = where(ratios, set=name, ratio=BANDWIDTH_RATIOS[-1])
        for codec in PEERS:
            theirs = where(files, set=name, codec=codec, at=AT_PRM)
            floor = f"{sum(row['at_floor'] for row in theirs)} of {len(theirs)}"
            cells = [words(average(theirs, "bytes"), 0), floor, *difference_cells(ours, theirs, UNLABELLED)]
            against.append([name, codec, *cells])
    return "\n".join(
        [
            f"{sizes(ratios)}, no loss, 4/8 steps.\n",
            table(["set", "share withheld (PRM)", "bytes", *heads(UNLABELLED)], by_ratio),
            f"Table VII. Bytes are those of frames in packets, the original's those of a PNG file; JPEG has quality "
            f"{QUALITY} (the paper's), JPEG 2000 its bytes.\n",
            table(["set", "method", "bytes", *heads(UNLABELLED)], bandwidth),
            "PRM 0.25 minus files of at most its bytes, or the smallest there is where that is larger (distance: "
            "negative is better for PRM):\n",
            table(["set", "minus", "bytes of the file", "at its smallest", *heads(UNLABELLED)], against),
        ]
    )


def bandwidth_cases(rows: list[Row], name: str) -> list[tuple[str, list[Row]]]:
    """Table VII's lines of one set: (label, rows)."""
    files = where(rows, experiment=FILE, set=name)
    return [
        (ORIGINAL, where(files, codec=ORIGINAL)),
        (f"JPEG (quality = {QUALITY})", where(files, codec="jpeg", at=AT_QUALITY)),
        (f"JPEG 2000 {AT_QUALITY}", where(files, codec="jpeg2000", at=AT_QUALITY)),
        *(
            (f"lami_go, PRM p = {ratio}", where(rows, experiment=RATIO, set=name, ratio=ratio))
            for ratio in BANDWIDTH_RATIOS
        ),
        *((f"{codec} {AT_PRM}, or its smallest", where(files, codec=codec, at=AT_PRM)) for codec in PEERS),
    ]


def draw(rows: list[Row], out: Path) -> list[str]:
    """ratio.png: quality by bytes, PRM as a line, files as points."""
    present = [name for name in SETS if where(rows, set=name)]
    panels = [[_panel(rows, name, field) for name in present] for field in ("distance", "psnr_db")]
    title = "Quality by bytes, no loss: PRM withholding 90 % (left) to nothing (right)"
    plot(panels, f"{title}\n{sizes(where(rows, experiment=RATIO))}", out / "ratio.png")
    return ["ratio.png"]


def _panel(rows: list[Row], name: str, field: str) -> Panel:
    here = where(rows, set=name)
    groups = {
        "lami_go, PRM": [where(here, experiment=RATIO, ratio=ratio) for ratio in reversed(RATIOS)],
        **{codec: [where(here, codec=codec, at=at) for at in (AT_PRM, AT_QUALITY)] for codec in PEERS},
    }
    lines = []
    for (label, found), style in zip(groups.items(), ("-o", "s", "^"), strict=True):
        points = [(average(group, "bytes"), average(group, field)) for group in found if by_picture(group, field)]
        x, y = [size[0] for size, _ in points if size], [value for _, value in points if value]
        # Between two files of a codec nothing was measured: neither a line nor a shade joins them.
        lines.append(Line(label, x, [v[0] for v in y], [v[1:] for v in y] if style == "-o" else (), style))
    return Panel("bytes of a frame", METRICS[field][0], lines, name, log_x=True, ticks=(BYTES, [str(b) for b in BYTES]))


PART = Part("ratio", "Share withheld, and bytes", measure, report, draw)
