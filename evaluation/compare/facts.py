"""What was run, what is counted, and how it is decided who is better: in sentences."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gocom.evaluation.compare.cells import Cell
from gocom.evaluation.compare.methods import Protection
from gocom.evaluation.compare.summary import OVERSPENT, Results
from gocom.evaluation.compare.tables import rate_words
from gocom.evaluation.measure.metrics import PSNR_CAP_DB
from gocom.evaluation.measure.statistics import MIN_PICTURES
from gocom.evaluation.report.tables import Table

_METHODS = {
    "": ("lami_go and its like", "a semantic codec: degrades where packets are missing, keeps what fits its bytes"),
    Protection.NONE.value: ("jpeg", "a file in packets: any loss loses the picture, as most decoders have it"),
    Protection.FEC.value: ("jpeg+fec", "scale, quality and RaptorQ redundancy for the best PSNR to expect"),
    Protection.ARQ.value: (
        "jpeg+arq", "missing packets are asked for again, 8 rounds at most; feedback counts, and always arrives"
    ),
}  # fmt: skip
_RECORD = ("command", "commit", "created", "size_px", "nets", "environment", "link")
"""Of results.json, what the page repeats."""


def ran(results: Results, about: Mapping[str, Any]) -> tuple[Table, ...]:
    """The sets as the rows have them, and the record of results.json."""
    lines = []
    for name in results.sets:
        rows = [row for row in results.rows if row["set"] == name]
        source = (about.get("sets") or {}).get(name, {}).get("source", name)
        channels = [channel for channel in results.channels if any(row["channel"] == channel for row in rows)]
        seeds = sorted({row["seed"] for row in rows})
        lines.append((
            name, source, str(len({row["picture"] for row in rows})),
            ", ".join(map(rate_words, results.rates_of(name))), "; ".join(channels), ", ".join(map(str, seeds)),
            f"{len(rows):,}",
        ))  # fmt: skip
    head = ("set", "from", "pictures", "rates", "channels", "channel seeds", "frames")
    known = [(key, about[key]) for key in _RECORD if about.get(key)]
    record = tuple((key, value if isinstance(value, str) else json.dumps(value)) for key, value in known)
    return Table("Sets", (), head, tuple(lines)), Table("Record", (), ("", ""), record)


def counted(results: Results) -> tuple[str, ...]:
    """What the bytes are of, how failures are scored, and how losses are drawn."""
    failed = sum(row["failed"] for row in results.rows)
    capped = sum(row["psnr_db"] == float("inf") for row in results.rows)
    return (
        "Bytes are all bytes of a frame: headers, packets, captions, masks, repair, every round, and feedback; not "
        "the framing of HTTP/2 and the hello of a session, which all methods share. Frame headers are never lost or "
        "damaged.",
        f"A frame without a picture is scored as a mid-grey one: {failed:,} of {len(results.rows):,} frames. "
        f"{capped:,} pictures came out equal to the original; their infinite PSNR counts as {PSNR_CAP_DB:g} dB.",
        "A channel without randomness is run with the first seed only. With the same seed every method meets the same "
        "losses, as far as they do not depend on the size of packets.",
    )


def decided() -> tuple[str, ...]:
    """How a winner is called."""
    return (
        "Intervals are Student's (95 %) over pictures of the mean over seeds. Two methods are compared by the paired t "
        "test over the pictures that both have, with Holm's correction for all comparisons of one metric in one set, "
        "at every rate and channel: of equals, about one such metric in twenty would have a false difference at all. "
        "The best mean has won where it differs so from every other, else they are level. A semantic codec has won "
        "where it is better than every classical method, and lost where at least one is better. Fewer than "
        f"{MIN_PICTURES} pictures decide nothing.",
        f"A method that took over {100 * OVERSPENT - 100:.0f} % more bytes than the semantic codec, clearly or because "
        "there is no smaller file, does not compete: its numbers are in brackets, and it neither wins nor loses.",
        "Files are sent at the scale, quality and protection that promise the highest PSNR on that channel, whose "
        "statistics the sender knows and whose draws it does not; at these points they are judged by the other "
        "metrics, too, and where the draw was worse than promised, protection may have been too weak. A semantic "
        "codec has the one setting of its name on every channel, and one round.",
    )


def meant(results: Results) -> Table:
    """The words of the page."""
    kinds = {kept.protection if kept.classical else "" for kept in results.methods.values()}
    lines = [_METHODS[kind] for kind in _METHODS if kind in kinds]
    if None in results.rates and results.semantic:
        name = results.semantic[0]
        cells = [Cell(set_name, name, None, channel) for set_name in results.sets for channel in results.channels]
        sizes = [size[0] for cell in cells if (size := results.average(cell, "bytes_total"))]
        mean = sum(sizes) / max(1, len(sizes))
        lines.append(("the codec's own rate", f"what {name} takes when no rate is set: {mean:,.0f} bytes a picture"))
    metrics = {metric.field: metric for name in results.sets for metric in results.metrics(name)}
    lines += [(metric.title, metric.meaning) for metric in metrics.values()]
    return Table("", (), ("as it is written", "what it is"), tuple(lines))
