"""The link of a session: opened when it is needed, and again when it was cut."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

from gocom.common.errors import GoComError, InvalidInput, Mismatch, TooLarge, Unauthenticated, UnknownName
from gocom.common.logs import get_logger
from gocom.transmitter.link_call import LinkStream
from gocom.v1 import link_pb2

log = get_logger("transmitter")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0


def passes(error: Exception) -> bool:
    """Whether the same may go well at another time; a refusal for what was sent does not."""
    refusals = InvalidInput | Mismatch | TooLarge | Unauthenticated | UnknownName
    return isinstance(error, GoComError) and not isinstance(error, refusals)


class Reconnector:
    """Keeps one LinkStream.

    Args:
        stub: LinkServiceStub of the next hop.
        opening: of every stream.
        patience_s: how long to go on trying, from when the link was lost.
        on_response: gets acks and outcomes.
        on_cut: called once for each stream that ended before its time, with the reason.
    """

    def __init__(
        self,
        stub: Any,
        opening: link_pb2.SessionOpen,
        patience_s: float,
        on_response: Callable[[link_pb2.SendResponse], None],
        on_cut: Callable[[Exception], None],
    ) -> None:
        self._stub, self._opening, self._patience_s = stub, opening, patience_s
        self._on_response, self._on_cut = on_response, on_cut
        self._stream: LinkStream | None = None
        self._lost_at: float | None = None

    async def connected(self) -> LinkStream:
        """An open stream. Raises the refusal of the next hop, or what is in the way once patience is at its end."""
        now, pause = asyncio.get_running_loop().time, FIRST_PAUSE_S
        while self._stream is None:
            stream = LinkStream(self._stub, self._on_response, self._on_end)
            try:
                await stream.open(self._opening)
            except GoComError as error:
                await stream.close()
                if not passes(error):
                    raise
                if self._lost_at is None:
                    self._lost_at = now()
                    log.warning("link is down", reason=str(error))
                if now() - self._lost_at >= self._patience_s:
                    raise
                # Jitter: sessions that lost the same link should not come back all at once.
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))
                pause = min(2 * pause, LONGEST_PAUSE_S)
            except BaseException:
                await stream.close()
                raise
            else:
                self._stream = stream
                if self._lost_at is not None:
                    log.info("link is back", seconds=round(now() - self._lost_at, 2))
                self._lost_at = None
        return self._stream

    def cancel(self) -> None:
        """Give the stream up, as if it had been cut."""
        if self._stream is not None:
            self._stream.cancel()

    async def drop(self, error: Exception) -> None:
        """The stream is of no more use."""
        stream, self._stream = self._stream, None
        if stream is not None:
            self._on_cut(error)
            await stream.close()

    async def finish(self) -> None:
        """End the stream well; the next `connected` opens another."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.finish()

    async def close(self) -> None:
        """Cancel the stream."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    def _on_end(self, error: GoComError) -> None:
        self._stream = None
        self._on_cut(error)
