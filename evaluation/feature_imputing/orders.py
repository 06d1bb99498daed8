"""Packet order by loss: does it matter what shares a packet?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gocom.common.systems.feature_imputing import PacketOrder
from gocom.common.types import LinkSettings
from gocom.evaluation.feature_imputing.counts import COUNTS
from gocom.evaluation.feature_imputing.world import SETS, World
from gocom.evaluation.report.plots import Panel, plot
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
from gocom.evaluation.study.world import Job, Picture, Row

RATES = (0.05, 0.1, 0.2, 0.3, 0.48, 0.65, 0.8)
SPATIAL, CHANNEL, RANDOM = (order.value for order in (PacketOrder.SPATIAL, PacketOrder.CHANNEL, PacketOrder.RANDOM))
ARMS = {
    SPATIAL: (SPATIAL, True),
    "spatial, strips": (SPATIAL, False),
    CHANNEL: (CHANNEL, True),
    RANDOM: (RANDOM, True),
}
"""Arm -> packet order, and whether units are interleaved: without, a packet is a strip of the picture."""
SHOWN = ("psnr_db", "distance", "agrees", "correct")


def measure(world: World) -> list[Row]:
    """Both sets."""
    rows: list[Row] = []
    for name in SETS:
        for picture in world.each(world.pictures(name, COUNTS.orders), f"orders {name}"):
            rows += world.rows(_jobs(world, picture))
    return rows


def _jobs(world: World, picture: Picture) -> list[Job]:
    jobs = []
    for rate in RATES:
        for arm, (order, interleave) in ARMS.items():
            jobs += world.jobs(
                picture, {"arm": arm, "rate": rate}, f"packet_erasure:rate={rate}", COUNTS.orders_seeds,
                packet_order=order, link=LinkSettings(interleave=interleave),
            )  # fmt: skip
    return jobs


def report(rows: list[Row]) -> str:
    """Means, and spatial minus the others."""
    means, against = [], []
    for (name, rate), found in groups(rows, "set", "rate"):
        ours = where(found, arm=SPATIAL)
        for arm in ARMS:
            others = where(found, arm=arm)
            means.append([name, rate, arm, words(average(others, "missing"), 2), *metric_cells(others, SHOWN)])
            if arm != SPATIAL:
                cells = difference_cells(ours, others, SHOWN)
                against.append([name, rate, arm, *cells])
    return "\n".join(
        [
            f"{sizes(rows)}. `spatial`: all channels of a patch share a packet, patches are scattered over packets; "
            "strips: the same without the interleaver, a packet is a strip of the picture; `channel`: a stretch of one "
            "channel; `random`: features from anywhere.\n",
            table(["set", "packets lost", "order", "features missing", *heads(SHOWN)], means),
            "Spatial minus the others (distance: negative is better):\n",
            table(["set", "packets lost", "minus", *heads(SHOWN)], against),
        ]
    )


def draw(rows: list[Row], out: Path) -> list[str]:
    """orders.png."""
    found = where(rows, set=SETS[1]) or rows
    panels = [[_panel(found, field) for field in ("distance", "agrees", "psnr_db")]]
    plot(panels, f"Packet orders by loss\n{sizes(found)}", out / "orders.png")
    return ["orders.png"]


def _panel(rows: Sequence[Row], field: str) -> Panel:
    lines = [
        curve(arm, where(rows, arm=arm), "rate", RATES, field, band=arm == SPATIAL, color=f"C{number}")
        for number, arm in enumerate(ARMS)
    ]
    return Panel("packets lost", METRICS[field][0], lines)


PART = Part("orders", "Packet orders by loss", measure, report, draw)
