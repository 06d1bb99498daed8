"""Reader of the YAML 1.2 files that users write: channel profiles and fault scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError, SafeConstructor
from ruamel.yaml.nodes import ScalarNode

from gocom.common.errors import InvalidInput
from gocom.common.small_files import read_small_file

MAX_QUOTED = 300
"""Largest number of characters that an error message quotes from the parser's message, or from the file."""


class _Constructor(SafeConstructor):
    """A constructor of plain data that reads numbers as YAML 1.2 does: 1_0 and 0b11 are text.

    The library by itself reads 10 and 3.
    """

    def construct_number(self, node: ScalarNode) -> int | float | str:
        """Return the int or float that a scalar stands for, or its text if it has an underscore or is binary."""
        if "_" in node.value or node.value.lower().lstrip("+-").startswith("0b"):
            return str(node.value)
        number: int | float
        number = self.construct_yaml_int(node) if str(node.tag).endswith(":int") else self.construct_yaml_float(node)
        return number


for _tag in ("int", "float"):
    _Constructor.add_constructor(f"tag:yaml.org,2002:{_tag}", _Constructor.construct_number)


def read_yaml(path: Path) -> Any:
    """Return the content of a YAML 1.2 file as dicts, lists, text, numbers, dates, booleans and None.

    A file that begins with a directive of another version, such as %YAML 1.1, is read by the rules of that one.

    Raises:
        InvalidInput: the file cannot be read, is longer than 1 MiB, is not valid YAML, or gives a key twice; the
            message then names the key.
    """
    yaml = YAML(typ="safe", pure=True)
    yaml.Constructor = _Constructor
    try:
        return yaml.load(read_small_file(path).decode())
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1
        raise InvalidInput(f"cannot read {str(path)!r}: in line {line}: {error.problem[:MAX_QUOTED]}") from None
    except OSError as error:
        raise InvalidInput(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    # Besides YAMLError the library raises ValueError for an invalid date, RecursionError for deeply nested brackets,
    # and KeyError or IndexError for a tag whose value is invalid.
    except Exception as error:
        words = str(error)[:MAX_QUOTED] or type(error).__name__
        raise InvalidInput(f"cannot read {str(path)!r}: {words}") from None
