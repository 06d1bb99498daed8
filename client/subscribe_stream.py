"""The Subscribe stream of a send: pictures in, resumed at the cursor when it was cut."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from gocom.client.reconnect_patience import Patience
from gocom.common.rpc.client_channels import STREAM_DEADLINE_S
from gocom.v1 import receiver_pb2


class Downlink:
    """Follows the receiver's record of a session; reading it is idempotent.

    Args:
        stub: ReceiverServiceStub.
        where: who is meant in messages.
        session_id: whose pictures.
        previews: also those between the steps of the sampler.
        on_picture: gets them.
        patience: with a receiver that is out of reach.

    Attributes:
        live_since: time.perf_counter() from when on the subscription has stood; None: it does not.
    """

    def __init__(
        self,
        stub: Any,
        where: str,
        session_id: str,
        previews: bool,
        on_picture: Callable[[receiver_pb2.Reconstruction], Awaitable[None]],
        patience: Patience,
    ) -> None:
        self.live_since: float | None = None
        self._stub, self._where, self._patience = stub, where, patience
        self._session_id, self._previews, self._on_picture = session_id, previews, on_picture
        self._cursor = 0

    async def run(self) -> None:
        """For ever. Raises GoComError when the receiver refuses, or stays away."""
        while True:
            error = await self._stream()
            self.live_since = None
            if error is not None and self._cursor and error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                self._cursor = 0  # the clock of a receiver that was started anew is behind
                continue
            await self._patience.lost(error, self._where)

    async def _stream(self) -> grpc.aio.AioRpcError | None:
        request = receiver_pb2.SubscribeRequest(
            session_id=self._session_id, cursor=self._cursor, previews=self._previews
        )
        call = self._stub.Subscribe(request, timeout=STREAM_DEADLINE_S)
        try:
            await call.initial_metadata()
            self.live_since = time.perf_counter()
            self._patience.heard()
            async for response in call:
                self._cursor = response.cursor
                await self._on_picture(response.reconstruction)
        except grpc.aio.AioRpcError as error:
            return error
        finally:
            call.cancel()
        return None
