"""A worker thread that loads and runs the codecs of a service, so that the event loop is not blocked."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

from gocom.common.registry import Registry
from gocom.common.zoo import Zoo

T = TypeVar("T")
R = TypeVar("R")


class CodecWorker(Generic[T]):
    """A thread with the codecs of one service, each of which is loaded on first use and kept.

    There is one thread instead of a pool because nets use all cores by themselves and codecs need not be thread-safe.

    Args:
        registry: factories by codec name; a factory takes the zoo.
        zoo: the nets of the process.
        name: name of the thread.
    """

    def __init__(self, registry: Registry[Callable[[Zoo], T]], zoo: Zoo, name: str) -> None:
        self._registry = registry
        self._zoo = zoo
        self._codecs: dict[str, T] = {}
        self._executor = ThreadPoolExecutor(1, thread_name_prefix=name)

    def codec(self, name: str) -> T:
        """Return the codec of that name, which is loaded on first use. Call it only within a function given to `run`.

        Raises:
            UnknownName: no such codec is registered.
            NotReady: a model of the codec is missing.
            Mismatch: a model of the codec does not fit the code.
        """
        if name not in self._codecs:
            self._codecs[name] = self._registry.get(name)(self._zoo)
        return self._codecs[name]

    async def loaded(self, name: str) -> T:
        """Return the codec of that name, which the worker's thread loads on first use, with the errors of `codec`.

        Its attributes may be read; it must run only within a function given to `run`.
        """
        return self._codecs[name] if name in self._codecs else await self.run(lambda: self.codec(name))

    async def run(self, function: Callable[[], R]) -> R:
        """Return the result of a function that is called in the worker's thread.

        Cancellation does not stop a call that has started.
        """
        return await asyncio.get_running_loop().run_in_executor(self._executor, function)

    async def close(self) -> None:
        """Wait for the running call, cancel the waiting ones, and end the thread."""
        await asyncio.to_thread(self._executor.shutdown, cancel_futures=True)
