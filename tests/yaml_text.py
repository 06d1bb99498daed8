"""YAML for tests to write into files."""

import io

from ruamel.yaml import YAML


def as_yaml(document) -> str:
    out = io.StringIO()
    YAML(typ="safe", pure=True).dump(document, out)
    return out.getvalue()
