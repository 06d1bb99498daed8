"""The goal of a session at a receiver, from asyncio programs: read, set or cleared."""

from __future__ import annotations

from typing import Any

import grpc

from gocom.client.callers_code import told_if_closed
from gocom.client.reconnect_policy import service_error
from gocom.common.errors import InvalidInput, abbreviate
from gocom.common.goals import ConsumerGoal, GoalState
from gocom.common.rpc.client_channels import RPC_DEADLINE_S
from gocom.common.rpc.own_process import OwnProcess
from gocom.common.wire.frame_messages import check_session_id
from gocom.common.wire.goals import goal_state_from_proto, goal_to_proto
from gocom.v1 import receiver_pb2

LOAD_S = 60.0
"""Deadline, in seconds, of a call for which the receiver may have to load the net of a task."""


class GoalControl:
    """A client of the calls of ReceiverService that are about goals.

    Args:
        stub: ReceiverServiceStub.
        address: host:port of the receiver, for messages.
        process: the process of this client.
    """

    def __init__(self, stub: Any, address: str, process: OwnProcess) -> None:
        self._stub, self._where, self._process = stub, f"receiver at {address}", process

    async def get(self, session_id: str) -> GoalState:
        """Return the goal of a session; none, with revision 0, for a session that the receiver does not know.

        Raises:
            InvalidInput: the session id is invalid.
            GoComError: the receiver is out of reach.
        """
        check_session_id(session_id)
        request = receiver_pb2.GetGoalRequest(session_id=session_id)
        response = await self._answer(self._stub.GetGoal, request, RPC_DEADLINE_S)
        return goal_state_from_proto(response.state)

    async def set(self, session_id: str, goal: ConsumerGoal | None) -> GoalState:
        """Replace the goal of a session from its next round on, and return it with its revision.

        Args:
            session_id: the session, which need not have begun.
            goal: the goal; None: clear it, so that the sender's policy holds.

        Raises:
            InvalidInput: the session id is invalid, or the task or one of its labels is unknown.
            NotReady: a net of the task is missing, or the receiver is out of reach.
        """
        check_session_id(session_id)
        if not isinstance(goal, ConsumerGoal | None):
            raise InvalidInput(f"goal: {abbreviate(goal)} is not a ConsumerGoal")
        request = receiver_pb2.SetGoalRequest(session_id=session_id, goal=None if goal is None else goal_to_proto(goal))
        response = await self._answer(self._stub.SetGoal, request, LOAD_S)
        return goal_state_from_proto(response.state)

    async def label_names(self, task: str) -> tuple[str, ...]:
        """Return the names of a task's labels, by index. Raises InvalidInput for an unknown task, and NotReady."""
        if not isinstance(task, str):
            raise InvalidInput(f"task: {abbreviate(task)} is not the name of a task")
        request = receiver_pb2.DescribeTaskRequest(task=task)
        return tuple((await self._answer(self._stub.DescribeTask, request, LOAD_S)).label_names)

    async def _answer(self, method: Any, request: Any, timeout_s: float) -> Any:
        self._process.check()
        with told_if_closed(self._process):
            try:
                return await method(request, timeout=timeout_s)
            except grpc.aio.AioRpcError as error:
                raise service_error(error, self._where) from error
