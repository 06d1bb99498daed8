"""Location of the bundled models, hashes of their files, and checks of them. No torch."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import gocom
from gocom.common.errors import NotReady

MODELS_VARIABLE = "GOCOM_MODELS"
CARD = "CARD.md"
_READ_BYTES = 1 << 20
_SUFFIXES = (".json", ".safetensors")
_CARD_ROW = re.compile(r"^\| SHA-256 of (\S+) \| ([0-9a-f]{64}) \|$", re.MULTILINE)


def models_root() -> Path:
    """Return the folder of all models: that of the variable GOCOM_MODELS, or else the one inside the package."""
    return Path(os.environ.get(MODELS_VARIABLE) or Path(gocom.__file__).parent / "models")


def model_folder(name: str) -> Path:
    """Return the folder of one model. Raise NotReady if there is none."""
    folder = models_root() / name
    if not folder.is_dir():
        raise NotReady(f"model: no {name!r} in {models_root()}; set {MODELS_VARIABLE} or run `make train`")
    return folder


def folder_hash(folder: Path) -> bytes:
    """Return the SHA-256 of the names and contents of a model's .json and .safetensors files."""
    digest = hashlib.sha256()
    for path in _files(folder):
        digest.update(path.name.encode() + b"\0")
        with path.open("rb") as file:
            while part := file.read(_READ_BYTES):
                digest.update(part)
    return digest.digest()


def card_rows(folder: Path) -> list[str]:
    """Return the rows of a card's table that state the SHA-256 of each file of a model, for `find_damage` to check."""
    return [f"| SHA-256 of {path.name} | {_file_hash(path)} |" for path in _files(folder)]


def find_damage(name: str) -> str | None:
    """Compare the files of a bundled model with what its CARD.md states.

    Returns:
        which files are missing, differ or are not stated, or that the card states none; None: all are as stated.

    Raises:
        NotReady: the model is missing.
    """
    folder = model_folder(name)
    card = folder / CARD
    stated = dict(_CARD_ROW.findall(card.read_text("utf-8", "replace"))) if card.is_file() else {}
    if not stated:
        return f"cannot be checked: its {CARD} states no SHA-256"
    present = {path.name: path for path in _files(folder)}
    wrong = [f"{file} is missing" for file in stated if file not in present]
    wrong += [
        f"{file} is damaged: it is not the file that {CARD} states" if file in stated else f"{file} is not in {CARD}"
        for file, path in present.items()
        if stated.get(file) != _file_hash(path)
    ]
    return ", ".join(wrong) or None


def _files(folder: Path) -> list[Path]:
    """Return the files that make up a model, sorted; its card and plots are for people."""
    return sorted(path for path in folder.iterdir() if path.suffix in _SUFFIXES)


def _file_hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
