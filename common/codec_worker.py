"""One thread in which a service makes its codecs and runs them, away from the event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from gocom.common.registry import Registry

T = TypeVar("T")
R = TypeVar("R")


class CodecWorker(Generic[T]):
    """Codecs of one end, made when first needed and kept.

    One thread, not a pool: nets use all cores by themselves, and codecs need not be thread-safe.

    Args:
        registry: names to factories that take a device.
        device: "auto", "cpu", "cuda" ...
        name: of the thread.
    """

    def __init__(self, registry: Registry[Callable[[str], T]], device: str, name: str) -> None:
        self._registry = registry
        self._device = device
        self._codecs: dict[str, T] = {}
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    def codec(self, name: str) -> T:
        """The codec of that name; to be called in the worker's thread. Raises UnknownName, NotReady, Mismatch."""
        if name not in self._codecs:
            self._codecs[name] = self._registry.get(name)(self._device)
        return self._codecs[name]

    async def run(self, function: Callable[[], R]) -> R:
        """Call it in the worker's thread. A cancelled wait does not stop what has begun."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def close(self) -> None:
        """Wait for what runs, and end the thread."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)
