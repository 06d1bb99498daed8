"""Location of the bundled models, and their fingerprints for the session handshake. Needs no torch."""

from __future__ import annotations

import contextlib
import hashlib
import os
from functools import cache
from pathlib import Path

import gocom
from gocom.common.errors import NotReady

MODELS_VARIABLE = "GOCOM_MODELS"


def models_root() -> Path:
    """Return the folder of all models: that of the variable GOCOM_MODELS, or else the one inside the package."""
    return Path(os.environ.get(MODELS_VARIABLE) or Path(gocom.__file__).parent / "models")


def model_folder(name: str) -> Path:
    """Return the folder of one model. Raise NotReady if there is none."""
    folder = models_root() / name
    if not folder.is_dir():
        raise NotReady(f"model: no {name!r} in {models_root()}; set {MODELS_VARIABLE} or run `make train`")
    return folder


@cache
def knowledge_hash(name: str) -> bytes:
    """Return the fingerprint of a bundled model, as `folder_hash` makes it, from the first call in this process.

    Raises:
        NotReady: the model is missing.
    """
    return folder_hash(model_folder(name))


def held_knowledge() -> dict[str, bytes]:
    """Return the fingerprints, by model name, of all models that registered systems need, if present."""
    from gocom.common.systems import SYSTEMS  # noqa: PLC0415 - systems load their tables through this module

    held = {}
    for name in sorted({name for codec in SYSTEMS for name in SYSTEMS.get(codec).knowledge}):
        with contextlib.suppress(NotReady):
            held[name] = knowledge_hash(name)
    return held


def folder_hash(folder: Path) -> bytes:
    """Return the SHA-256 of the names and contents of a model's .json and .safetensors files."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.digest()
