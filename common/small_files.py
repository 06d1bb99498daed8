"""Reading of files that a user names, and that should be small: settings, certificates, tokens."""

from __future__ import annotations

import errno
from pathlib import Path

MAX_BYTES = 1 << 20
"""Largest size of a file."""


def read_small_file(path: Path) -> bytes:
    """Return the content of a file. Raises OSError if it cannot be read, or has more than MAX_BYTES."""
    with path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)  # a device such as /dev/zero never ends
    if len(content) > MAX_BYTES:
        raise OSError(errno.EFBIG, f"it has more than {MAX_BYTES} bytes")
    return content
