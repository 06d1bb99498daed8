"""Files that commands write for a picture: the received picture, and its comparison with the original."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from gocom.client.comparison_pictures import comparison_picture
from gocom.client.console import output_error
from gocom.client.results import SendResult

RECEIVED, COMPARE = "received.png", "compare.png"
MAX_NAME_BYTES = 255
"""Longest name of a file on the usual file systems, in bytes."""


def unique_names(paths: Sequence[Path], ending: str = "") -> list[str]:
    """Return a name for the output of each path: its stem, numbered where it repeats.

    A name that would be too long for the file system is shortened, at the boundary of a character.

    Args:
        paths: the pictures.
        ending: what is appended to the names at most, such as ".jpeg.received.png"; it counts for the length.
    """
    room = MAX_NAME_BYTES - len(os.fsencode(ending))
    taken: set[str] = set()
    numbers: dict[str, int] = {}
    names = []
    for path in paths:
        stem = _shortened(path.stem, room)
        number = numbers.get(stem, 1)
        name = stem if number == 1 else _numbered(path.stem, number, room)
        while name in taken:
            number += 1
            name = _numbered(path.stem, number, room)
        numbers[stem] = number
        taken.add(name)
        names.append(name)
    return names


def _numbered(stem: str, number: int, room: int) -> str:
    """Return the stem with "-2" and so on behind it, in at most `room` bytes."""
    ending = f"-{number}"
    return _shortened(stem, room - len(ending)) + ending


def _shortened(text: str, room: int) -> str:
    """Return as many characters of the text as have room in so many bytes of a file's name."""
    while len(os.fsencode(text)) > room:
        text = text[:-1]
    return text


def write_pictures(folder: Path, name: str, result: SendResult) -> None:
    """Write NAME.received.png, if there is a picture, and NAME.compare.png.

    Raises:
        InvalidInput: the folder cannot be written to.
        GoComError: the disk is full.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        received = folder / f"{name}.{RECEIVED}"
        received.unlink(missing_ok=True)  # of an earlier run, which a failure must not leave behind
        if result.image is not None:
            Image.fromarray(result.image).save(received)
        comparison_picture(result).save(folder / f"{name}.{COMPARE}")
    except OSError as error:
        raise output_error("out", folder, error) from None
