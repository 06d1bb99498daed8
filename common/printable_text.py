"""Text of strangers, such as the name of a file, made safe for a terminal."""

from __future__ import annotations

import unicodedata

_BIDI_CONTROLS = {*map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}
"""Characters that change the order in which a terminal shows those around them."""


def printable(text: str, keep: str = "") -> str:
    """Return text with escape sequences in place of what a terminal would obey, or could not show.

    These are control characters, bytes of a file name that is not UTF-8, and characters that change the direction of
    writing. With keep="\\n\\t" lines and tabs stay as they are.
    """
    return "".join(c if c in keep or not _is_control(c) else c.encode("unicode_escape").decode() for c in text)


def _is_control(character: str) -> bool:
    kind = unicodedata.category(character)
    return kind in ("Cc", "Cs", "Zl", "Zp") or character in _BIDI_CONTROLS
