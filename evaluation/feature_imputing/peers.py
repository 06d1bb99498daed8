"""Against jpeg2000 with the best RaptorQ redundancy, and lami_go, at equal total bytes; and the paper's 0.48."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from gocom.common.image_files import ImageArray
from gocom.common.types import Reconstruction
from gocom.evaluation.compare.methods import Method, Protection
from gocom.evaluation.compare.plan import Planner
from gocom.evaluation.feature_imputing.counts import COUNTS
from gocom.evaluation.feature_imputing.world import SETS, World
from gocom.evaluation.lami_go.budgets import AtOnce
from gocom.evaluation.lami_go.world import World as LamiGoWorld
from gocom.evaluation.measure.judge import grey_like
from gocom.evaluation.report.plots import Panel, plot
from gocom.evaluation.run.codec_setup import Codec, make_codec
from gocom.evaluation.study.curves import curve
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import (
    METRICS,
    average,
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

RATES = (0.0, 0.1, 0.3, 0.48)
PAPER_RATE, PAPER_SHARE = 0.48, 0.72
"""The paper: 72 % accuracy at packet error rate 0.48."""
OURS, LAMI, PLAIN, FEC = "feature_imputing", "lami_go", "jpeg2000", "jpeg2000+fec"
METHODS = (OURS, LAMI, PLAIN, FEC)
ACCURACY = ("correct", "correct_10")
OWN, LOW = "feature_imputing's own", "lami_go's own"
SHOWN = ("psnr_db", "distance", "agrees", "correct", "correct_10")


@dataclass(frozen=True, slots=True, eq=False)
class _Ends:
    """All codecs, and the planner of ours and jpeg2000's bytes."""

    world: World
    lami: LamiGoWorld
    jpeg2000: Codec
    planner: Planner


def measure(world: World) -> list[Row]:
    """Labelled pictures, at the bytes of either."""
    lami, jpeg2000 = LamiGoWorld(world.sources, world.device, world.limit), make_codec("jpeg2000", "cpu")
    planner = Planner({OURS: Codec(OURS, world.encoder, world.real.decoder), "jpeg2000": jpeg2000})
    ends, rows = _Ends(world, lami, jpeg2000, planner), list[Row]()
    for picture in world.each(world.pictures(SETS[1], COUNTS.peers), "peers"):
        own = world.send(picture, "clean", seed=0).bytes.total_bytes
        low = lami.send(picture, "clean", seed=0, masking="prm", mask_ratio=0.0).bytes.total_bytes
        for at, budget in ((OWN, own), (LOW, low)):
            for rate in RATES:
                rows += _of_case(ends, picture, at, budget, rate)
    return rows


def _of_case(ends: _Ends, picture: Picture, at: str, budget: int, rate: float) -> list[Row]:
    world, lami, planner = ends.world, ends.lami, ends.planner
    channel = f"packet_erasure:rate={rate}" if rate else "clean"
    seeds = range(COUNTS.peers_seeds if rate else 1)
    keys = {"at": at, "rate": rate, "budget": budget}
    plan = planner.plan(Method(OURS), picture.image, picture.index, channel, budget)
    mine = keys | {"method": OURS, "at_floor": int(plan.at_floor)}
    rows = world.rows([world.job(picture, mine, channel, seed=seed, **plan.settings) for seed in seeds])
    options = AtOnce(lami, picture).within(budget)
    rows += lami.rows([lami.job(picture, keys | {"method": LAMI}, channel, seed=seed, **options) for seed in seeds])
    codec = ends.jpeg2000
    for name, protection in ((PLAIN, Protection.NONE), (FEC, Protection.FEC)):
        plan = planner.plan(Method("jpeg2000", protection=protection), picture.image, picture.index, channel, budget)
        sent = [codec.send(picture.image, channel, seed=n, frame_index=picture.index, **plan.settings) for n in seeds]
        images = [_picture(result.reconstruction, picture) for result in sent]
        scores = world.judge.scores([picture.original] * len(images), images)
        rows += [
            {"set": picture.set, "picture": picture.name, "seed": seed} | keys | {"method": name}
            | {"bytes": result.bytes.total_bytes, "at_floor": int(plan.at_floor)} | score
            for seed, result, score in zip(seeds, sent, scores, strict=True)
        ]  # fmt: skip
    return rows


def _picture(made: Reconstruction | None, picture: Picture) -> ImageArray:
    """A file that did not arrive is a grey picture."""
    return grey_like(picture.image) if made is None else made.image


def report(rows: list[Row]) -> str:
    """Means, ours minus the others, and accuracy as a share of the clean one."""
    means, against = [], []
    for (at, rate), found in groups(rows, "at", "rate"):
        ours = where(found, method=OURS)
        for method in METHODS:
            here = where(found, method=method)
            size = words(average(here, "bytes"), 0)
            means.append([at, rate, method, size, over_budget(here), *metric_cells(here, SHOWN)])
            if method != OURS:
                cells = difference_cells(ours, here, SHOWN)
                against.append([at, rate, method, *cells])
    return "\n".join(
        [
            f"{sizes(where(rows, rate=PAPER_RATE))}. Every method has the bytes of the named codec for that picture, "
            "all counted: lami_go sends all tokens and as much RaptorQ repair as fits, jpeg2000 the best file that "
            "fits, without and with the RaptorQ redundancy that has the best PSNR to expect; a file that does not "
            "arrive is scored as a grey picture; at lami_go's bytes feature_imputing withholds what does not fit. At "
            "its floor: frames over the budget, as the codec cannot do with less.\n",
            table(["at the bytes of", "packets lost", "method", "bytes", "at its floor", *heads(SHOWN)], means),
            "feature_imputing minus the others (distance: negative is better):\n",
            table(["at the bytes of", "packets lost", "minus", *heads(SHOWN)], against),
            f"Semantic accuracy with {PAPER_RATE:.0%} of the packets lost, as a share of that without loss (the paper: "
            f"{PAPER_SHARE:.0%} accuracy, of another classifier, on other pictures):\n",
            table(["at the bytes of", "method", "semantic accuracy", "accuracy among ten"], shares(rows)),
        ]
    )


def shares(rows: Sequence[Row]) -> list[list[object]]:
    """Of each method at each number of bytes: accuracy at the paper's loss beside that without."""
    return [
        [at, method, *(share_of_clean(found, PAPER_RATE, field) for field in ACCURACY)]
        for (at, method), found in groups(rows, "at", "method")
    ]


def over_budget(rows: Sequence[Row]) -> str:
    """ "3 of 24": frames whose codec could not keep to the budget."""
    return f"{sum(row.get('at_floor', 0) for row in rows)} of {len(rows)}"


def share_of_clean(rows: Sequence[Row], rate: float, field: str) -> str:
    """ "0.720 of 0.900: 80 %"."""
    clean, lossy = (average(where(rows, rate=r), field) for r in (0.0, rate))
    if not clean or not lossy:
        return "–"
    share = f"{lossy[0] / clean[0]:.0%}" if clean[0] else "–"
    return f"{lossy[0]:.3f} of {clean[0]:.3f}: {share}"


def draw(rows: list[Row], out: Path) -> list[str]:
    """peers.png."""
    panels = [
        [_panel(where(rows, at=at), field, at) for field in ("distance", "correct_10", "psnr_db")] for at in (OWN, LOW)
    ]
    plot(panels, f"At equal total bytes\n{sizes(rows)}", out / "peers.png")
    return ["peers.png"]


def _panel(rows: Sequence[Row], field: str, at: str) -> Panel:
    lines = [curve(method, where(rows, method=method), "rate", RATES, field, band=method == OURS) for method in METHODS]
    return Panel("packets lost", METRICS[field][0], lines, f"at {at} bytes")


PART = Part("peers", "Against jpeg2000 and lami_go at equal total bytes", measure, report, draw)
