"""Comparison pictures: original, received picture and provenance side by side, and grids of labelled tiles."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gocom.client.results import Pixels, SendResult, describe_task
from gocom.common.types import Provenance

INK, PAPER, ABSENT, ON_ABSENT = (24, 24, 24), (255, 255, 255), (150, 150, 150), (255, 255, 255)
TINTS = {
    Provenance.RECEIVED: ("received", (110, 170, 120)),
    Provenance.WITHHELD: ("withheld by the sender", (50, 100, 235)),
    Provenance.ERASED: ("erased by the channel", (225, 45, 40)),
}
TINT_SHARE = 0.55
GAP_PX, LINE_PX, TEXT_PX = 6, 18, 13


@dataclass(frozen=True, slots=True)
class Tile:
    """A picture with a label below it, or a grey field in place of a missing picture.

    Attributes:
        pixels: uint8 [H, W, 3]; None: there is no picture.
        label: the line below; shortened if it is wider than the tile.
        absent: text on the grey field.
    """

    pixels: Pixels | None
    label: str
    absent: str = "no picture"


def provenance_picture(image: Pixels, provenance: Pixels) -> Pixels:
    """Return the picture in grey, tinted by the provenance of each pixel.

    Args:
        image: uint8 [H, W, 3].
        provenance: uint8 [H, W] of Provenance.

    Returns:
        uint8 [H, W, 3].
    """
    grey = image.astype(np.float32).mean(2, keepdims=True)
    tints = np.array([TINTS[kind][1] for kind in Provenance], np.float32)
    return np.asarray((1 - TINT_SHARE) * grey + TINT_SHARE * tints[provenance], dtype=np.uint8)


def comparison_picture(result: SendResult) -> Image.Image:
    """Draw original, received and provenance side by side.

    Below are a legend with the share of pixels of each provenance and, if there is one, the result of the goal's task.
    """
    title = f"{result.codec}, {result.bytes_total} B, {result.packets_received}/{result.packets_sent} packets"
    if result.psnr_db is not None:
        title += f", {result.psnr_db:.1f} dB"
    tiles = [Tile(result.original, "original"), Tile(result.image, title, f"no picture: {result.reason}")]
    if result.image is not None and result.provenance is not None:
        tiles.append(Tile(provenance_picture(result.image, result.provenance), "provenance"))
    wall = tile_wall([tiles], (max(result.width_px, 192), max(result.height_px, 64)))
    if result.provenance is None or result.image is None:
        return wall
    lines = 1 if result.task_result is None else 2
    framed = Image.new("RGB", (max(wall.width, 560), wall.height + lines * LINE_PX + GAP_PX), PAPER)
    framed.paste(wall, (0, 0))
    _draw_legend(framed, result.provenance, wall.height)
    if result.task_result is not None:
        font = ImageFont.load_default(TEXT_PX)
        text = _shortened(describe_task(result.task_result), framed.width - 2 * GAP_PX, font)
        ImageDraw.Draw(framed).text((GAP_PX, wall.height + LINE_PX), text, INK, font)
    return framed


def tile_wall(
    rows: Sequence[Sequence[Tile]], tile_px: tuple[int, int], heads: Sequence[str] = (), names: Sequence[str] = ()
) -> Image.Image:
    """Draw tiles in a grid.

    Args:
        rows: the tiles, row by row.
        tile_px: (width, height) of the field that a picture is shrunk to fit.
        heads: column heads, if any.
        names: row names, if any, of one or more lines each.
    """
    width, height = tile_px
    left = max((len(line) for name in names for line in name.split("\n")), default=0) * (TEXT_PX * 5 // 8) + GAP_PX
    top = (LINE_PX if heads else 0) + GAP_PX
    columns = max(len(row) for row in rows)
    step_x, step_y = width + GAP_PX, height + LINE_PX + GAP_PX
    wall = Image.new("RGB", (left + columns * step_x, top + len(rows) * step_y), PAPER)
    draw, font = ImageDraw.Draw(wall), ImageFont.load_default(TEXT_PX)
    for column, head in enumerate(heads):
        draw.text((left + column * step_x, GAP_PX // 2), head, INK, font)
    for number, row in enumerate(rows):
        y = top + number * step_y
        if names:
            draw.multiline_text((GAP_PX, y), names[number], INK, font)
        for column, tile in enumerate(row):
            x = left + column * step_x
            wall.paste(_tile_picture(tile, width, height), (x, y))
            draw.text((x, y + height + 1), _shortened(tile.label, width, font), INK, font)
    return wall


def _tile_picture(tile: Tile, width: int, height: int) -> Image.Image:
    if tile.pixels is not None:
        picture = Image.fromarray(tile.pixels)
        if picture.width > width or picture.height > height:
            picture.thumbnail((width, height), Image.Resampling.LANCZOS)
        return picture
    field = Image.new("RGB", (width, height), ABSENT)
    text = textwrap.fill(tile.absent, max(12, width // 8))
    draw = ImageDraw.Draw(field)
    font = ImageFont.load_default(TEXT_PX)
    draw.multiline_text((width / 2, height / 2), text, ON_ABSENT, font, anchor="mm", align="center")
    return field


def _draw_legend(picture: Image.Image, provenance: Pixels, y: int) -> None:
    draw, font, x = ImageDraw.Draw(picture), ImageFont.load_default(TEXT_PX), GAP_PX
    for kind, (name, tint) in TINTS.items():
        text = f"{name} {float((provenance == kind).mean()):.0%}"
        draw.rectangle((x, y + 2, x + LINE_PX - 6, y + LINE_PX - 4), tint)
        draw.text((x + LINE_PX, y), text, INK, font)
        x += LINE_PX + int(draw.textlength(text, font)) + 3 * GAP_PX


def _shortened(text: str, width_px: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> str:
    """Return the text, cut and ended with an ellipsis if it is wider than width_px."""
    while len(text) > 1 and font.getlength(text) > width_px:
        text = text[:-2] + "…"
    return text
