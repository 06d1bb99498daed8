"""The Subscribe stream of a send: pictures from the receiver. A stream that was cut is resumed at its cursor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc

from gocom.client.reconnect_policy import ReconnectPolicy
from gocom.common.goals import ConsumerGoal
from gocom.common.rpc.client_channels import STREAM_DEADLINE_S
from gocom.common.wire.goals import goal_state_from_proto, goal_to_proto
from gocom.v1 import receiver_pb2


class SubscribeStream:
    """The Subscribe stream of one send, which reads the pictures that the receiver keeps of a session.

    Reading does not change what the receiver keeps, so that the stream can be opened again at any cursor.

    Args:
        stub: ReceiverServiceStub.
        where: name and address of the receiver, for messages.
        session_id: session whose pictures are read.
        previews: whether to read also the pictures between the steps of the sampler.
        goal: goal to set for the session; None: it stays as it is.
        on_picture: called with each picture.
        reconnect: when to open the stream again, and when to give up.

    Attributes:
        live_since: time.perf_counter() when the current stream was opened; None: no stream is open.
        subscribed: set once the receiver has accepted a stream. Then the goal has held.
    """

    def __init__(
        self,
        stub: Any,
        where: str,
        session_id: str,
        previews: bool,
        goal: ConsumerGoal | None,
        on_picture: Callable[[receiver_pb2.Reconstruction], Awaitable[None]],
        reconnect: ReconnectPolicy,
    ) -> None:
        self.live_since: float | None = None
        self.subscribed = asyncio.Event()
        self._stub, self._where, self._reconnect = stub, where, reconnect
        self._session_id, self._previews, self._on_picture = session_id, previews, on_picture
        self._cursor, self._goal = 0, goal

    async def run(self) -> None:
        """Keep the stream open until this task is cancelled.

        Raises:
            GoComError: the receiver refuses the stream, or has been out of reach for too long.
        """
        while True:
            error = await self._stream()
            self.live_since = None
            if error is not None and self._cursor and error.code() == grpc.StatusCode.INVALID_ARGUMENT:
                self._cursor = 0  # the clock of a restarted receiver is behind its earlier cursors
                continue
            await self._reconnect.wait_or_raise(error, self._where)

    async def _stream(self) -> grpc.aio.AioRpcError | None:
        """Open one stream, and run it to its end. Return the error that ended it, or None if it ended without one."""
        request = receiver_pb2.SubscribeRequest(
            session_id=self._session_id, cursor=self._cursor, previews=self._previews,
            goal=None if self._goal is None else goal_to_proto(self._goal), goal_if_none=self.subscribed.is_set(),
        )  # fmt: skip
        call = self._stub.Subscribe(request, timeout=STREAM_DEADLINE_S)
        try:
            await call.initial_metadata()
            # A call that was refused, or has reached nobody, ends here with empty metadata instead of an exception. A
            # receiver that stops right after it has subscribed us may look the same: then the goal is set once more.
            if not call.done():
                self.live_since = time.perf_counter()
                self.subscribed.set()
                self._reconnect.mark_reached()
            async for response in call:
                self._reconnect.mark_progress()
                self._cursor = response.cursor
                if response.WhichOneof("event") == "goal":
                    # The goal that a restarted receiver gets again.
                    self._goal = goal_state_from_proto(response.goal).goal
                else:
                    await self._on_picture(response.reconstruction)
        except grpc.aio.AioRpcError as error:
            return error
        finally:
            call.cancel()
        return None
