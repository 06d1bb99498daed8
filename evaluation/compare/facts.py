"""What was run, what is counted, and how it is decided who is better: in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gocom.evaluation.compare.axes import percent
from gocom.evaluation.compare.cells import Cell
from gocom.evaluation.compare.methods import Protection
from gocom.evaluation.compare.summary import MIN_PICTURES, OVERSPENT, Results
from gocom.evaluation.compare.tables import rate_words
from gocom.evaluation.measure.metrics import PSNR_CAP_DB
from gocom.evaluation.report.tables import Table

_METHODS = {
    "": ("lami_go and its like", "a semantic codec: degrades where packets are missing, keeps what fits its bytes"),
    Protection.NONE.value: ("jpeg", "a file in packets: any loss loses the picture, as most decoders have it"),
    Protection.FEC.value: ("jpeg+fec", "scale, quality and RaptorQ redundancy for the best PSNR to expect"),
    Protection.ARQ.value: (
        "jpeg+arq", "missing packets are asked for again, 8 rounds at most; feedback counts, and always arrives"
    ),
}  # fmt: skip


def ran(results: Results, about: Mapping[str, Any]) -> list[str]:
    """Counts from the rows; command, commit, nets and environment from results.json, those there are."""
    found = [f"{_count(results.methods, 'method')}: {', '.join(results.methods)}."]
    found += [_of_set(results, about, name) for name in results.sets]
    found.append(
        f"{len(results.rows):,} frames. A channel without randomness is run with the first seed only. With the same "
        "seed every method meets the same losses, as far as they do not depend on the size of packets."
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
    """What the bytes are of, and how failures are scored."""
    failed = sum(row["failed"] for row in results.rows)
    found = [
        "Bytes are all bytes of a frame: headers, packets, captions, masks, repair, every round, and feedback; not "
        "the framing of HTTP/2 and the hello of a session, which all methods share. Frame headers are never lost or "
        f"damaged. A frame without a picture is scored as a mid-grey one: {failed:,} of {len(results.rows):,} frames."
    ]
    if capped := sum(row["psnr_db"] == float("inf") for row in results.rows):
        found.append(
            f"{capped:,} pictures came out equal to the original; their infinite PSNR counts as {PSNR_CAP_DB:g} dB."
        )
    floor = [row for row in results.rows if row["at_floor"]]
    if floor:
        names = ", ".join(name for name in results.methods if any(row["method"] == name for row in floor))
        over = sum(row["bytes_total"] > (row["budget_bytes"] or 0) for row in floor)
        found.append(
            f"In {len(floor):,} frames ({names}) even the smallest file was expected to take more than its budget; "
            f"{over:,} did. A method that took over {100 * OVERSPENT - 100:.0f} % more than the semantic codec, "
            "clearly or because of such files, does not compete with it: its numbers are in brackets, and it neither "
            "wins nor loses."
        )
    return found


def decided() -> list[str]:
    """How a winner is called."""
    return [
        "Intervals are Student's (95 %) over pictures of the mean over seeds. Two methods are compared by the paired t "
        "test over the pictures that both have, with Holm's correction for all comparisons of one metric in one set, "
        "at every rate and channel: of equals, about one such metric in twenty would have a false difference at all. "
        "The best mean has won where it differs so from every other, else they are level. A semantic codec has won "
        "where it is better than every classical method, and lost where at least one is better. Fewer than "
        f"{MIN_PICTURES} pictures decide nothing.",
        "Files are sent at the scale, quality and protection that promise the highest PSNR on that channel, whose "
        "statistics the sender knows and whose draws it does not; at these points they are judged by the other "
        "metrics, too, and where the draw was worse than promised, protection may have been too weak. A semantic "
        "codec has the one setting of its name on every channel, and one round.",
    ]


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
    return Table("What the words mean", (), ("as it is written", "what it is"), tuple(lines))


def channels_met(results: Results) -> Table | None:
    """What the channels did, beside what they promise."""
    lines = []
    for channel in results.channels:
        sent, lost = results.packets(channel)
        if sent:
            axis = results.axes[channel]
            expected = results.promised[channel]
            lines.append((axis.label, percent(round(expected, 3)), percent(round(lost / sent, 3)), f"{sent:,}"))
    notes = (
        "Packets that were lost, of all that were sent, over methods, rates, pictures and seeds. Faults that know "
        "sizes take large packets more often; what they promise is for full ones.",
    )
    head = ("channel", "promised", "met", "packets")
    return Table("What the channels did", notes, head, tuple(lines)) if lines else None


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
