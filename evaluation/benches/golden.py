"""Golden metrics: what a few photos score today, so that a change of quality is seen in review.

    python -m gocom.evaluation.benches.golden            compare with tests/golden/metrics.json; exits 1 if one moved
    python -m gocom.evaluation.benches.golden --write    put today's values there; tolerances stay

What has no float in it is exact, and so are losses and failures: bytes and pixels of jpeg, webp and avif (with
Pillow as in constraints.txt). jpeg2000's wavelet is float, the same in every run of one build. Distances come from a
net. In lami_go a token or a draw on the edge falls to the other side now and then on other CPU kernels: one picture
moves where the mean hardly does. So a case has a wide tolerance, and the mean of a method over its cases on a channel
a narrow one. Four other kinds of kernels, and two threads, were tried, as in

    ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 python -m gocom.evaluation.benches.golden

Cases of lami_go differed by up to 0.10 dB, 0.009 MS-SSIM, 0.022 distance and no byte, means by 0.017 dB, 0.002 and
0.004. One denoising step more or less moves cases by up to 0.45 dB and means by up to 0.19 dB.
feature_imputing, whose features and default sampler have nothing drawn in them, differed by 0.0001 dB at most.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from gocom.client.command_process import run_command
from gocom.common.errors import InvalidInput
from gocom.common.image_files import ImageArray, square_crop, to_float
from gocom.evaluation.compare.methods import Method, Protection, parse_methods
from gocom.evaluation.measure.judge import Judge, grey_like
from gocom.evaluation.run.codec_setup import make_codec

Case = dict[str, Any]

PATH = Path(__file__).resolve().parents[2] / "tests" / "golden" / "metrics.json"
PHOTOS = ("astronaut", "coffee", "chelsea")
"""Of scikit-image, cropped as kodak256 is."""
METHODS = (
    "lami_go", "lami_go:masking=none", "feature_imputing",
    "jpeg:quality=50", "jpeg2000:quality=50", "webp:quality=50", "avif:quality=50",
)  # fmt: skip
SEEDS = {"clean": (1,), "packet_erasure:rate=0.2": (1, 2)}
"""By channel."""
KEYS = ("photo", "method", "channel", "seed")
FIELDS = {"bytes_total": 0, "psnr_db": 4, "ms_ssim": 5, "distance": 5, "failed": 0}
"""Name -> digits."""


REGENERATE = "python -m gocom.evaluation.benches.golden --write"


def photo(name: str) -> ImageArray:
    """A sample picture of scikit-image, float32 [3, 256, 256] in [0, 1]."""
    from skimage import data  # noqa: PLC0415 - slow

    return to_float(square_crop(np.ascontiguousarray(getattr(data, name)()), 256))


def measure(methods: Sequence[Method], photos: Sequence[str] = PHOTOS) -> Iterator[Case]:
    """Each photo by each method over each channel, on the CPU: KEYS and FIELDS, rounded."""
    judge, codecs = Judge("cpu"), {method.codec: make_codec(method.codec, "cpu") for method in methods}
    for name in photos:
        image = photo(name)
        original = judge.original(image)
        for method in methods:
            for channel, seed in ((channel, seed) for channel, seeds in SEEDS.items() for seed in seeds):
                options: dict[str, Any] = dict(method.options)
                sent = codecs[method.codec].send(image, channel, seed=seed, **options)
                made = sent.reconstruction
                (scores,) = judge.scores([original], [grey_like(image) if made is None else made.image])
                scores |= {"bytes_total": sent.bytes.total_bytes, "failed": int(made is None)}
                keys = {"photo": name, "method": method.name, "channel": channel, "seed": seed}
                yield keys | {field: round(scores[field], digits) for field, digits in FIELDS.items()}


def golden_methods() -> list[Method]:
    """METHODS, without protection."""
    return parse_methods(METHODS, (Protection.NONE,))


def means(cases: Iterable[Case]) -> list[Case]:
    """Of each method over its cases on a channel."""
    groups: dict[tuple[str, str], list[Case]] = {}
    for case in cases:
        groups.setdefault((case["method"], case["channel"]), []).append(case)
    return [
        {"photo": "mean", "method": method, "channel": channel, "seed": "all"}
        | {field: sum(case[field] for case in group) / len(group) for field in FIELDS}
        for (method, channel), group in groups.items()
    ]


def compare(golden: dict[str, Any], measured: Sequence[Case]) -> tuple[list[str], list[str]]:
    """Cases and their means against golden ones.

    Args:
        golden: "tolerances", by codec and for "case" and "mean" the largest allowed difference of each of FIELDS, and
            "cases".
        measured: the same cases.

    Returns:
        What moved by more than is allowed, or is on one side only, a line each; and the largest differences, a line
        a codec and kind.
    """
    moved: list[str] = []
    largest: dict[tuple[str, str], dict[str, float]] = {}
    pairs = {"case": (golden["cases"], measured), "mean": (means(golden["cases"]), means(measured))}
    for kind, (before, now) in pairs.items():
        known, found = ({tuple(case[key] for key in KEYS): case for case in cases} for cases in (before, now))
        moved += [f"{_words(key)}: not measured" for key in known.keys() - found.keys()]
        moved += [f"{_words(key)}: not in the golden file" for key in found.keys() - known.keys()]
        for key in (key for key in known if key in found):
            codec = key[1].partition(":")[0]
            allowed, seen = (
                golden["tolerances"][codec][kind],
                largest.setdefault((codec, kind), dict.fromkeys(FIELDS, 0.0)),
            )
            for field, digits in FIELDS.items():
                change = round(found[key][field] - known[key][field], 6)
                seen[field] = max(seen[field], abs(change))
                if abs(change) > allowed[field]:
                    values = f"{known[key][field]:.{digits}f} -> {found[key][field]:.{digits}f}"
                    moved.append(f"{_words(key)}: {field} {values} ({change:+g}, allowed {allowed[field]:g})")
    return moved, [f"{codec}, {kind}: {_fields(seen)}" for (codec, kind), seen in largest.items()]


def _words(key: tuple[Any, ...]) -> str:
    name, method, channel, seed = key
    return f"{name}, {method}, {channel}, seed {seed}"


def _fields(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def write(golden: dict[str, Any], path: Path) -> None:
    """Write the golden metrics as JSON, a line for each codec's tolerances and for each case: diffs show what moved."""
    tolerances = ",\n".join(f"  {json.dumps(name)}: {json.dumps(of)}" for name, of in golden["tolerances"].items())
    cases = ",\n".join(f"  {json.dumps(case)}" for case in golden["cases"])
    path.write_text(f'{{\n"tolerances": {{\n{tolerances}\n}},\n"cases": [\n{cases}\n]\n}}\n')


def main(
    anew: Annotated[bool, typer.Option("--write", help="Put what is measured into the file.")] = False,
    path: Annotated[Path, typer.Option(exists=True, dir_okay=False, help="The file.")] = PATH,
) -> None:
    """Golden metrics: compare, or write."""
    try:
        golden = json.loads(path.read_text())
    except ValueError as error:
        raise InvalidInput(f"path: {str(path)!r} is not JSON: {error}") from None
    measured = list(measure(golden_methods()))
    moved, largest = compare(golden, measured)
    typer.echo("\n".join(["largest differences:", *largest, *(["moved:", *moved] if moved else ["nothing moved"])]))
    if anew:
        write(golden | {"cases": measured}, path)
    elif moved:
        typer.echo(f"If that is meant: {REGENERATE}")
        raise typer.Exit(1)


if __name__ == "__main__":
    run_command(main)
