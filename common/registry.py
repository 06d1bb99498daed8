"""Registries that raise on duplicates and name the choices on a miss, and the loader that fills them.

A plug-in is a module in one of the plug-in folders (`common/systems`, `transmitter/encoders`, `receiver/decoders`,
`channel_emulator/impairments`), or the same folder of a package named in GOCOM_PLUGINS (comma-separated): its
`systems`, `encoders`, `decoders` and `impairments` are imported where the services need them.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

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
        for package in self._packages():
            if package in self._loaded:
                continue
            self._loaded.add(package)
            if package != self.home and importlib.util.find_spec(package) is None:
                continue
            module = importlib.import_module(package)
            for entry in pkgutil.iter_modules(module.__path__):
                importlib.import_module(f"{package}.{entry.name}")

    def _packages(self) -> list[str]:
        folder = self.home.rpartition(".")[2]
        plugins = [p.strip() for p in os.environ.get(PLUGINS_VARIABLE, "").split(",") if p.strip()]
        return [self.home, *(f"{p}.{folder}" for p in plugins)]

    def _import_file(self, file: str) -> None:
        """Import the files of that name, where there are any."""
        for package in self._packages() if file else []:
            if importlib.util.find_spec(package) and importlib.util.find_spec(f"{package}.{file}"):
                importlib.import_module(f"{package}.{file}")
