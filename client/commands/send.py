"""`gocom send`: send pictures through the services, and show the results."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from gocom.client import console
from gocom.client.channel_recording import FileRecording, PendingTrace
from gocom.client.client import Client
from gocom.client.console import CHANNEL, RECEIVER, TRANSMITTER, command, emit, note, parse_options, say
from gocom.client.exit_status import FAILURE
from gocom.client.goal_flags import Label, LabelName, Task, TaskTarget, Text, add_labels, read_goal
from gocom.client.noise_setups import SendSettings, combine_flags
from gocom.client.open_client import Target, open_client
from gocom.client.output_files import RECEIVED, unique_names, write_pictures
from gocom.client.picture_input import Size, load_picture
from gocom.client.result_table import Row, make_row, print_rows, summarize
from gocom.client.results import SendResult
from gocom.client.send_options import send_options
from gocom.common.errors import MAX_QUOTED, InvalidInput
from gocom.common.image_files import list_images, list_skipped
from gocom.common.printable_text import printable
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
    """Send pictures, and show what the receiver made of them. Ctrl-C shows what was done so far.

    A picture that cannot be read counts as failed, and the others are sent; a single file is refused.

    Exit status: 0 all were sent, whatever the channel did to them; 1 a service failed or a picture could not be read;
    2 wrong input; 130 Ctrl-C.
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

    rows: list[Row] = []
    rounds = unreadable = written = 0
    try:
        with ExitStack() as stack:
            file = stack.enter_context(PendingTrace(record)) if record else None
            client = stack.enter_context(
                open_client(services, settings.channel, seed, (codec,), reverse_channel, settle_goal)
            )
            recording = stack.enter_context(FileRecording(client.record_channel(), file)) if file else None
            if not local:
                report_channel_change(settings.channel, reverse_channel, as_json)
            names = unique_names(paths, f".{codec}.{RECEIVED}")
            for result in _with_progress(client.send(paths, codec, **arguments), len(paths), as_json):
                path, name = paths[result.frame_index], names[result.frame_index]
                _report_resizing(name, result, as_json)
                rows.append(make_row(name, result))
                rounds += result.rounds
                unreadable += result.original is None
                if as_json:
                    emit({"file": str(path), **result.as_record()})
                if out is not None and result.original is not None:
                    write_pictures(out, f"{name}.{codec}", result)
                    written += 1
            if recording is not None:
                recording.wait_for_rounds(rounds)
                if not as_json:
                    note(f"{recording.rounds} rounds recorded in {record}")
    finally:  # also on Ctrl-C, and when the disk is full or a service fails
        if not as_json:
            _print_results(rows, len(paths), out if written else None)
        elif 0 < len(rows) < len(paths):
            note(summarize(rows, len(paths)))
        report_unreadable(unreadable, len(rows))
    if any(row.is_error for row in rows):
        raise typer.Exit(FAILURE)


def _print_results(rows: Sequence[Row], pictures: int, out: Path | None) -> None:
    """Print the results so far, unless there are none, and in which folder their pictures are, if in any."""
    if rows:
        print_rows(rows, pictures)
        if out is not None:
            say(f"pictures in {out}")


def report_channel_change(channel: str | None, reverse_channel: str | None, quiet: bool) -> None:
    """Print on stderr that the channel of running services was changed."""
    for way, spec, flag in (("channel", channel, ""), ("reverse channel", reverse_channel, " --reverse")):
        if spec is not None and not quiet:
            words = f"the {way} is {spec} from now on, for everybody; `gocom channel set{flag}` changes it"
            note(words)


def report_noise_setup(settings: SendSettings, quiet: bool) -> None:
    """Print on stderr, in one line, what a noise setup has set."""
    if settings.summary and not quiet:
        note(settings.summary)


def _report_resizing(name: str, result: SendResult, quiet: bool) -> None:
    """Print on stderr that a picture was sent with another size than it was given."""
    width, height = result.given_px
    if not quiet and (width, height) != (result.width_px, result.height_px):
        note(f"{printable(name)}: {width}x{height} was sent as {result.width_px}x{result.height_px}")


def report_skipped(images: Sequence[Path]) -> None:
    """Print on stderr, in one line, which files of the given folders are not taken for pictures."""
    skipped = list_skipped(images)
    if not skipped:
        return
    names = [printable(path.name) + ("/" if path.is_dir() else "") for path in skipped[:NAMED_SKIPPED]]
    more = f" and {len(skipped) - len(names)} more" if len(skipped) > len(names) else ""
    note(f"{len(skipped)} {'file' if len(skipped) == 1 else 'files'} skipped: {', '.join(names)}{more}")


def report_unreadable(count: int, pictures: int) -> None:
    """Print on stderr how many of the pictures could not be read, if any."""
    if count:
        note(f"{count} of {pictures} pictures could not be read")


def parse_size(text: str) -> Size:
    """Parse "fit", "keep" or a number of pixels. Raises InvalidInput for other text."""
    if text == "keep":
        return None
    if text == "fit":
        return "fit"
    if not re.fullmatch("[0-9]{1,9}", text):
        raise InvalidInput(f"size: {text[:MAX_QUOTED]!r} is neither fit nor keep nor a number of pixels, 64 to 1024")
    return int(text)


def _with_progress(stream: Iterator[SendResult], total: int, quiet: bool) -> Iterator[SendResult]:
    if quiet:
        yield from stream
        return
    columns: list[Any] = [TextColumn("sending"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console.err, transient=True) as progress:
        yield from progress.track(stream, total=total)
