"""The client side of one LinkService.Send call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import grpc

from gocom.common.byte_account import handshake_bytes
from gocom.common.errors import GoComError, Mismatch, NotReady
from gocom.common.logs import get_logger
from gocom.common.rpc.call_status import CallStatus
from gocom.common.rpc.client_channels import RPC_DEADLINE_S, STREAM_DEADLINE_S
from gocom.common.rpc.status_mapping import error_from_rpc
from gocom.v1 import link_pb2

log = get_logger("transmitter")

_NO_ANSWER = "link: what answers is no LinkService of this version"
"""Reason if grpc returns None from a read, which means that it could not decode the answer."""


class LinkStream:
    """One call of LinkService.Send.

    Args:
        stub: LinkServiceStub of the link's next hop.
        on_response: called with every ack and outcome.
        on_failure: called once with the reason if the call ends before `finish`.

    Attributes:
        last_frame: index of the frame whose first round was sent last; -1 if there is none.
        handshake_bytes: bytes of the opening of the session and of the answer to it; 0 before the answer.
    """

    def __init__(
        self,
        stub: Any,
        on_response: Callable[[link_pb2.SendResponse], None],
        on_failure: Callable[[GoComError], None],
    ) -> None:
        self.last_frame = -1
        self.handshake_bytes = 0
        self._call: Any = stub.Send(timeout=STREAM_DEADLINE_S)
        self._status_seen = CallStatus(self._call)
        self._on_response = on_response
        self._on_failure = on_failure
        self._finishing = False
        self._reader: asyncio.Task[None] | None = None

    async def open(self, request: link_pb2.SessionOpen) -> None:
        """Open the session. Raises the receiver's refusal (Mismatch, InvalidInput ...), or NotReady."""
        try:
            async with asyncio.timeout(RPC_DEADLINE_S):
                await self._write(link_pb2.SendRequest(open=request))
                first = await self._call.read()
        except TimeoutError:
            raise NotReady("link: no answer to the opening of the session") from None
        except grpc.aio.AioRpcError as error:
            raise self._error_of(error) from error
        if first is grpc.aio.EOF:
            raise NotReady("link: the session was not accepted")
        if first is None or first.WhichOneof("item") != "accepted":
            raise Mismatch(_NO_ANSWER)
        self.handshake_bytes = handshake_bytes(request, first.accepted)
        self._reader = asyncio.create_task(self._read())

    async def send(self, items: Sequence[link_pb2.SendRequest]) -> None:
        """Write items, slowed down by the peer's flow control. Raises NotReady if the call has ended."""
        for item in items:
            await self._write(item)

    async def _write(self, item: link_pb2.SendRequest) -> None:
        try:
            await self._call.write(item)
        except asyncio.InvalidStateError as error:
            raise await self._status() from error
        except grpc.aio.AioRpcError as error:
            raise self._error_of(error) from error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # grpc raises CancelledError also if the call, not the task, was cancelled.
            raise NotReady("link: the call was cancelled") from None

    def _error_of(self, error: grpc.aio.AioRpcError) -> GoComError:
        """Return the exception of a status; the message of a NotReady begins with "link"."""
        result = error_from_rpc(error, self._status_seen)
        return NotReady(f"link: {result}") if type(result) is NotReady else result

    async def _status(self) -> GoComError:
        code, details = await self._call.code(), await self._call.details()
        return NotReady(f"link: the call ended: {code.name} {details}")

    async def _read(self) -> None:
        error: GoComError
        try:
            while (response := await self._call.read()) is not grpc.aio.EOF and response is not None:
                self._on_response(response)
            error = Mismatch(_NO_ANSWER) if response is None else NotReady("link: the receiver ended the session")
        except grpc.aio.AioRpcError as failure:
            error = self._error_of(failure)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            error = NotReady("link: the call was cancelled")
        except Exception as failure:  # in on_response; the session must not wait for answers that nobody reads any more
            log.error("answer on the link not handled", exc_info=failure)
            error = NotReady(f"link: an answer could not be handled ({type(failure).__name__})")
        if not self._finishing:
            self._on_failure(error)

    async def finish(self) -> None:
        """Half-close the call, and wait for its end."""
        self._finishing = True
        try:
            async with asyncio.timeout(RPC_DEADLINE_S):
                await self._call.done_writing()
                if self._reader is not None:
                    await self._reader
        except (TimeoutError, grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            log.warning("link did not end well", error=str(error) or type(error).__name__)
        finally:
            await self.close()

    def cancel(self) -> None:
        """Cancel the call; `on_failure` is called."""
        self._call.cancel()

    async def close(self) -> None:
        """Cancel the call if it has not ended; `on_failure` is not called."""
        self._finishing = True
        self._call.cancel()
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
