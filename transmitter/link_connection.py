"""The link of a session, which is opened when it is first needed, and opened again after it was cut."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, wait_random_exponential

from gocom.common.errors import GoComError, InvalidInput, Mismatch, TooLarge, Unauthenticated, UnknownName
from gocom.common.logs import get_logger
from gocom.transmitter.link_stream import LinkStream
from gocom.v1 import link_pb2

log = get_logger("transmitter")

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 1.0
"""First and longest pause between attempts to open the link, in seconds, before jitter."""


def is_transient(error: BaseException) -> bool:
    """Return whether the same call may succeed later. It cannot if the peer refused its content or the credentials."""
    refusals = InvalidInput | Mismatch | TooLarge | Unauthenticated | UnknownName
    return isinstance(error, GoComError) and not isinstance(error, refusals)


class LinkConnection:
    """The link to the next hop: at most one LinkStream at a time, opened on demand.

    Args:
        stub: LinkServiceStub of the next hop.
        opening: the request that opens the session, the first item of every stream. It is read when a stream is opened.
        patience_s: seconds for which opening is tried again, counted from when the link was lost.
        on_response: called with every acknowledgement and outcome.
        on_cut: called with the reason, once for each open stream that ended otherwise than by `finish` or `close`.
        on_down: called with the reason each time that a stream could not be opened, if this will be tried again.
    """

    def __init__(
        self,
        stub: Any,
        opening: link_pb2.SessionOpen,
        patience_s: float,
        on_response: Callable[[link_pb2.SendResponse], None],
        on_cut: Callable[[Exception], None],
        on_down: Callable[[BaseException], None],
    ) -> None:
        self._stub, self._opening, self._patience_s = stub, opening, patience_s
        self._on_response, self._on_cut, self._on_down = on_response, on_cut, on_down
        self._stream: LinkStream | None = None
        self._lost_at: float | None = None

    async def get_stream(self) -> LinkStream:
        """Return the open stream. If there is none, try to open one until it succeeds or the patience is over.

        Raises:
            GoComError: the next hop refuses the session, or could not be reached for `patience_s`.
        """
        if self._stream is not None:
            return self._stream
        retrying = AsyncRetrying(
            retry=retry_if_exception(is_transient),
            stop=self._patience_is_over,
            # Jitter keeps sessions that lost the same link from opening it again all at once.
            wait=wait_random_exponential(multiplier=FIRST_PAUSE_S, min=FIRST_PAUSE_S / 2, max=LONGEST_PAUSE_S),
            before_sleep=self._report,
            reraise=True,
        )
        stream: LinkStream = await retrying(self._open)
        self._stream = stream
        if self._lost_at is not None:
            log.info("link is back", seconds=round(time.monotonic() - self._lost_at, 2))
        self._lost_at = None
        return stream

    async def _open(self) -> LinkStream:
        """Try once to open a stream. Raises GoComError."""
        stream = LinkStream(self._stub, self._on_response, self._on_end)
        try:
            await stream.open(self._opening)
        except BaseException as error:
            await stream.close()
            if self._lost_at is None and is_transient(error):
                self._lost_at = time.monotonic()
            raise
        return stream

    def _patience_is_over(self, state: RetryCallState) -> bool:
        # The time counts from when the link was lost, not from the call of `get_stream`, since several frames may call
        # it one after another.
        return self._lost_at is not None and time.monotonic() - self._lost_at >= self._patience_s

    def _report(self, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome is not None else None
        if error is None:
            return
        if state.attempt_number == 1:
            log.warning("link is down", reason=str(error))
        self._on_down(error)

    @property
    def handshake_bytes(self) -> int:
        """Bytes of the opening of the session on the open stream and of the answer to it; 0 if none is open."""
        return 0 if self._stream is None else self._stream.handshake_bytes

    def cancel(self) -> None:
        """Cancel the stream, as if the link had been cut."""
        if self._stream is not None:
            self._stream.cancel()

    async def drop(self, error: Exception) -> None:
        """Close a stream that failed in a write, and report it as cut."""
        stream, self._stream = self._stream, None
        if stream is not None:
            self._on_cut(error)
            await stream.close()

    async def finish(self) -> None:
        """Close the stream after its last item was sent; the next `get_stream` opens another."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.finish()

    async def close(self) -> None:
        """Cancel the stream without reporting it."""
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.close()

    def _on_end(self, error: GoComError) -> None:
        self._stream = None
        self._on_cut(error)
