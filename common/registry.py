"""Registries that raise on duplicates and name the choices on a miss, and the loader that fills them.

A plug-in is a package with the folders of ours that it adds to: `systems`, `encoders`, `decoders`, `impairments`. Their
modules are imported where the services need them. It is found in one of two ways:

    entry point     an installed distribution names the package in the group gocom.plugins; one that cannot be imported
                    is named on stderr and skipped, since the user may need none of it
    GOCOM_PLUGINS   names of packages, comma-separated, for trying one out; an error in it is raised
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import Generic, TypeVar

from gocom.common.entry_points import PLUGINS, find_entry_points
from gocom.common.errors import UnknownName

T = TypeVar("T")

PLUGINS_VARIABLE = "GOCOM_PLUGINS"


class Registry(Generic[T]):
    """Names to things of one kind; filled when first asked, by importing every module of `home` and of the plug-ins.

    Args:
        kind: what the things are, for messages: "codec", "impairment".
        home: package whose modules register themselves, such as "gocom.transmitter.encoders".
        file_of: says in which file of the folders a name is likely registered, without its ending. That file is tried
            first, so that a service that serves jpeg need not import torch; None: all are imported at once.
    """

    def __init__(self, kind: str, home: str, file_of: Callable[[str], str] | None = None) -> None:
        self.kind = kind
        self.home = home
        self._file_of = file_of
        self._items: dict[str, T] = {}
        self._loaded: set[str] = set()

    def register(self, name: str) -> Callable[[T], T]:
        """Decorator: put a thing under `name`. Raises ValueError for a name that is taken."""

        def put(item: T) -> T:
            self.add(name, item)
            return item

        return put

    def add(self, name: str, item: T) -> None:
        """Put a thing under `name`. Raises ValueError for a name that is taken."""
        if name in self._items:
            raise ValueError(f"{self.kind}: {name!r} is registered twice, by {self._items[name]!r} and {item!r}")
        self._items[name] = item

    def get(self, name: str) -> T:
        """The thing under `name`. Raises UnknownName with the choices."""
        if name not in self._items and self._file_of is not None:
            self._import_file(self._file_of(name))
        if name not in self._items:
            self.load()
        if name not in self._items:
            raise UnknownName(self.kind, name, self._items)
        return self._items[name]

    def __contains__(self, name: str) -> bool:
        self.load()
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        self.load()
        return iter(sorted(self._items))

    def load(self) -> None:
        """Import this registry's home and the same folder of every plug-in package."""
        for package in [self.home, *self._tried_out()]:
            self._load_folder(package)
        for name, package in self._installed():
            self._or_skip(name, partial(self._load_folder, package))

    def _load_folder(self, package: str) -> None:
        """Import every module of a package, once; a plug-in need not have it."""
        if package in self._loaded:
            return
        self._loaded.add(package)
        if package != self.home and importlib.util.find_spec(package) is None:
            return
        module = importlib.import_module(package)
        for entry in pkgutil.iter_modules(module.__path__):
            importlib.import_module(f"{package}.{entry.name}")

    def _load_file(self, package: str, file: str) -> None:
        """Import the module of that name in a package, where there is one."""
        if importlib.util.find_spec(package) and importlib.util.find_spec(f"{package}.{file}"):
            importlib.import_module(f"{package}.{file}")

    def _import_file(self, file: str) -> None:
        """Import the modules of that name in this registry's home and in the plug-ins."""
        if not file:
            return
        for package in [self.home, *self._tried_out()]:
            self._load_file(package, file)
        for name, package in self._installed():
            self._or_skip(name, partial(self._load_file, package, file))

    @property
    def _folder(self) -> str:
        return self.home.rpartition(".")[2]

    def _tried_out(self) -> list[str]:
        """This registry's folder in each package that GOCOM_PLUGINS names."""
        names = (name.strip() for name in os.environ.get(PLUGINS_VARIABLE, "").split(","))
        return [f"{name}.{self._folder}" for name in names if name]

    def _installed(self) -> list[tuple[str, str]]:
        """(name, this registry's folder in its package) of each plug-in that is installed and was not skipped."""
        points = find_entry_points(PLUGINS)
        return [(name, f"{point.value}.{self._folder}") for name, point in points.items() if name not in _skipped]

    def _or_skip(self, name: str, load: Callable[[], None]) -> None:
        try:
            load()
        except Exception as error:  # whatever a plug-in does while it is imported
            _skipped.add(name)
            reason = f"{type(error).__name__}: {error}"
            print(f"gocom: the plug-in {name!r} is skipped, it cannot be imported ({reason})", file=sys.stderr)


_skipped: set[str] = set()
"""Names of installed plug-ins that could not be imported."""
