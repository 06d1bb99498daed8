"""Commands of `gocom` that evaluate: `gocom eval` and `gocom channel certify`.

The client finds them by entry points (pyproject.toml), so it starts where this package is left out. Torch and plots are
imported when a command runs: `gocom --help` imports this file.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gocom.client import console
from gocom.client.commands.send import Payload, report_skipped, report_unreadable
from gocom.client.console import CHANNEL, RECEIVER, TRANSMITTER, command, emit, note, say
from gocom.client.exit_status import FAILURE
from gocom.client.open_client import Target, open_client
from gocom.client.restored_channel import restored_channel
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.types import LinkSettings

if TYPE_CHECKING:
    from gocom.evaluation.compare.engine import ServicesEngine
    from gocom.evaluation.compare.grid import Grid

CODECS = "lami_go:mask_ratio=0,jpeg,jpeg2000,webp,avif"
CHANNELS = (
    "clean,packet_erasure:rate=0.05,packet_erasure:rate=0.1,packet_erasure:rate=0.2,packet_erasure:rate=0.5,"
    "gilbert_elliott:p=0.02,r=0.25,bit_flip:rate=1e-5,bit_flip:rate=1e-4,bit_flip:rate=1e-3,"
    "block_fading:snr_db=10,coherence=4,block_fading:snr_db=15,coherence=4,block_fading:snr_db=20,coherence=4"
)
RATES = "0.06,0.1,own"
LABELLED_CHANNELS = (
    "clean,packet_erasure:rate=0.05,packet_erasure:rate=0.1,packet_erasure:rate=0.2,packet_erasure:rate=0.5"
)
LABELLED_RATES = "0.1,own"
_OF_PAPERS = {
    "paper", "experiments", "images", "labelled", "street", "out", "count", "workers", "engine",
    "ray_address", "device", "as_json",
}  # fmt: skip
_STUDIES = sorted(path.stem for path in (Path(__file__).parent / "studies").glob("[!_]*.py"))
"""Systems with a study of ours. The registry knows those of plug-ins, too, but imports torch to find them."""


@command
def evaluate(
    context: typer.Context,
    images: Annotated[Path | None, typer.Option(exists=True, help="Folder or tar of pictures.")] = None,
    labelled: Annotated[
        Path | None, typer.Option(exists=True, help="Folder or tar of pictures with imagenette's class numbers.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of results (default: out/eval); a run that was cut short goes on there.")
    ] = None,
    codecs: Annotated[
        str,
        typer.Option(help="CODEC[:KEY=VALUE,...][+none|fec|arq], comma-separated; jpeg and its like go all 3 ways."),
    ] = CODECS,
    channels: Annotated[str, typer.Option(help="SPECs, comma-separated.")] = CHANNELS,
    rates: Annotated[str, typer.Option(help="Bits a pixel, all counted, or own: what the options come to.")] = RATES,
    count: Annotated[
        int | None, typer.Option(min=1, help="At most so many of --images; of every set with --paper.")
    ] = None,
    labelled_channels: Annotated[str, typer.Option(help="For --labelled.")] = LABELLED_CHANNELS,
    labelled_rates: Annotated[str, typer.Option(help="For --labelled.")] = LABELLED_RATES,
    labelled_count: Annotated[int, typer.Option(min=1, help="At most so many of --labelled.")] = 100,
    repeat: Annotated[int, typer.Option(min=1, max=1000, help="Channel seeds.")] = 5,
    labelled_repeat: Annotated[int, typer.Option(min=1, max=1000, help="For --labelled.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="The first channel seed.")] = 0,
    size: Annotated[int, typer.Option(help="Centre square crop of so many px, 64 to 1024.")] = 256,
    payload_bytes: Payload = 105,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes (default: one for each CPU).")] = None,
    engine: Annotated[
        str, typer.Option(help="processes of this machine, or ray: those of a Ray cluster (gocom\\[ray]).")
    ] = "processes",
    ray_address: Annotated[
        str | None, typer.Option(help="HOST:PORT of the cluster, for --engine ray (default: RAY_ADDRESS, or none).")
    ] = None,
    device: console.Device = "auto",
    services: Annotated[
        bool, typer.Option("--services", help="Send through running services, whose channel it sets.")
    ] = False,
    local: console.Local = False,
    transmitter: console.Transmitter = TRANSMITTER,
    receiver: console.Receiver = RECEIVER,
    channel_address: console.ChannelAddress = CHANNEL,
    paper: Annotated[
        str | None,
        typer.Option(help=f"Study of a system's paper instead: {', '.join(_STUDIES)}, all, or a plug-in's."),
    ] = None,
    experiments: Annotated[
        str | None, typer.Option(help="Only these of --paper, comma-separated; its page has all that were measured.")
    ] = None,
    street: Annotated[Path | None, typer.Option(exists=True, help="Street scenes, for --paper.")] = None,
    as_json: console.Json = False,
) -> None:
    """Compare codecs on the same pictures, losses and total bytes; write a CSV and a page.

    Exit status: 1 if a service failed, or a picture could not be read; the others are evaluated.
    """
    out = out or Path("out/eval" if paper is None else f"out/paper/{paper}")
    _belong_together(context, paper)
    _check_engine(engine, ray_address, services or local)
    pool: dict[str, Any] = {"workers": workers, "pool": engine, "ray_address": ray_address}
    if paper is not None:
        given = {"images": images, "labelled": labelled, "street": street}
        sources = {name: path for name, path in given.items() if path is not None}
        _study(paper, sources, out, experiments, count, device, as_json, pool)
        return
    from gocom.evaluation.compare.evaluate import evaluate as run  # noqa: PLC0415
    from gocom.evaluation.compare.grid import make_grid, picture_set  # noqa: PLC0415

    sets = []
    if images is not None:
        sets.append(picture_set("images", images, count, rates, channels, seed, repeat))
    if labelled is not None:
        chosen = labelled_rates, labelled_channels
        sets.append(picture_set("labelled", labelled, labelled_count, *chosen, seed, labelled_repeat))
    grid = make_grid(sets, codecs, size, LinkSettings(max_payload_bytes=payload_bytes))
    report_skipped([pictures.source for pictures in sets])
    for reason in grid.unreadable:
        note(f"left out: {reason}")
    settings: dict[str, Any] = {"device": device, "console": None if as_json else console.err}
    line = " ".join(["gocom", *sys.argv[1:]])
    if services or local:
        target = Target(transmitter, receiver, channel_address, local, device)
        with _services(target, grid) as sends:
            page = run(grid, out, line, engine=sends, **settings)
    else:
        page = run(grid, out, line, **pool, **settings)
    if as_json:
        emit({"page": str(page), "results": str(out / "results.csv"), "cases": grid.cases})
    else:
        say(f"{grid.cases} cases: {out / 'results.csv'}, {page}")
    if unreadable := len(grid.unreadable):
        report_unreadable(unreadable, grid.listed)
        raise typer.Exit(FAILURE)


def _belong_together(context: typer.Context, paper: str | None) -> None:
    """Options that would be ignored are refused."""
    given = {
        name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"
    }
    if paper is None and "street" in given:
        raise InvalidInput("street: is for --paper; --images and --labelled are what codecs are compared on")
    if paper is None and "experiments" in given:
        raise InvalidInput("experiments: is for --paper")
    if paper is not None and (others := sorted(given - _OF_PAPERS)):
        raise InvalidInput(
            f"{others[0]}: has no meaning with --paper, which takes {', '.join(sorted(_OF_PAPERS - {'as_json'}))}"
        )


def _check_engine(engine: str, ray_address: str | None, services: bool) -> None:
    from gocom.evaluation.run.measure import POOLS  # noqa: PLC0415

    if engine not in POOLS:
        raise UnknownName("engine", engine, POOLS)
    if engine == "ray" and services:
        raise InvalidInput("engine: ray cannot send through services; leave --services and --local out")
    if ray_address is not None and engine != "ray":
        raise InvalidInput("ray-address: is for --engine ray")


@contextmanager
def _services(target: Target, grid: Grid) -> Iterator[ServicesEngine]:
    """An engine of the services, whose channel is afterwards what it was."""
    from gocom.evaluation.compare.engine import ServicesEngine  # noqa: PLC0415

    names = list(dict.fromkeys(method.codec for method in grid.methods))
    with open_client(target, None, None, names) as client, restored_channel(client):
        yield ServicesEngine(client, grid.link)


def _study(
    name: str, sources: dict[str, Path], out: Path, experiments: str | None, limit: int | None, device: str,
    as_json: bool, pool: dict[str, Any],
) -> None:  # fmt: skip
    from gocom.evaluation.experiment.study_run import run  # noqa: PLC0415

    unreadable = set[str]()

    def left_out(reason: str) -> None:
        if reason not in unreadable:  # several studies may read the same set
            note(f"left out: {reason}")
        unreadable.add(reason)

    page = run(
        name, sources, out, experiments=None if experiments is None else [e.strip() for e in experiments.split(",")],
        limit=limit, device=device, console=None if as_json else console.err, left_out=left_out, **pool,
    )  # fmt: skip
    if as_json:
        emit({"page": str(page)})
    else:
        say(str(page))
    if unreadable:
        raise typer.Exit(FAILURE)


@command
def certify(
    specs: Annotated[
        list[str] | None, typer.Argument(metavar="[SPEC]...", help="Channels; default: every fault, and the figures.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the page.")] = Path("out/channel"),
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the channel's randomness.")] = 2026,
    as_json: console.Json = False,
) -> None:
    """Hold every fault to its closed form, and show that an error of 2 % would be seen; write a page with plots."""
    from gocom.evaluation.channel.page import run  # noqa: PLC0415

    report = run(specs or [], out, lambda text: None if as_json else say(text), seed)
    if as_json:
        emit(dataclasses.asdict(report))
    else:
        say(f"{'All pass' if report.passed else 'Some FAIL'}: {out / 'index.html'}")
    if not report.passed:
        raise typer.Exit(FAILURE)
