"""Parts and their files: `<part>.json` with every row, `<part>.md`, PNGs, and the README made of them all."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from gocom.common.nets.loading import resolve_device
from gocom.common.systems import SYSTEMS
from gocom.common.zoo import fingerprint
from gocom.evaluation.study.tables import table, values_of, where
from gocom.evaluation.study.world import Row, World

COUNTED = (
    "Bytes are all bytes of a frame: headers, packets, captions, masks, repair, all rounds and feedback. Intervals are "
    "Student's (95 %) over pictures, of the mean over seeds; differences are paired by picture. Pictures are cut to "
    "256x256. Payloads are of 105 bytes."
)
ABSENT = (
    "FID and LPIPS, which papers report, need weights that are not here: deep-feature distance (1 - cosine of "
    "EfficientNet-lite2's features, 0 is best) stands for LPIPS; `gocom eval` has a kernel distance for sets of 500 "
    "pictures and more."
)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a study.

    Attributes:
        name: of its files.
        title: its heading.
        measure: does the work; rows of JSON values.
        report: rows -> Markdown.
        draw: rows, folder -> names of the PNGs it wrote there.
    """

    name: str
    title: str
    measure: Callable[[Any], list[Row]]
    report: Callable[[list[Row]], str]
    draw: Callable[[list[Row], Path], list[str]] = lambda rows, out: []


@dataclass(frozen=True, slots=True)
class Study:
    """The study of one codec; it lies in the package evaluation/<codec>.

    Attributes:
        codec: as registered.
        make_world: from sources, device and limit.
        parts: in order.
        sets: of pictures that it needs.
        sampler: the sampler's defaults, a dataclass; results of others are out of date.
        counts: of pictures and seeds, a dataclass; fields `<part>` and `<part>_*` are a part's, and its results with
            others are out of date.
        other_codecs: whose nets it uses besides.
    """

    codec: str
    make_world: Callable[[dict[str, Path], str, int | None], World]
    parts: tuple[Part, ...]
    sets: tuple[str, ...]
    sampler: Any
    counts: Any
    other_codecs: tuple[str, ...] = ()

    def nets(self) -> dict[str, str]:
        """Name -> first digits of the fingerprint of each net it uses."""
        names = {name for codec in (self.codec, *self.other_codecs) for name in SYSTEMS.get(codec).knowledge}
        return {name: fingerprint(name).hex()[:8] for name in sorted(names)}

    def setting(self, world: World) -> dict[str, Any]:
        """What a result depends on besides the code."""
        device = resolve_device(world.device)
        return {
            "sources": {name: path.name for name, path in world.sources.items()},
            "limit": world.limit,
            "machine": platform.machine(),
            "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
            "torch_threads": torch.get_num_threads(),
            "sampler": self._sampler(),
            "nets": self.nets(),
        }

    def stale(self, result: Mapping[str, Any]) -> bool:
        """Measured with other nets, sampler defaults or counts than there are now."""
        now = (self.nets(), self._sampler(), self.counts_of(result["part"]))
        return (result["nets"], result["sampler"], result.get("counts")) != now

    def counts_of(self, part: str) -> dict[str, int]:
        """How many pictures and seeds a part takes, by field."""
        return {k: v for k, v in asdict(self.counts).items() if k == part or k.startswith(f"{part}_")}

    def _sampler(self) -> dict[str, Any]:
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self.sampler)))
        return plain


def write_result(out: Path, part: Part, rows: list[Row], seconds: float, about: Mapping[str, Any]) -> None:
    """`<part>.json`, in one go: a run that is cut short leaves no half of it."""
    out.mkdir(parents=True, exist_ok=True)
    lines = ",\n".join(json.dumps(row) for row in rows)
    head = json.dumps({"part": part.name, "seconds": round(seconds), **about}, indent=1)
    unfinished = out / f"{part.name}.json.part"
    unfinished.write_text(head.removesuffix("\n}") + f',\n "rows": [\n{lines}\n]}}\n')
    os.replace(unfinished, out / f"{part.name}.json")


def read_result(out: Path, part: Part) -> dict[str, Any] | None:
    """What `write_result` wrote; None: nothing."""
    path = out / f"{part.name}.json"
    return json.loads(path.read_text()) if path.is_file() else None


def write_report(out: Path, part: Part, rows: list[Row]) -> str:
    """`<part>.md` and the PNGs; returns the Markdown."""
    pictures = [f"![{name}]({name})\n" for name in part.draw(rows, out)]
    text = "\n".join([f"## {part.title}\n", part.report(rows), *pictures])
    (out / f"{part.name}.md").write_text(text)
    return text


def write_readme(out: Path, study: Study) -> None:
    """README.md, and each part's report again, from the JSON files that are there."""
    found = [(part, result) for part in study.parts if (result := read_result(out, part)) is not None]
    if not found:
        return
    reports = [write_report(out, part, result["rows"]) for part, result in found]
    lines = [_line(part, result, study.sets) for part, result in found]
    made = table(["part", "pictures", "seeds", "seconds", "machine", "nets"], lines)
    first = found[0][1]
    said = (_command(first, study), COUNTED, "", _sampler(first), "", ABSENT, "", made)
    (out / "README.md").write_text("\n".join([f"# {study.codec}, measured\n", *said, *reports]))


def _command(result: Mapping[str, Any], study: Study) -> str:
    sources = result["sources"]
    named = " ".join(f"--{name} {sources[name]}" for name in study.sets if name in sources)
    limit = "" if result["limit"] is None else f" --limit {result['limit']}"
    return f"```bash\npython -m gocom.evaluation.{study.codec} {named} --out docs/results/{study.codec}{limit}\n```\n"


def _sampler(result: Mapping[str, Any]) -> str:
    said = ", ".join(f"{name} {value}" for name, value in result["sampler"].items())
    return f"The sampler's defaults, where nothing else is said: {said}."


def _line(part: Part, result: Mapping[str, Any], sets: Sequence[str]) -> list[Any]:
    rows = result["rows"]
    counts = {name: len(values_of(where(rows, set=name), "picture")) for name in sets}
    pictures = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    seeds = ", ".join(map(str, sorted(values_of(rows, "seed")))) or "–"
    machine = f"{result['machine']}, {result['device']}, {result['torch_threads']} torch threads"
    nets = ", ".join(f"{name} {digest}" for name, digest in result["nets"].items())
    return [part.name, pictures, seeds, result["seconds"], machine, nets]
