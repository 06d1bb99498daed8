"""Files of converted nets, graphs, so that the next process need not convert them again.

A file is written under another name and then renamed, so that a reader sees the whole of it or nothing, also while two
processes write the same one. It begins with the SHA-256 of its content: a file that was damaged later is not used. A
folder that cannot be written, or has no space left, only costs the next process its time.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

import structlog

FOLDER_VARIABLE = "GOCOM_ENGINE_CACHE"
"""Name of the environment variable with the folder, or with "off" for none."""
MAX_BYTES = 4 << 30
"""Limit on the size of the folder. The files that were not used for longest are deleted first."""
_DIGEST_BYTES = hashlib.sha256().digest_size
_SUFFIX, _UNFINISHED = ".graph", ".part"

log = structlog.get_logger()


def cache_folder() -> Path | None:
    """Return the folder of graphs; None: they are not kept.

    It is that of the variable GOCOM_ENGINE_CACHE, or else gocom/graphs in the user's cache directory, which is
    XDG_CACHE_HOME or ~/.cache.
    """
    value = os.environ.get(FOLDER_VARIABLE)
    if value:
        return None if value == "off" else Path(value)
    try:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:  # a user without a home
        return None
    return home / "gocom" / "graphs"


def read_graph(folder: Path, key: str) -> bytes | None:
    """Return the graph that was written under a key. None: there is none, or its file is damaged or unreadable."""
    path = folder / f"{key}{_SUFFIX}"
    try:
        content = path.read_bytes()
    except OSError:
        return None
    digest, graph = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if hashlib.sha256(graph).digest() != digest:
        log.warning("a graph is damaged and is made again", file=str(path))
        return None
    with contextlib.suppress(OSError):
        os.utime(path)  # used just now
    return graph


def write_graph(folder: Path, key: str, graph: bytes) -> None:
    """Write a graph under a key, hexadecimal digits, unless the folder cannot be written or the graph is too large."""
    if len(graph) + _DIGEST_BYTES > MAX_BYTES:
        return
    temporary: str | None = None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=folder, suffix=_UNFINISHED)
        with open(descriptor, "wb") as file:
            file.write(hashlib.sha256(graph).digest())
            file.write(graph)
        os.replace(temporary, folder / f"{key}{_SUFFIX}")
        _delete_oldest(folder)
    except OSError as error:
        log.info("a graph cannot be kept for the next start", folder=str(folder), reason=str(error))
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def _delete_oldest(folder: Path) -> None:
    """Delete graphs that were not used for longest until at most MAX_BYTES of them are left; no other files."""
    files = []
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another process deleted it just now
            if path.suffix in (_SUFFIX, _UNFINISHED) and path.is_file():
                files.append((path, path.stat()))
    left = sum(status.st_size for _, status in files)
    for path, status in sorted(files, key=lambda entry: entry[1].st_mtime):
        if left <= MAX_BYTES:
            return
        path.unlink(missing_ok=True)
        left -= status.st_size
