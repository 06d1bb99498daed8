"""Where the bundled nets lie, and their fingerprints for the session handshake. No torch here."""

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
    """The folder of models: GOCOM_MODELS, else the one inside the package."""
    return Path(os.environ.get(MODELS_VARIABLE) or Path(gocom.__file__).parent / "models")


def model_folder(name: str) -> Path:
    """The folder of one model. Raises NotReady when it is not there."""
    folder = models_root() / name
    if not folder.is_dir():
        raise NotReady(f"model: no {name!r} in {models_root()}; set {MODELS_VARIABLE} or run `make train`")
    return folder


@cache
def knowledge_hash(name: str) -> bytes:
    """Fingerprint of a bundled model, as it was when this process first asked."""
    return folder_hash(model_folder(name))


def held_knowledge() -> dict[str, bytes]:
    """Fingerprints of every model that a registered system needs and this machine holds, by name."""
    from gocom.common.systems import SYSTEMS  # noqa: PLC0415 - systems load their tables through this module

    held = {}
    for name in sorted({name for codec in SYSTEMS for name in SYSTEMS.get(codec).knowledge}):
        with contextlib.suppress(NotReady):
            held[name] = knowledge_hash(name)
    return held


def folder_hash(folder: Path) -> bytes:
    """SHA-256 over the names and contents of a model's files (card and plot left out)."""
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".json", ".safetensors"):
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.digest()
