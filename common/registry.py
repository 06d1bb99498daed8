"""Registries of codecs, impairments and the like, filled by importing modules of this package and of plug-ins.

A plug-in is a package with one or more folders named as ours: `systems`, `encoders`, `decoders`, `impairments`,
`tasks`, `studies`. Each service imports the modules of the folders that it needs. Plug-ins are found in two ways:

    entry point     An installed distribution names the package in the group gocom.plugins. A plug-in that cannot be
                    imported is named on stderr and skipped, since the user may need nothing of it.
    GOCOM_PLUGINS   This environment variable names packages, separated by commas, for trying out a plug-in. An error
                    in one of them is raised.
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
from gocom.common.errors import NotReady, UnknownName

T = TypeVar("T")

PLUGINS_VARIABLE = "GOCOM_PLUGINS"
"""Name of the environment variable that names plug-ins to try out."""


class Registry(Generic[T]):
    """A mapping from names to items of one kind, such as codecs.

    It is filled at the first lookup, by importing every module of `home` and of the same folder in each plug-in.

    Args:
        kind: kind of the items, for messages: "codec", "impairment".
        home: package whose modules register items, such as "gocom.transmitter.encoders".
        file_of: function from the name of an item to the name, without ".py", of the file that probably registers it.
            That file is imported first, so that a service that serves jpeg need not import torch. If it is None, or
            returns "", all modules are imported.
    """

    def __init__(self, kind: str, home: str, file_of: Callable[[str], str] | None = None) -> None:
        self.kind = kind
        self.home = home
        self._file_of = file_of
        self._items: dict[str, T] = {}
        self._loaded: set[str] = set()
        self._lacking: dict[str, str] = {}  # modules of our own that cannot be imported here: name, missing package

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that registers an item under `name`. It raises ValueError for a name that is taken."""

        def register_item(item: T) -> T:
            self.add(name, item)
            return item

        return register_item

    def add(self, name: str, item: T) -> None:
        """Register an item under `name`. Raises ValueError for a name that is taken."""
        if name in self._items:
            raise ValueError(f"{self.kind}: {name!r} is registered twice, by {self._items[name]!r} and {item!r}")
        self._items[name] = item

    def get(self, name: str) -> T:
        """Return the item registered under `name`.

        Raises:
            UnknownName: there is none; the message lists the choices.
            NotReady: it needs a package that is not installed.
        """
        file = "" if self._file_of is None else self._file_of(name)
        if name not in self._items:
            self._load_likely_file(file)
        if name not in self._items and file in self._lacking:
            raise NotReady(f"{self.kind}: {name!r} needs {self._lacking[file]}, which is not installed here")
        if name not in self._items:
            self.load()
        if name not in self._items:
            raise UnknownName(self.kind, name, self._items, self._left_out())
        return self._items[name]

    def __contains__(self, name: str) -> bool:
        self.load()
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        self.load()
        return iter(sorted(self._items))

    def load(self) -> None:
        """Import all modules of this registry's home, and of the same folder in every plug-in."""
        for package in [self.home, *self._trial_packages()]:
            self._load_folder(package)
        for name, package in self._installed_packages():
            self._load_or_skip(name, partial(self._load_folder, package))

    def _left_out(self) -> str:
        """Return what else could not be imported, for messages; "" for nothing."""
        lacking = ", ".join(f"{file} ({package} is not installed)" for file, package in self._lacking.items())
        skipped = ", ".join(f"{plugin!r} ({reason})" for plugin, reason in _skipped.items())
        notes = {"not loaded": lacking, "skipped plug-ins": skipped}
        return "; ".join(f"{what}: {which}" for what, which in notes.items() if which)

    def _import(self, module: str) -> None:
        """Import a module. One of our own may need a package that is not installed, such as torch; note which."""
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if not module.startswith(f"{self.home}.") or missing in ("", "gocom"):
                raise
            self._lacking[module.rpartition(".")[2]] = missing

    def _load_folder(self, package: str) -> None:
        """Import every module of a package, unless that was done before. A plug-in need not have the package."""
        if package in self._loaded:
            return
        self._loaded.add(package)
        if package != self.home and importlib.util.find_spec(package) is None:
            return
        module = importlib.import_module(package)
        for entry in pkgutil.iter_modules(module.__path__):
            self._import(f"{package}.{entry.name}")

    def _load_file(self, package: str, file: str) -> None:
        """Import the module `file` of a package if it exists."""
        if importlib.util.find_spec(package) and importlib.util.find_spec(f"{package}.{file}"):
            self._import(f"{package}.{file}")

    def _load_likely_file(self, file: str) -> None:
        """Import the module `file` of this registry's home and of the same folder in every plug-in, where it exists."""
        if not file:
            return
        for package in [self.home, *self._trial_packages()]:
            self._load_file(package, file)
        for name, package in self._installed_packages():
            self._load_or_skip(name, partial(self._load_file, package, file))

    @property
    def _folder(self) -> str:
        """Name of the folder, without the packages around it."""
        return self.home.rpartition(".")[2]

    def _trial_packages(self) -> list[str]:
        """Return the dotted name of this registry's folder in each package that GOCOM_PLUGINS names."""
        names = (name.strip() for name in os.environ.get(PLUGINS_VARIABLE, "").split(","))
        return [f"{name}.{self._folder}" for name in names if name]

    def _installed_packages(self) -> list[tuple[str, str]]:
        """Return (name, dotted name of this registry's folder in it) of each installed plug-in that was not skipped."""
        points = find_entry_points(PLUGINS)
        return [(name, f"{point.module}.{self._folder}") for name, point in points.items() if name not in _skipped]

    def _load_or_skip(self, name: str, load: Callable[[], None]) -> None:
        """Call `load`. If it raises, print why, and skip the plug-in of this name from now on."""
        try:
            load()
        except Exception as error:  # importing a plug-in may raise anything
            _skipped[name] = reason = f"{type(error).__name__}: {error}"
            print(f"gocom: the plug-in {name!r} is skipped, it cannot be imported ({reason})", file=sys.stderr)


_skipped: dict[str, str] = {}
"""Installed plug-ins that could not be imported, with the reason."""
