"""Reader of YAML 1.2 files that people write: channel profiles and scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError, SafeConstructor
from ruamel.yaml.nodes import ScalarNode

from gocom.common.errors import InvalidInput

MAX_QUOTED = 300
"""Longest part of a parser's message that an error repeats, in characters."""


class _Constructor(SafeConstructor):
    """A constructor of plain data that reads numbers as YAML 1.2 does: 1_0 is text, and not 10 as in the library."""

    def construct_number(self, node: ScalarNode) -> int | float | str:
        """Return the int or float of a scalar that looks like one; its text if there is an underscore in it."""
        if "_" in node.value:
            return str(node.value)
        number: int | float
        number = self.construct_yaml_int(node) if str(node.tag).endswith(":int") else self.construct_yaml_float(node)
        return number


for _tag in ("int", "float"):
    _Constructor.add_constructor(f"tag:yaml.org,2002:{_tag}", _Constructor.construct_number)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML 1.2 file as dicts, lists, text, numbers, dates, booleans and None.

    Raises:
        InvalidInput: the file cannot be read, or is not YAML; a key that is given twice is named.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return yaml.load(path.read_text("utf-8"))
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1
        raise InvalidInput(f"cannot read {str(path)!r}: in line {line}: {error.problem[:MAX_QUOTED]}") from None
    # Besides YAMLError the library raises ValueError for an invalid date, RecursionError for deeply nested brackets,
    # and KeyError or IndexError for a tag with a value that it cannot have.
    except Exception as error:
        words = str(error)[:MAX_QUOTED] or type(error).__name__
        raise InvalidInput(f"cannot read {str(path)!r}: {words}") from None
