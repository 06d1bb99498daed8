"""Loss up to 90 %: where imputation turns into invention.

What is imputed is known where draws agree with each other and with the original. Each received frame is imputed several
times from other noise: their spread says what the net does not know, the class they show whether it matters.
"""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from torch.nn import functional as F

from gocom.evaluation.feature_imputing.counts import COUNTS
from gocom.evaluation.feature_imputing.world import SETS, World
from gocom.evaluation.report.plots import Line, Panel, plot
from gocom.evaluation.study.curves import curve
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import METRICS, average, groups, sizes, table, where, words
from gocom.evaluation.study.world import Job, Picture, Row

RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.48, 0.6, 0.7, 0.8, 0.9)
MEAN, DRAWN = "no noise", "drawn noise"
COLUMNS = {
    "agrees": METRICS["agrees"],
    "correct": METRICS["correct"],
    "distance": METRICS["distance"],
    "psnr_db": METRICS["psnr_db"],
    "alike": ("draws that show the same class as each other", 3),
    "apart": ("deep-feature distance between draws", 3),
    "spread": ("deviation between draws, of 255", 1),
}
_SEEDS_APART = 1000


def measure(world: World) -> list[Row]:
    """The default sampler once, drawn noise several times, for the same received packets."""
    rows: list[Row] = []
    for picture in world.each(world.pictures(SETS[1], COUNTS.invention), "invention"):
        for rate in RATES:
            channel = f"packet_erasure:rate={rate}"
            for seed in range(COUNTS.invention_seeds):
                rows += world.rows([world.job(picture, {"rate": rate, "start": MEAN}, channel, seed=seed)])
                rows += _draws(world, picture, rate, channel, seed)
    return rows


def _draws(world: World, picture: Picture, rate: float, channel: str, seed: int) -> list[Row]:
    sent = world.send(picture, channel, seed=seed, deterministic=False)
    keys = {"rate": rate, "start": DRAWN}
    jobs = [Job(picture, keys, sent, seed + _SEEDS_APART * (1 + n)) for n in range(COUNTS.invention_draws)]
    made = world.decode(jobs)
    images = [picture_.image for picture_ in made]
    features = world.judge.features(images)
    guesses, unit = world.judge.guesses(features), F.normalize(features, dim=1)
    pairs = list(combinations(range(len(jobs)), 2))
    between: dict[str, Any] = {
        "alike": float(np.mean([guesses[a] == guesses[b] for a, b in pairs])),
        "apart": float(np.mean([1 - float(unit[a] @ unit[b]) for a, b in pairs])),
        "spread": float(255 * np.stack(images).std(0, ddof=1).mean()),
    }
    return [row | {"seed": seed} | between for row in world.judged(jobs, world.scores(jobs, made))]


HEAD = ("packets lost", "begun with", *(name for name, _ in COLUMNS.values()))


def lines(rows: list[Row]) -> list[list[object]]:
    """Of a table with this head: means by loss."""
    return [
        [rate, start, *(words(average(found, field), digits) for field, (_, digits) in COLUMNS.items())]
        for (rate, start), found in groups(rows, "rate", "start")
    ]


def report(rows: list[Row]) -> str:
    """Means by loss."""
    return "\n".join(
        [
            f"{sizes(rows)}, {COUNTS.invention_draws} draws each. {MEAN}: the default sampler; {DRAWN}: the paper's.\n",
            table(HEAD, lines(rows)),
            *(f"- {line}\n" for line in findings(rows)),
        ]
    )


def findings(rows: list[Row]) -> list[str]:
    """The loss from which on half of what is seen without loss is gone for good."""
    found = []
    for start, field, what in (
        (MEAN, "agrees", "The default sampler's picture shows the original's class"),
        (DRAWN, "agrees", "A drawn picture shows the original's class"),
        (DRAWN, "alike", "Two draws show the same class as each other"),
    ):
        means = {rate: average(where(rows, start=start, rate=rate), field) for rate in RATES}
        share = {rate: value[0] for rate, value in means.items() if value is not None}
        if 0.0 in share:
            kept = [rate for rate in share if share[rate] >= share[0.0] / 2]
            found.append(
                f"{what} in {share[0.0]:.0%} of the cases without loss; in more than half as many up to "
                f"{max(kept):.0%} of the packets lost."
            )
    return found


def draw(rows: list[Row], out: Path) -> list[str]:
    """invention.png."""
    classes = [("agrees", MEAN, "default, as the original"), ("agrees", DRAWN, "drawn, as the original"),
               ("alike", DRAWN, "drawn, as another draw")]  # fmt: skip
    far = [("distance", MEAN, "default, from the original"), ("distance", DRAWN, "drawn, from the original"),
           ("apart", DRAWN, "drawn, from another draw")]  # fmt: skip
    panels = [
        Panel("packets lost", "share showing the same class", [_line(rows, *one) for one in classes]),
        Panel("packets lost", "deep-feature distance", [_line(rows, *one) for one in far]),
        Panel("packets lost", COLUMNS["spread"][0], [_line(rows, "spread", DRAWN, "drawn")]),
    ]
    plot([panels], f"Where imputation turns into invention\n{sizes(rows)}", out / "invention.png")
    return ["invention.png"]


def _line(rows: list[Row], field: str, start: str, label: str) -> Line:
    return curve(label, where(rows, start=start), "rate", RATES, field)


PART = Part("invention", "Loss up to 90 %: imputation and invention", measure, report, draw)
