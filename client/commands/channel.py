"""`gocom channel get | set | state | watch | record | play`: profile, state, live counts, recordings, timed scripts."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.live import Live
from rich.table import Table

from gocom.client import console
from gocom.client.channel_script import ScriptPlayback, Step, read_script
from gocom.client.client import Client
from gocom.client.console import CHANNEL, command, emit, note, say, show
from gocom.client.end_signals import raising_end_signals
from gocom.common.channel_spec import format_spec, parse_spec
from gocom.common.packet_trace_file import TraceWriter
from gocom.v1 import channel_pb2

app = typer.Typer(help="Inspect the channel, or change it while pictures are sent.", no_args_is_help=True)

Report = channel_pb2.WatchStatisticsResponse


@app.command("get")
@command
def get(
    reverse: console.Reverse = False, address: console.ChannelAddress = CHANNEL, as_json: console.Json = False
) -> None:
    """Print the channel's current profile."""
    with Client(channel=address, security=console.security()) as client:
        profile = client.get_channel(reverse)
    _print_profile(profile, as_json)


@app.command("set")
@command
def set_profile(
    spec: Annotated[
        str, typer.Argument(metavar="SPEC", help="Impairments: clean, lossy, packet_erasure:rate=0.2, a .yml file, ...")
    ],
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Seed of the channel's randomness.")] = None,
    reverse: console.Reverse = False,
    address: console.ChannelAddress = CHANNEL,
    as_json: console.Json = False,
) -> None:
    """Replace the channel's profile from the next frame (with --reverse: the next feedback message) on."""
    profile = parse_spec(spec, seed)
    with Client(channel=address, security=console.security()) as client:
        client.set_channel(profile, reverse=reverse)
    _print_profile(profile, as_json)


@app.command("state")
@command
def state(
    payload_bytes: Annotated[
        int | None, typer.Option(min=1, max=65_000, help="Payload size of the packets; default: the link's default.")
    ] = None,
    outage_target: Annotated[
        float | None, typer.Option(help="Probability of outage that the capacity is for, between 0 and 1; default 0.1.")
    ] = None,
    address: console.ChannelAddress = CHANNEL,
    as_json: console.Json = False,
) -> None:
    """Print what a transmitter may know of the channel in the long run."""
    with Client(channel=address, security=console.security()) as client:
        response = client.get_channel_state(payload_bytes, outage_target)
    given = {field.name: value for field, value in response.ListFields()}
    known: dict[str, float | None] = {
        field.name: given.get(field.name, None if field.has_presence else 0.0)
        for field in response.DESCRIPTOR.fields
        if field.name != "snr_db"  # belongs to one round
    }
    if as_json:
        # JSON has no infinity, which is the mean burst if all packets are lost.
        emit({name: value if value is None or math.isfinite(value) else None for name, value in known.items()})
        return
    table = Table.grid(padding=(0, 2))
    for name, value in known.items():
        text = "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
        table.add_row(name, text)
    show(table)


@app.command("watch")
@command
def watch(
    interval_ms: Annotated[int, typer.Option(min=50, max=60_000, help="Milliseconds between two reports.")] = 1000,
    count: Annotated[int, typer.Option(min=0, help="Number of reports to print; 0: until Ctrl-C.")] = 0,
    reverse: console.Reverse = False,
    address: console.ChannelAddress = CHANNEL,
    as_json: console.Json = False,
) -> None:
    """Show live counts since the profile was set: expected against measured rates, with a z-score."""
    with Client(channel=address, security=console.security()) as client:
        reports = client.watch_channel(interval_ms, reverse)
        if as_json:
            for number, report in enumerate(reports, 1):
                emit(_record(report))
                if number == count:
                    return
            return
        with Live(console=console.out) as live:
            for number, report in enumerate(reports, 1):
                live.update(_table(report), refresh=True)
                if number == count:
                    return


@app.command("record")
@command
def record(
    out: Annotated[Path, typer.Option(help="File for the trace; an existing one is replaced.")],
    rounds: Annotated[int, typer.Option(min=0, help="Number of rounds to record; 0: until Ctrl-C.")] = 0,
    address: console.ChannelAddress = CHANNEL,
    as_json: console.Json = False,
) -> None:
    """Record what happens to every packet from now on; `gocom channel set trace_replay:file=...` replays it.

    The file is complete after each round, and so also after a signal. Without --rounds Ctrl-C or SIGTERM is the usual
    end, with exit status 0.
    """
    repeats = 0
    # The file is opened last: a recording that cannot start must not overwrite an earlier one.
    with (
        Client(channel=address, security=console.security()) as client,
        client.record_channel() as recording,
        TraceWriter(out) as writer,
    ):
        try:
            with console.spinner(f"recording to {out}; Ctrl-C ends it") as say:
                for message in recording:
                    repeats += not writer.write(message)
                    say(f"recording to {out}: {writer.rounds} rounds, {writer.packets} packets; Ctrl-C ends it")
                    if writer.rounds == rounds:
                        break
        except KeyboardInterrupt:
            if rounds:
                raise
        finally:
            _report_recording(writer, repeats, as_json)


@app.command("play")
@command
def play(
    script: Annotated[
        Path, typer.Argument(help="YAML file of steps, each with seconds and channel; see docs/faults.md.")
    ],
    address: console.ChannelAddress = CHANNEL,
    as_json: console.Json = False,
) -> None:
    """Play a timed script of profiles. The profile from before is restored, however the script ends: also by Ctrl-C."""
    steps = read_script(script)

    def announce(number: int, step: Step) -> None:
        if not as_json:
            say(f"{number + 1}/{len(steps)}: {step.spec} for {step.seconds:g} s")

    with (
        Client(channel=address, security=console.security()) as client,
        raising_end_signals(hear_ignored_interrupt=True),
    ):
        playback = ScriptPlayback(client, steps, announce)
        try:
            playback.start()
            playback.wait()
        finally:
            try:
                playback.stop()  # raises the same once more, or that the profile could not be restored
            finally:
                _report_steps(playback, as_json)


def _report_steps(playback: ScriptPlayback, as_json: bool) -> None:
    for step, counts in playback.counts:
        counted = {"packets_in": counts.packets_in, "packets_out": counts.packets_out}
        if as_json:
            emit({"channel": step.spec, "seconds": step.seconds, **counted})
        else:
            words = f"{step.spec}: {counts.packets_in} packets in, {counts.packets_out} out ({counts.loss:.1%} lost)"
            say(words)


def _report_recording(writer: TraceWriter, repeats: int, as_json: bool) -> None:
    if as_json:
        emit({"rounds": writer.rounds, "packets": writer.packets, "repeats": repeats})
        return
    again = f"; {repeats} came again, as of another session, and are not in it" if repeats else ""
    note(f"{writer.rounds} rounds, {writer.packets} packets{again}")


def _print_profile(profile: channel_pb2.ChannelProfile, as_json: bool) -> None:
    spec = format_spec(profile) or "clean"
    if as_json:
        emit({"spec": spec, "seed": profile.seed})
    else:
        say(f"{spec}   seed {profile.seed}")


def _record(report: Report) -> dict[str, Any]:
    counts = {name: getattr(report, name) for name in ("revision", "frames", "packets_in", "packets_out")}
    items = [
        {**{f.name: getattr(i, f.name) for f in i.DESCRIPTOR.fields}, "unit": _unit(i)} for i in report.impairments
    ]
    return {**counts, "payload_bytes_in": report.payload_bytes_in, "impairments": items}


def _unit(item: channel_pb2.ImpairmentStatistics) -> str:
    return channel_pb2.TrialUnit.Name(item.unit).removeprefix("TRIAL_UNIT_").lower()


def _table(report: Report) -> Table:
    title = (
        f"revision {report.revision}: {report.frames} rounds, {report.packets_in} packets in, {report.packets_out} out"
    )
    table = Table("impairment", "unit", title=title)
    for head in ("trials", "events", "expected", "measured", "z"):
        table.add_column(head, justify="right")
    for item in report.impairments:
        table.add_row(
            item.name, _unit(item), str(item.trials), str(item.events), f"{item.expected_rate:.6g}",
            f"{item.measured_rate:.6g}", f"{item.z_score:+.2f}",
        )  # fmt: skip
    return table
