"""`gocom stream`: send the pictures of a folder over and over, with a live table of rate, loss and bpp."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live
from rich.table import Table

from gocom.client import console
from gocom.client.commands.send import (
    Bursty,
    Level,
    MaxRounds,
    Payload,
    Setup,
    SizeText,
    parse_size,
    report_noise_setup,
    report_skipped,
    report_unreadable,
)
from gocom.client.console import CHANNEL, RECEIVER, TRANSMITTER, command, emit, note, parse_options
from gocom.client.exit_status import FAILURE
from gocom.client.noise_setups import combine_flags
from gocom.client.open_client import Target, open_client
from gocom.client.picture_input import check_size, load_picture
from gocom.client.result_table import format_number
from gocom.client.results import SendResult
from gocom.common.image_files import list_images
from gocom.common.printable_text import printable
from gocom.common.types import LinkSettings

RECENT = 32
"""Number of last frames that the averages in the table are taken over."""


@command
def stream(
    folder: Annotated[Path, typer.Argument(help="Folder of pictures, or one picture.")],
    codec: console.Codec = "lami_go",
    channel: console.Spec = None,
    reverse_channel: console.ReverseSpec = None,
    local: console.Local = False,
    loops: Annotated[int, typer.Option(min=0, help="Number of passes over the folder; 0: until Ctrl-C.")] = 0,
    rate: Annotated[
        float | None, typer.Option(min=0.001, help="Largest number of pictures a second; default: no limit.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help=console.SEED_HELP)] = None,
    option: console.Options = None,
    size: SizeText = "fit",
    max_rounds: MaxRounds = 1,
    payload_bytes: Payload = 105,
    noise_setup: Setup = None,
    noise_level: Level = None,
    bursty: Bursty = False,
    device: console.Device = "auto",
    transmitter: console.Transmitter = TRANSMITTER,
    receiver: console.Receiver = RECEIVER,
    channel_address: console.ChannelAddress = CHANNEL,
    as_json: console.Json = False,
) -> None:
    """Send pictures over and over, and show rate, loss and bpp. `gocom channel set` changes the channel meanwhile.

    Exit status: 1 if a service failed, or a picture could not be read; the others are sent.
    """
    _, options = parse_options(codec, option)
    paths, resize = list_images([folder]), parse_size(size)
    check_size(resize)
    if paths == [folder]:
        load_picture(folder, resize)  # raises for a single file that cannot be read, before a channel is changed
    report_skipped([folder])
    settings = combine_flags(codec, options, channel, None, noise_setup, noise_level, bursty)
    link = LinkSettings(max_payload_bytes=payload_bytes, interleave=settings.interleave)
    target = Target(transmitter, receiver, channel_address, local, device)
    report_noise_setup(settings, as_json)
    ended = threading.Event()
    with open_client(target, settings.channel, seed, (codec,), reverse_channel) as client:
        source = _paced(paths, loops, rate, ended)
        sent = client.send(
            source, codec, options=settings.options, seed=seed or 0, max_rounds=max_rounds, link=link, size=resize
        )
        troubles = Troubles()
        results = _noting_troubles(sent, len(paths), troubles)
        try:
            if as_json:
                for result in results:
                    emit({"file": str(paths[result.frame_index % len(paths)]), **result.as_record()})
            else:
                meter = Meter()
                with Live(meter.table(), console=console.out, refresh_per_second=4) as live:
                    for result in results:
                        meter.add(result)
                        live.update(meter.table())
        finally:
            ended.set()
    report_unreadable(len(troubles.unreadable), len(paths))
    if troubles.unreadable or troubles.service_failed:
        raise typer.Exit(FAILURE)


def _paced(paths: Sequence[Path], loops: int, rate: float | None, ended: threading.Event) -> Iterator[Path]:
    """Yield the paths, `loops` times over (0: for ever), at most `rate` a second (None: without pause).

    The wait for the next picture ends when `ended` is set: it takes place in a thread that Ctrl-C does not reach.
    """
    due = time.monotonic()
    for _ in range(loops) if loops else count():
        for path in paths:
            if ended.wait(max(0.0, due - time.monotonic())):
                return
            due = max(due + 1 / rate, time.monotonic()) if rate else due
            yield path


@dataclass(slots=True)
class Troubles:
    """What went wrong in a stream, apart from what the channel did.

    Attributes:
        unreadable: positions of the pictures that could not be read.
        service_failed: whether a service failed on a picture or refused one.
    """

    unreadable: set[int] = field(default_factory=set)
    service_failed: bool = False


def _noting_troubles(results: Iterator[SendResult], pictures: int, troubles: Troubles) -> Iterator[SendResult]:
    """Yield the results of passes over the pictures; end after a pass in which none of them could be read.

    What goes wrong is noted in `troubles`. Of each picture that cannot be read the reason is told once, on stderr.
    """
    readable = 0
    for result in results:
        position = result.frame_index % pictures
        if result.original is not None:
            readable += 1
            troubles.service_failed |= result.is_error
        elif position not in troubles.unreadable:
            troubles.unreadable.add(position)
            note(result.reason)
        yield result
        if position == pictures - 1:
            if not readable:
                return
            readable = 0


@dataclass(frozen=True, slots=True)
class _Frame:
    """What the averages need of a result, without its pictures, and the time.monotonic() when it came."""

    at: float
    bytes_total: int
    bpp: float | None
    packets_sent: int
    packets_received: int
    psnr_db: float | None
    failed: bool


class Meter:
    """Running totals, and averages over the last frames."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._recent: deque[_Frame] = deque(maxlen=RECENT)
        self._frames = self._failed = self._bytes = 0
        self._last: tuple[tuple[str, str, str], ...] = ()

    def add(self, result: SendResult) -> None:
        """Count the result of a frame."""
        failed = result.outcome == "failed"
        bpp = result.bpp if result.original is not None else None
        self._frames += 1
        self._failed += failed
        self._bytes += result.bytes_total
        self._recent.append(
            _Frame(
                time.monotonic(), result.bytes_total, bpp, result.packets_sent, result.packets_received,
                result.psnr_db, failed,
            )
        )  # fmt: skip
        self._last = (
            ("session", result.session_id, ""),
            ("last", f"{result.frame_id[-8:]} {result.outcome}", printable(result.reason)),
        )

    def table(self) -> Table:
        """Return the table that the terminal shows."""
        table = Table(title="gocom stream - Ctrl-C ends it")
        for head in ("", "last frames", "in all"):
            table.add_column(head, overflow="fold")
        frames = self._recent
        sent = sum(frame.packets_sent for frame in frames)
        lost = sent - sum(frame.packets_received for frame in frames)
        psnr = [frame.psnr_db for frame in frames if frame.psnr_db is not None]
        window = time.monotonic() - (frames[0].at if len(frames) == RECENT else self._began)
        elapsed = max(time.monotonic() - self._began, 1e-6)
        kilobits = sum(frame.bytes_total for frame in frames) * 8 / 1000
        bpp = [frame.bpp for frame in frames if frame.bpp is not None]
        table.add_row("frames", str(len(frames)), str(self._frames))
        table.add_row("frames/s", f"{len(frames) / max(window, 1e-6):.2f}", f"{self._frames / elapsed:.2f}")
        table.add_row("kbit/s", f"{kilobits / max(window, 1e-6):.1f}", f"{self._bytes * 8 / 1000 / elapsed:.1f}")
        table.add_row("packets lost", f"{lost / sent:.1%}" if sent else "-", "")
        table.add_row("bpp", format_number(sum(bpp) / len(bpp) if bpp else None, 4), "")
        table.add_row("PSNR dB", format_number(sum(psnr) / len(psnr) if psnr else None, 2), "")
        table.add_row("no picture", str(sum(frame.failed for frame in frames)), str(self._failed))
        for row in self._last:
            table.add_row(*row)
        return table
