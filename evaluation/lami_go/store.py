"""Parts and their files: `<part>.json` with every row, `<part>.md`, PNGs, and the README made of them all."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from common.models import held_knowledge
from common.nets.loading import resolve_device
from evaluation.lami_go.tables import SETS, table, values_of, where
from evaluation.lami_go.world import Row, World
from receiver.samplers.latent_mixture import SamplerSettings

ABSENT = (
    "FID and LPIPS, which the paper reports, need weights that are not here: deep-feature distance (1 - cosine of "
    "EfficientNet-lite2's features, 0 is best) stands for LPIPS; `gocom eval` has a kernel distance for sets of 500 "
    "pictures and more."
)
COUNTED = (
    "Bytes are all bytes of a frame: headers, packets, captions, masks, repair, all rounds and feedback. Intervals are "
    "95 % bootstrap over pictures, of the mean over seeds; differences are paired by picture. Pictures are cut to "
    "256x256. Payloads are of 105 bytes and the sampler takes 4/8 steps (tau/T) where nothing else is said."
)


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the study.

    Attributes:
        name: of its files.
        title: its heading.
        measure: does the work; rows of JSON values.
        report: rows -> Markdown.
        draw: rows, folder -> names of the PNGs it wrote there.
    """

    name: str
    title: str
    measure: Callable[[World], list[Row]]
    report: Callable[[list[Row]], str]
    draw: Callable[[list[Row], Path], list[str]] = lambda rows, out: []


def setting(world: World) -> dict[str, Any]:
    """What a result depends on besides the code."""
    device = resolve_device(world.device)
    return {
        "sources": {name: path.name for name, path in world.sources.items()},
        "limit": world.limit,
        "machine": platform.machine(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "torch_threads": torch.get_num_threads(),
        "sampler": asdict(SamplerSettings()),
        "nets": _nets(),
    }


def _nets() -> dict[str, str]:
    return {name: digest.hex()[:8] for name, digest in held_knowledge().items()}


def stale(result: Mapping[str, Any]) -> bool:
    """Measured with other nets or other sampler defaults than there are now."""
    return bool(result["nets"] != _nets() or result["sampler"] != json.loads(json.dumps(asdict(SamplerSettings()))))


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


def write_readme(out: Path, parts: Iterable[Part]) -> None:
    """README.md, and each part's report again, from the JSON files that are there."""
    found = [(part, result) for part in parts if (result := read_result(out, part)) is not None]
    if not found:
        return
    reports = [write_report(out, part, result["rows"]) for part, result in found]
    lines = [_line(part, result) for part, result in found]
    made = table(["part", "pictures", "seeds", "seconds", "machine", "nets"], lines)
    results = [result for _, result in found]
    text = [
        "# lami_go, measured\n",
        _command(results[0]),
        COUNTED,
        "",
        _sampler(results[0]),
        "",
        ABSENT,
        "",
        made,
        *reports,
    ]
    (out / "README.md").write_text("\n".join(text))


def _command(result: Mapping[str, Any]) -> str:
    sources = result["sources"]
    named = " ".join(f"--{name} {sources[name]}" for name in SETS if name in sources)
    limit = "" if result["limit"] is None else f" --limit {result['limit']}"
    return f"```bash\npython -m evaluation.lami_go {named} --out docs/results/lami_go{limit}\n```\n"


def _sampler(result: Mapping[str, Any]) -> str:
    return "The sampler's defaults: " + ", ".join(f"{name} {value}" for name, value in result["sampler"].items()) + "."


def _line(part: Part, result: Mapping[str, Any]) -> list[Any]:
    rows = result["rows"]
    counts = {name: len(values_of(where(rows, set=name), "picture")) for name in SETS}
    pictures = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    seeds = ", ".join(map(str, sorted(values_of(rows, "seed")))) or "–"
    machine = f"{result['machine']}, {result['device']}, {result['torch_threads']} torch threads"
    nets = ", ".join(f"{name} {digest}" for name, digest in result["nets"].items())
    return [part.name, pictures, seeds, result["seconds"], machine, nets]
