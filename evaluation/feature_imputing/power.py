"""Power of packets over block fading: equal, water-filling, by importance, at the same total power."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.channel_state import InstantaneousCsiQuery, compute_csi
from gocom.common.channel_spec import parse_spec
from gocom.common.csi import Csi, CsiKind
from gocom.common.systems.feature_imputing import Importance
from gocom.common.types import LinkSettings, PowerAllocation
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
from gocom.transmitter.resources.repair_and_power import Delivery

SNRS_DB = (6, 8, 10)
CHANNEL = "block_fading:snr_db={snr_db},coherence=4"
PAYLOAD_BYTES = LinkSettings().max_payload_bytes
EQUAL, WATER = PowerAllocation.EQUAL.value, PowerAllocation.WATER_FILLING.value
SEMANTIC = PowerAllocation.SEMANTIC.value
MEAN_KNOWN, GAINS_KNOWN = CsiKind.STATISTICAL.value, CsiKind.INSTANTANEOUS.value
WHOLE, APART = "no region", "region of interest apart"
LAYOUTS: dict[str, dict[str, Any]] = {WHOLE: {}, APART: {"roi_share": 0.25}}
"""What shares a packet: patches from anywhere, or those of the worthiest quarter among themselves."""
CASES = ((MEAN_KNOWN, EQUAL), (MEAN_KNOWN, SEMANTIC), (GAINS_KNOWN, WATER), (GAINS_KNOWN, SEMANTIC))
"""What is known, and how power is chosen: of the mean SNR alone water-filling makes equal power."""
ALIKE = "semantic, all alike"
"""The rule for power by importance, every packet said to be worth the same: what it gains is not the map's."""
SHOWN = ("psnr_db", "distance", "agrees", "correct")


def channel_state(channel: str, seed: int, frame_index: int, packets: int, kind: str) -> Csi:
    """What a transmitter that asks the emulator knows of the round to come."""
    instant = InstantaneousCsiQuery(frame_index, 0, packets) if kind == GAINS_KNOWN else None
    return compute_csi(Chain.from_profile(parse_spec(channel, seed=seed)), PAYLOAD_BYTES, instant)


def measure(world: World) -> list[Row]:
    """Labelled pictures."""
    rows: list[Row] = []
    for picture in world.each(world.pictures(SETS[1], COUNTS.power), "power"):
        rows += world.rows(_jobs(world, picture))
    return rows


def _jobs(world: World, picture: Picture) -> list[Job]:
    jobs = []
    for layout, options in LAYOUTS.items():
        packets = world.send(picture, "clean", seed=0, **options).rounds[0].packets_sent
        for snr_db, seed, (kind, power) in product(SNRS_DB, range(COUNTS.power_seeds), CASES):
            jobs.append(allocated(world, picture, {"layout": layout}, snr_db, seed, kind, power, packets, **options))
    packets = world.send(picture, "clean", seed=0).rounds[0].packets_sent
    keys, alike = {"layout": WHOLE, "power": ALIKE}, {"importance": Importance.UNIFORM.value}
    for snr_db, seed in product(SNRS_DB, range(COUNTS.power_seeds)):
        jobs.append(allocated(world, picture, keys, snr_db, seed, GAINS_KNOWN, SEMANTIC, packets, **alike))
    return jobs


def allocated(
    world: World, picture: Picture, keys: Row, snr_db: int, seed: int, kind: str, power: str, packets: int,
    **options: Any,
) -> Job:  # fmt: skip
    """A send over the fading channel; `keys` are the row's, besides SNR, what is known, and how power is chosen."""
    channel = CHANNEL.format(snr_db=snr_db)
    csi = channel_state(channel, seed, picture.index, packets, kind)
    keys = {"snr_db": snr_db, "known": kind, "power": power} | keys
    return world.job(
        picture, keys, channel, seed=seed, csi=csi, delivery=Delivery(PowerAllocation(power)), **options
    )  # fmt: skip


def report(rows: list[Row]) -> str:
    """Means, and by importance minus the others."""
    means, against = [], []
    for (layout, snr_db, kind, power), found in groups(rows, "layout", "snr_db", "known", "power"):
        label = "–" if power == EQUAL else kind
        cells = (words(average(found, "bytes"), 0), words(average(found, "missing"), 2), *metric_cells(found, SHOWN))
        means.append([layout, snr_db, label, power, *cells])
    for (layout, snr_db), here in groups(rows, "layout", "snr_db"):
        for kind in (MEAN_KNOWN, GAINS_KNOWN):
            ours = where(here, known=kind, power=SEMANTIC)
            others = [(EQUAL, where(here, power=EQUAL))]
            others.append((WATER, where(here, known=kind, power=WATER)))
            others.append((ALIKE, where(rows, snr_db=snr_db, known=kind, power=ALIKE)))  # has no region
            for name, other in others:
                if ours and other:
                    against.append([layout, snr_db, kind, name, *difference_cells(ours, other, SHOWN)])
    return "\n".join(
        [
            f"{sizes(rows)}, `{CHANNEL.format(snr_db='SNR')}` (BPSK, no code, four packets share a gain). The mean "
            "power of a frame's packets is 1 in every case. Known: the mean SNR (statistical; water-filling is then "
            "equal power), or the gain of each packet (instantaneous). With a region of interest apart, the quarter "
            "of the patches that is worth most shares packets with no others, so that packets differ more in worth. "
            "All alike: the same rule with every patch said to be worth the same; what is left to the map is the "
            "difference. Powers are on the wire: 4 bytes a packet.\n",
            table(["layout", "SNR in dB", "known", "power", "bytes", "features missing", *heads(SHOWN)], means),
            "By importance (semantic) minus the others (distance: negative is better):\n",
            table(["layout", "SNR in dB", "known", "minus", *heads(SHOWN)], against),
        ]
    )


def draw(rows: list[Row], out: Path) -> list[str]:
    """power.png."""
    panels = [
        [_panel(where(rows, layout=layout), field, layout) for field in ("correct", "agrees", "distance")]
        for layout in LAYOUTS
    ]
    plot(panels, f"Power allocation over block fading\n{sizes(rows)}", out / "power.png")
    return ["power.png"]


def _panel(rows: Sequence[Row], field: str, title: str) -> Panel:
    lines = [
        curve(power if power == EQUAL else f"{power}, {kind}", found, "snr_db", SNRS_DB, field, band=power == EQUAL)
        for (kind, power), found in groups(rows, "known", "power")
    ]
    return Panel("mean SNR in dB", METRICS[field][0], lines, title)


PART = Part("power", "Power allocation by SNR", measure, report, draw)
