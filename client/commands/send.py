"""`gocom send`: send pictures through the services, and show the results."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from rich.box import SIMPLE
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from gocom.client import console
from gocom.client.channel_recording import FileRecording, PendingTrace
from gocom.client.client import Client
from gocom.client.comparison_pictures import comparison_picture
from gocom.client.console import CHANNEL, FAILURE, RECEIVER, TRANSMITTER, command, emit, parse_options
from gocom.client.goal_flags import Label, LabelName, Task, TaskTarget, Text, add_labels, read_goal
from gocom.client.noise_setups import SendSettings, combine_flags
from gocom.client.open_client import Target, open_client
from gocom.client.picture_input import Size, load_picture
from gocom.client.results import SendResult, describe_task
from gocom.client.send_options import send_options
from gocom.common.errors import InvalidInput
from gocom.common.image_files import list_images, list_skipped
from gocom.common.types import FeedbackPolicy, LinkSettings, PowerAllocation

GOAL_ROUNDS = 3
"""Largest number of transmissions of a picture that is sent for a goal, where --rounds is not given."""
PROTECT_SHARE = 0.25
"""Share of the budget that --protect leaves for repair packets."""
NAMED_SKIPPED = 5
"""Largest number of skipped files that are named."""
SizeText = Annotated[
    str,
    typer.Option(
        "--size",
        help="fit: shrink to at most 1024 px, aspect kept; keep: send as it is; N: centre square crop of N px.",
    ),
]
Payload = Annotated[int, typer.Option("--payload-bytes", help="Largest payload of a packet in bytes, 32 to 65000.")]
Setup = Annotated[
    int | None,
    typer.Option(
        "--noise-setup",
        help="Noise setup of the LaMI-GO paper: 1 packets lost, 2 bits flipped; 3, 4: the same without interleaver. "
        "Sets the channel, the interleaver and the coding.",
    ),
]
Level = Annotated[
    float | None,
    typer.Option(
        "--noise-level", help="Packet erasure rate (default 0.1) or bit error rate (default 0.001) of --noise-setup."
    ),
]
Bursty = Annotated[
    bool, typer.Option("--bursty", help="Let the noise of --noise-setup come in bursts, at the same average rate.")
]

Record = Annotated[
    Path | None,
    typer.Option(help="File to record the fate of each packet in; --channel trace_replay:file=... replays it."),
]
Out = Annotated[Path | None, typer.Option("--out", help="Folder for received pictures and comparisons.")]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help=console.SEED_HELP)]
MaxRounds = Annotated[
    int,
    typer.Option(
        "--max-rounds", "--rounds", min=1, max=64,
        help="Largest number of transmissions of a picture, the first included.",
    ),
]  # fmt: skip
MaxRoundsOrGoal = Annotated[
    int | None,
    typer.Option(
        "--max-rounds", "--rounds", min=1, max=64,
        help="Largest number of transmissions of a picture, the first included (default: 1; with --task or --text 3).",
    ),
]  # fmt: skip
AskFor = Annotated[
    FeedbackPolicy,
    typer.Option(
        help="Elements that the receiver asks for again: those the channel erased, or those it is least certain of."
    ),
]
QualityTarget = Annotated[
    float,
    typer.Option(
        min=0, max=1, help="Estimated quality at which the receiver asks for no more; 0: it does not stop for that."
    ),
]
Power = Annotated[
    PowerAllocation,
    typer.Option(
        help="How the power of packets is chosen: the same for all, for most capacity, or for least importance lost."
    ),
]
Protect = Annotated[
    bool,
    typer.Option(
        "--protect", help="Choose repair packets by their expected benefit on the channel; needs --budget-bytes."
    ),
]
ProtectShare = Annotated[
    float | None,
    typer.Option(
        min=0, max=0.9, help="Like --protect, with this share of the budget for repair packets (default 0.25)."
    ),
]
Interleave = Annotated[
    bool | None,
    typer.Option(
        "--interleave/--no-interleave", help="Permute elements before they are cut into packets; default: yes."
    ),
]


@command
def send(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Picture files, or folders of them.")],
    codec: console.Codec = "lami_go",
    channel: console.Spec = None,
    reverse_channel: console.ReverseSpec = None,
    out: Out = None,
    local: console.Local = False,
    seed: Seed = None,
    option: console.Options = None,
    size: SizeText = "fit",
    max_rounds: MaxRoundsOrGoal = None,
    budget_bytes: Annotated[
        int | None, typer.Option(min=1, help="Largest size of the first round in bytes, everything counted.")
    ] = None,
    round_budget_bytes: Annotated[
        int | None, typer.Option(min=1, help="Largest size of each later round in bytes.")
    ] = None,
    ask_for: AskFor = FeedbackPolicy.ERASED,
    quality_target: QualityTarget = 0.0,
    task: Task = None,
    label: Label = None,
    label_name: LabelName = None,
    text: Text = None,
    target: TaskTarget = 0.0,
    power: Power = PowerAllocation.EQUAL,
    protect: Protect = False,
    protect_share: ProtectShare = None,
    payload_bytes: Payload = 105,
    interleave: Interleave = None,
    noise_setup: Setup = None,
    noise_level: Level = None,
    bursty: Bursty = False,
    record: Record = None,
    timeout_s: Annotated[float, typer.Option(min=0.1, help="Seconds after which one picture counts as failed.")] = 60.0,
    device: console.Device = "auto",
    transmitter: console.Transmitter = TRANSMITTER,
    receiver: console.Receiver = RECEIVER,
    channel_address: console.ChannelAddress = CHANNEL,
    as_json: console.Json = False,
) -> None:
    """Send pictures, and show what the receiver made of them.

    A picture that cannot be read counts as failed, and the others are sent; a single file is refused.

    Exit status: 0 all were sent, whatever the channel did to them; 1 a service failed or a picture could not be read;
    2 wrong input.
    """
    _, options = parse_options(codec, option)
    paths, resize = list_images(images), parse_size(size)
    settings = combine_flags(codec, options, channel, interleave, noise_setup, noise_level, bursty)
    goal = read_goal(task, label, label_name, text, target)
    if max_rounds is None:
        max_rounds = 1 if goal is None else GOAL_ROUNDS
    arguments: dict[str, Any] = {
        "options": settings.options, "seed": seed or 0, "max_rounds": max_rounds, "budget_bytes": budget_bytes,
        "round_budget_bytes": round_budget_bytes, "feedback_policy": ask_for, "quality_target": quality_target,
        "goal": goal, "power_allocation": power, "size": resize, "timeout_s": timeout_s,
        "unequal_protection": PROTECT_SHARE if protect and protect_share is None else protect_share,
        "link": LinkSettings(max_payload_bytes=payload_bytes, interleave=settings.interleave),
    }  # fmt: skip
    send_options(codec, **arguments)  # raises for invalid arguments, before a channel is changed
    if paths == images[:1]:
        load_picture(paths[0], resize)  # raises for a single file that cannot be read, before a channel is changed
    report_skipped(images)
    services = Target(transmitter, receiver, channel_address, local, device)
    report_noise_setup(settings, as_json)

    def settle_goal(client: Client) -> None:
        if goal is not None:
            arguments["goal"] = add_labels(goal, label_name, client)

    with ExitStack() as stack:
        file = stack.enter_context(PendingTrace(record)) if record else None
        client = stack.enter_context(
            open_client(services, settings.channel, seed, (codec,), reverse_channel, settle_goal)
        )
        recording = stack.enter_context(FileRecording(client.record_channel(), file)) if file else None
        if not local:
            report_channel_change(settings.channel, reverse_channel, as_json)
        results = _collect(client.send(paths, codec, **arguments), unique_names(paths), codec, out, as_json)
        if recording is not None:
            recording.wait_for_rounds(sum(result.rounds for _, result in results))
            if not as_json:
                console.err.print(f"{recording.rounds} rounds recorded in {record}", markup=False)
    if not as_json:
        _print_results(results, out)
    report_unreadable(sum(result.original is None for _, result in results), len(results))
    if any(result.failure not in ("", "undecodable") for _, result in results):
        raise typer.Exit(FAILURE)


def _collect(
    stream: Iterator[SendResult], names: Sequence[str], codec: str, out: Path | None, as_json: bool
) -> list[tuple[str, SendResult]]:
    """Write and print the results as they arrive, and return them with their names."""
    results = []
    for result in _with_progress(stream, len(names), as_json):
        name = names[result.frame_index]
        _report_resizing(name, result, as_json)
        if out is not None and result.original is not None:
            write_pictures(out, f"{name}.{codec}", result)
        if as_json:
            emit(result.as_record())
        results.append((name, result))
    return results


def report_channel_change(channel: str | None, reverse_channel: str | None, quiet: bool) -> None:
    """Print on stderr that the channel of running services was changed."""
    for way, spec, flag in (("channel", channel, ""), ("reverse channel", reverse_channel, " --reverse")):
        if spec is not None and not quiet:
            words = f"the {way} is {spec} from now on, for everybody; `gocom channel set{flag}` changes it"
            console.err.print(words, markup=False)


def report_noise_setup(settings: SendSettings, quiet: bool) -> None:
    """Print on stderr, in one line, what a noise setup has set."""
    if settings.summary and not quiet:
        console.err.print(settings.summary, markup=False, soft_wrap=True)


def _print_results(results: Sequence[tuple[str, SendResult]], out: Path | None) -> None:
    console.out.print(_table(results))
    if any(result.protection for _, result in results):
        console.out.print(_protection_table(results))
    for name, result in results:
        if result.power is not None:
            least, greatest = result.power
            console.out.print(f"{name}: power of packets {least:.3g} to {greatest:.3g}, mean 1", markup=False)
        if result.task_result is not None:
            console.out.print(f"{name}: {describe_task(result.task_result)}", markup=False, soft_wrap=True)
        if result.reason:
            console.out.print(f"{name}: {result.reason}", markup=False, soft_wrap=True)
    if out is not None:
        console.out.print(f"pictures in {out}", markup=False)


def _report_resizing(name: str, result: SendResult, quiet: bool) -> None:
    """Print on stderr that a picture was sent with another size than it was given."""
    width, height = result.given_px
    if not quiet and (width, height) != (result.width_px, result.height_px):
        words = f"{name}: {width}x{height} was sent as {result.width_px}x{result.height_px}"
        console.err.print(words, markup=False, soft_wrap=True)


def report_skipped(images: Sequence[Path]) -> None:
    """Print on stderr, in one line, which files of the given folders are not taken for pictures."""
    skipped = list_skipped(images)
    if not skipped:
        return
    names = [f"{path.name}/" if path.is_dir() else path.name for path in skipped[:NAMED_SKIPPED]]
    more = f" and {len(skipped) - len(names)} more" if len(skipped) > len(names) else ""
    words = f"{len(skipped)} {'file' if len(skipped) == 1 else 'files'} skipped: {', '.join(names)}{more}"
    console.err.print(words, markup=False, soft_wrap=True)


def report_unreadable(count: int, pictures: int) -> None:
    """Print on stderr how many of the pictures could not be read, if any."""
    if count:
        console.err.print(f"{count} of {pictures} pictures could not be read", markup=False)


def parse_size(text: str) -> Size:
    """Parse "fit", "keep" or a number of pixels. Raises InvalidInput for other text."""
    if text == "keep":
        return None
    if text == "fit":
        return "fit"
    if not text.isdigit():
        raise InvalidInput(f"size: {text!r} is neither fit nor keep nor a number of pixels")
    return int(text)


def unique_names(paths: Sequence[Path]) -> list[str]:
    """Return a name for the output of each path: its stem, numbered where it repeats."""
    names: list[str] = []
    for path in paths:
        name, number = path.stem, 1
        while name in names:
            number += 1
            name = f"{path.stem}-{number}"
        names.append(name)
    return names


def write_pictures(folder: Path, name: str, result: SendResult) -> None:
    """Write NAME.received.png, if there is a picture, and NAME.compare.png. Raises InvalidInput if the folder fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        received = folder / f"{name}.received.png"
        received.unlink(missing_ok=True)  # of an earlier run, which a failure must not leave behind
        if result.image is not None:
            Image.fromarray(result.image).save(received)
        comparison_picture(result).save(folder / f"{name}.compare.png")
    except OSError as error:
        raise InvalidInput(f"out: cannot write to {str(folder)!r}: {error.strerror or error}") from None


def _with_progress(stream: Iterator[SendResult], total: int, quiet: bool) -> Iterator[SendResult]:
    if quiet:
        yield from stream
        return
    columns: list[Any] = [TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console.err, transient=True) as progress:
        yield from progress.track(stream, total=total)


def _table(results: Sequence[tuple[str, SendResult]]) -> Table:
    table = Table("picture", box=SIMPLE)
    for head in ("bytes", "bpp", "packets", "PSNR dB", "MS-SSIM", "s"):
        table.add_column(head, justify="right")
    table.add_column("outcome")
    for name, r in results:
        outcome = r.outcome if r.outcome == "reconstructed" else f"[red]{r.failure or r.outcome}[/]"
        table.add_row(
            escape(name), str(r.bytes_total), f"{r.bpp:.4f}", f"{r.packets_received}/{r.packets_sent}",
            format_number(r.psnr_db, 2), format_number(r.ms_ssim, 4),
            f"{r.seconds['total']:.2f}", outcome,
        )  # fmt: skip
    return table


def _protection_table(results: Sequence[tuple[str, SendResult]]) -> Table:
    """Return a table of the repair packets of unequal protection, with the loss expected without and with them."""
    table = Table("picture", "round", "segment", box=SIMPLE, title="unequal protection", title_justify="left")
    for head in ("importance", "source", "repair", "lost without", "lost with"):
        table.add_column(head, justify="right")
    for name, result in results:
        for s in result.protection:
            table.add_row(
                escape(name), str(s.round), escape(s.name), f"{s.importance:.1f}", str(s.source_packets),
                str(s.repair_packets), f"{s.loss_without:.2%}", f"{s.loss_with:.2%}",
            )  # fmt: skip
    return table


def format_number(value: float | None, digits: int) -> str:
    """Format a measured value for a table; "-" for None, "inf" for an infinite one."""
    if value is None:
        return "-"
    return f"{value:.{digits}f}" if math.isfinite(value) else "inf"
