"""`gocom demo`: send photos over ever worse channels, with lami_go and with classical codecs at the same bytes."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from gocom.client import console
from gocom.client.client import Client
from gocom.client.comparison_pictures import Tile, tile_wall
from gocom.client.console import CHANNEL, RECEIVER, TRANSMITTER, command, emit, note, output_error, say, show
from gocom.client.exit_status import FAILURE
from gocom.client.open_client import Target, open_client
from gocom.client.output_files import write_pictures
from gocom.client.restored_channel import restored_channel
from gocom.client.result_table import format_number, outcome_text
from gocom.client.results import Pixels, SendResult
from gocom.common.errors import InvalidInput
from gocom.common.image_files import square_crop

PHOTOS = ("astronaut", "coffee", "chelsea")
CODECS = ("lami_go", "jpeg", "webp")
ERASURE_RATES = (0.0, 0.1, 0.2, 0.5)
DEFAULT_SEED = 148
"""The seed, of the first 300, whose losses in the first 12 packets of 3 frames come nearest to the rates. (12 packets
are few: with another seed a rate of 20 % may lose none of them, or half.)"""
SIZE_PX, TILE_PX = 256, 192
_FLOOR = re.compile(r"needs at least (\d+) bytes")


@dataclass(frozen=True, slots=True)
class Cell:
    """One photo sent with one codec at one erasure rate.

    Attributes:
        photo: name of the photo.
        codec: name of the codec.
        rate: packet erasure rate, 0 to 1.
        at_floor: whether the codec's smallest file of the photo has more bytes than lami_go sends.
        result: the result of the send.
    """

    photo: str
    codec: str
    rate: float
    at_floor: bool
    result: SendResult

    def as_record(self) -> dict[str, Any]:
        """Return the record for table.json, table.csv and --json."""
        sent = self.result.as_record()
        keys = ("bytes_total", "bpp", "packets_sent", "packets_received", "psnr_db", "ms_ssim", "outcome")
        record = {"photo": self.photo, "codec": self.codec, "packet_erasure_rate": self.rate, "at_floor": self.at_floor}
        return {**record, **{key: sent[key] for key in keys}, "reason": self.result.reason}


@command
def demo(
    out: Annotated[
        Path, typer.Option("--out", help="Folder for pictures, overview.png, table.json, table.csv.")
    ] = Path("out/demo"),
    photo: Annotated[list[str] | None, typer.Option(help="Name of a photo in skimage.data; may be repeated.")] = None,
    seed: console.Seed = DEFAULT_SEED,
    device: console.Device = "auto",
    running: Annotated[bool, typer.Option("--running", help="Use running services instead of starting some.")] = False,
    transmitter: console.Transmitter = TRANSMITTER,
    receiver: console.Receiver = RECEIVER,
    channel_address: console.ChannelAddress = CHANNEL,
    as_json: console.Json = False,
) -> None:
    """Send photos over 0, 10, 20 and 50 % packet erasure: lami_go beside jpeg and webp at the same total bytes.

    Exit status 1 when no picture could be made of a photo sent with lami_go, or a service failed.
    """
    photos = {name: sample_photo(name) for name in photo or PHOTOS}
    _prepare_folder(out)
    target = Target(transmitter, receiver, channel_address, local=not running, device=device)
    cells: list[Cell] = []
    try:
        with open_client(target, None, None, CODECS) as client, restored_channel(client):
            _run_all(client, photos, seed, as_json, cells)
        _write(out, photos, cells)
    finally:  # also on Ctrl-C
        if cells and not as_json:
            show(_table(cells))
    if not as_json:
        if any(cell.at_floor for cell in cells):
            say("* more bytes than lami_go: the smallest file this codec can make of the photo")
        say(f"pictures, overview.png, table.json and table.csv in {out}")
    lost = [cell for cell in cells if cell.codec == "lami_go" and cell.result.outcome == "failed"]
    if lost:
        note(f"lami_go failed on {len(lost)} of its pictures: {lost[0].result.reason}")
    broken = [cell for cell in cells if cell.result.failure in ("link", "internal", "timeout")]
    if broken:
        note(f"a service failed on {len(broken)} pictures: {broken[0].result.reason}")
    if lost or broken:
        raise typer.Exit(FAILURE)


def _prepare_folder(folder: Path) -> None:
    """Create the folder, before minutes of work depend on it. Raises InvalidInput if it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "table.json").unlink(missing_ok=True)  # of an earlier run, which a failure must not leave behind
    except OSError as error:
        raise output_error("out", folder, error) from None


def sample_photo(name: str) -> Pixels:
    """Return the centre square crop of a photo of scikit-image, uint8 [256, 256, 3]. Raises InvalidInput."""
    try:
        from skimage import data  # noqa: PLC0415 - not in the base install
    except ImportError:
        raise InvalidInput("photo: the demo's photos come with scikit-image; pip install scikit-image") from None
    load = getattr(data, name, None)
    if not callable(load):
        raise InvalidInput(f"photo: skimage.data has no {name!r}; try {', '.join(PHOTOS)}")
    pixels = load()
    if getattr(pixels, "ndim", 0) != 3 or pixels.shape[2] < 3:
        raise InvalidInput(f"photo: {name!r} is not a colour picture; try {', '.join(PHOTOS)}")
    return square_crop(pixels[..., :3].copy(), SIZE_PX)


def _run_all(client: Client, photos: dict[str, Pixels], seed: int, as_json: bool, cells: list[Cell]) -> None:
    """Send every photo with every codec at every packet erasure rate, and append each to `cells` as it is done.

    lami_go over the clean channel comes first: its bytes are the budget of the other codecs.
    """
    budgets: dict[tuple[str, str], tuple[int | None, bool]] = {}
    columns: list[Any] = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()]
    with Progress(*columns, console=console.err, transient=True, disable=as_json) as progress:
        task = progress.add_task("sending", total=len(photos) * len(CODECS) * len(ERASURE_RATES))
        for rate in ERASURE_RATES:
            client.set_channel(f"packet_erasure:rate={rate}" if rate else "clean", seed)
            for codec in CODECS:
                for index, (name, pixels) in enumerate(photos.items()):
                    progress.update(task, description=f"{name}, {codec}, {rate:.0%} erasure")
                    cell = _send_one(client, (name, index, pixels), codec, rate, seed, budgets)
                    cells.append(cell)
                    progress.advance(task)
                    if as_json:
                        emit(cell.as_record())


def _send_one(
    client: Client, photo: tuple[str, int, Pixels], codec: str, rate: float, seed: int,
    budgets: dict[tuple[str, str], tuple[int | None, bool]],
) -> Cell:  # fmt: skip
    """Send a photo within its budget, or the codec's minimum if that is larger. The photo's index keys the losses."""
    name, index, pixels = photo
    budget, at_floor = budgets.get((name, codec), (None, False))
    while True:
        (result,) = client.send(pixels, codec, seed=seed, first_index=index, budget_bytes=budget)
        floor = _FLOOR.search(result.reason)
        if floor is None or at_floor:
            break
        budget, at_floor = int(floor.group(1)), True
    budgets[name, codec] = (budget, at_floor)
    if codec == "lami_go" and rate == 0:
        size = result.bytes_total or None  # None where a service failed
        budgets.update({(name, other): (size, False) for other in CODECS if other != codec})
        budgets[name, codec] = (None, False)
    return Cell(name, codec, rate, at_floor, result)


def _write(folder: Path, photos: dict[str, Pixels], cells: Sequence[Cell]) -> None:
    """Write the pictures, the overview and the tables. Raises GoComError if the folder cannot be written to."""
    for cell in cells:
        write_pictures(folder, f"{cell.photo}.{cell.codec}.{cell.rate * 100:02.0f}", cell.result)
    records = [cell.as_record() for cell in cells]
    try:
        _overview(photos, cells).save(folder / "overview.png", optimize=True)
        (folder / "table.json").write_text(json.dumps(records, indent=1) + "\n")
        with (folder / "table.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(records[0]))
            writer.writeheader()
            writer.writerows(records)
    except OSError as error:
        raise output_error("out", folder, error) from None


def _overview(photos: dict[str, Pixels], cells: Sequence[Cell]) -> Any:
    rows, names = [], []
    for photo, pixels in photos.items():
        for codec in CODECS:
            tiles = [Tile(pixels, "original")]
            for cell in cells:
                if (cell.photo, cell.codec) == (photo, codec):
                    result, star = cell.result, "*" if cell.at_floor else ""
                    quality = f", {format_number(result.psnr_db, 1)} dB" if result.image is not None else ""
                    packets = f"{result.packets_received}/{result.packets_sent}"
                    tiles.append(Tile(result.image, f"{result.bytes_total} B{star}, {packets}{quality}"))
            rows.append(tiles)
            names.append(f"{photo}\n{codec}")
    heads = ["", *(f"{rate:.0%} of packets erased" for rate in ERASURE_RATES)]
    return tile_wall(rows, (TILE_PX, TILE_PX), heads, names)


def _table(cells: Sequence[Cell]) -> Table:
    table = Table("photo", "codec", box=SIMPLE, padding=(0, 1, 0, 0))
    for head in ("erasure", "packets", "bytes", "PSNR dB", "MS-SSIM"):
        table.add_column(head, justify="right")
    table.add_column("outcome")
    for cell in sorted(
        cells, key=lambda c: (list(dict.fromkeys(x.photo for x in cells)).index(c.photo), CODECS.index(c.codec))
    ):
        result = cell.result
        table.add_row(
            cell.photo, cell.codec, f"{cell.rate:.0%}", f"{result.packets_received}/{result.packets_sent}",
            f"{result.bytes_total}{'*' if cell.at_floor else ' '}",
            format_number(result.psnr_db, 2), format_number(result.ms_ssim, 4), outcome_text(result.outcome),
        )  # fmt: skip
    return table
