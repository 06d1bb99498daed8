"""Files of the Hugging Face hub in its cache on this machine: found, fetched, or named as missing. No torch.

Whether the network may be used says GOCOM_OFFLINE; the cache is where HF_HOME or HF_HUB_CACHE say, as for all programs
that use the hub.
"""

from __future__ import annotations

import os
from pathlib import Path

from gocom.common.errors import InvalidInput, NotReady
from gocom.common.net_sources import HubFiles

OFFLINE_VARIABLE = "GOCOM_OFFLINE"
_WORDS = {"": False, "0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


def is_offline() -> bool:
    """Return whether GOCOM_OFFLINE forbids fetching files. Raises InvalidInput unless it says yes or no."""
    word = os.environ.get(OFFLINE_VARIABLE, "")
    if word.lower() not in _WORDS:
        raise InvalidInput(f"{OFFLINE_VARIABLE}: {word[:40]!r} is neither yes nor no; choose 0 or 1")
    return _WORDS[word.lower()] or os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


def cached_files(source: HubFiles) -> dict[str, Path | None]:
    """Return the place of each file in the cache, by its path in the repository; None: it is not there."""
    try:
        from huggingface_hub import try_to_load_from_cache  # noqa: PLC0415 - only the profile full needs it
    except ImportError:  # the slim image
        return dict.fromkeys(source.files)
    places = {file: try_to_load_from_cache(source.repository, file, revision=source.revision) for file in source.files}
    return {file: Path(at) if isinstance(at, str) and Path(at).is_file() else None for file, at in places.items()}


def snapshot_folder(source: HubFiles) -> Path | None:
    """Return the folder of the repository's root in the cache if all files are there, else None."""
    found = cached_files(source)
    if None in found.values():
        return None
    first, path = next(iter(found.items()))
    assert path is not None
    return path.parents[len(Path(first).parts) - 1]


def fetch(net: str, source: HubFiles) -> Path:
    """Return the folder of the repository's root in the cache, and fetch files that are not there if that is allowed.

    Args:
        net: name of the net, for messages.
        source: its files.

    Raises:
        NotReady: files are missing, and they may not or cannot be fetched; the message says which and why.
    """
    folder = snapshot_folder(source)
    if folder is not None:
        return folder
    what = f"net {net}: {source.repository} at revision {source.revision}"
    if is_offline():
        missing = [file for file, path in cached_files(source).items() if path is None]
        raise NotReady(
            f"{what} lacks {', '.join(missing)} in the cache of the hub, and {OFFLINE_VARIABLE} "
            "or HF_HUB_OFFLINE forbids fetching; "
            "`GOCOM_ZOO=full gocom zoo --fetch` fetches all where there is a network"
        )
    try:
        from huggingface_hub import hf_hub_download  # noqa: PLC0415
        from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError  # noqa: PLC0415
    except ImportError:
        raise NotReady(f"{what}: the package huggingface_hub, which fetches it, is not installed here") from None

    for file in source.files:
        try:
            hf_hub_download(source.repository, file, revision=source.revision)
        except RevisionNotFoundError:
            raise NotReady(f"{what}: the hub has no such revision") from None
        except RepositoryNotFoundError:
            raise NotReady(f"{what}: the hub has no such repository, or it asks for a login") from None
        except Exception as error:  # of the hub, its client and the disk, of many types
            words = (str(error).strip() or type(error).__name__).split("\n")[0][:200]
            raise NotReady(f"{what}: {file} cannot be fetched ({words})") from error
    folder = snapshot_folder(source)
    if folder is None:
        raise NotReady(f"{what}: its files are not in the cache after fetching")
    return folder
