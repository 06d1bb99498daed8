"""What was run, what is counted, and how it is decided who is better: in sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from evaluation.judge import RESAMPLES
from evaluation.sweep.cells import PSNR_CAP_DB
from evaluation.sweep.rows import Row
from evaluation.sweep.summary import MIN_PICTURES, OVERSPENT, Results
from evaluation.sweep.tables import rate_words


def ran(results: Results, about: Mapping[str, Any]) -> list[str]:
    """Counts from the rows; command, commit, nets and environment from results.json, those there are."""
    found = [f"{_count(results.methods, 'method')}: {', '.join(results.methods)}."]
    found += [_of_set(results, about, name) for name in results.sets]
    found.append(
        f"{len(results.rows):,} frames. A channel that leaves nothing to chance is sent over with the first seed only. "
        "With the same seed every method meets the same losses, as far as they do not depend on the size of packets."
    )
    if about.get("size_px"):
        found.append(f"Pictures are cut to their centre square and scaled to {about['size_px']} px a side.")
    for name, title in (("command", "Command"), ("commit", "Commit"), ("created", "Made")):
        if about.get(name):
            found.append(f"{title}: {about[name]}")
    for name, title in (("nets", "Nets"), ("environment", "Environment"), ("link", "Link")):
        if about.get(name):
            found.append(f"{title}: {_flat(about[name])}")
    return found


def _of_set(results: Results, about: Mapping[str, Any], name: str) -> str:
    rows = [row for row in results.rows if row["set"] == name]
    pictures = len({row["picture"] for row in rows})
    rates = [rate for rate in results.rates if any(row["rate_bpp"] == rate for row in rows)]
    channels = [channel for channel in results.channels if any(row["channel"] == channel for row in rows)]
    seeds = sorted({row["seed"] for row in rows})
    return (
        f"{pictures} picture{'' if pictures == 1 else 's'} of {_source(about, name)}, "
        f"{_count(rates, 'rate')} ({', '.join(map(rate_words, rates))}), "
        f"{_count(channels, 'channel')} ({'; '.join(channels)}), "
        f"{_count(seeds, 'channel seed')} ({', '.join(map(str, seeds))})."
    )


def counted(results: Results) -> list[str]:
    """What the bytes are of, how failures are scored, and whether the parts add up."""
    failed = sum(row["failed"] for row in results.rows)
    found = [
        "Bytes are all bytes of a frame: headers, packets, captions, masks, repair, every round, and feedback. "
        f"A frame without a picture is scored as a mid-grey one: {failed:,} of {len(results.rows):,} frames."
    ]
    if results.capped:
        found.append(
            f"{results.capped:,} pictures came out equal to the original; their infinite PSNR counts as "
            f"{PSNR_CAP_DB:g} dB."
        )
    wrong = sum(not _adds_up(row) for row in results.rows)
    found.append(
        "Header, segments and feedback add up to the total in every frame."
        if not wrong
        else f"Header, segments and feedback do not add up to the total in {wrong:,} of {len(results.rows):,} frames."
    )
    floor = sum(bool(row["at_floor"]) for row in results.rows)
    if floor:
        found.append(
            f"In {floor:,} frames the smallest file that a codec can make took more than its budget; the table of "
            f"bytes says by how much. A method that in the mean took over {100 * OVERSPENT - 100:.0f} % more than the "
            "semantic codec does not compete with it: its numbers are in brackets, and it neither wins nor loses."
        )
    return found


def decided() -> list[str]:
    """How a winner is called."""
    return [
        f"Intervals are 95 % bootstrap over pictures ({RESAMPLES} resamples) of the mean over seeds. Two methods are "
        "compared by the difference over the pictures that both have: the best mean has won where the intervals of "
        "its differences to all others exclude 0, the bootstrap's and Student's (the former is too narrow for few "
        f"pictures), else they are level. Fewer than {MIN_PICTURES} pictures decide nothing. Of many comparisons of "
        "equals about one in twenty would still be called a win or a loss.",
    ]


def _adds_up(row: Row) -> bool:
    segments = sum(json.loads(row["bytes_by_segment"] or "{}").values())
    return bool(row["bytes_header"] + segments + row["bytes_feedback"] == row["bytes_total"])


def _source(about: Mapping[str, Any], set_name: str) -> str:
    source = (about.get("sets") or {}).get(set_name, {}).get("source")
    return f"{set_name} ({source})" if source and source != set_name else set_name


def _count(items: Any, noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _flat(values: Mapping[str, Any]) -> str:
    """ "python 3.11, packages: torch 2.9, numpy 2.3"."""
    texts = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            texts.append(f"{name}: {_flat(value)}")
        else:
            texts.append(f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}")
    return ", ".join(texts)
