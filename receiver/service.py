"""The receiver's two gRPC services, LinkService and ReceiverService, and the function that starts them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from functools import partial
from itertools import count
from typing import Any

import grpc
import numpy as np

from gocom.common.codec_worker import CodecWorker
from gocom.common.errors import InvalidInput, Mismatch, NotReady
from gocom.common.goals import ConsumerGoal, GoalState, check_text
from gocom.common.logs import get_logger
from gocom.common.rpc.server import RunningServer, start_server
from gocom.common.settings import ReceiverSettings
from gocom.common.tasks import Task
from gocom.common.types import LinkSettings
from gocom.common.wire.frame_headers import check_version, defaults_from_proto
from gocom.common.wire.frame_messages import check_session_id, link_from_proto
from gocom.common.wire.goals import goal_from_proto, goal_state_to_proto
from gocom.common.zoo import held_knowledge, open_zoo
from gocom.receiver.decode_loop import decode_all
from gocom.receiver.decoders import DECODERS
from gocom.receiver.feedback_client import FeedbackClient
from gocom.receiver.frame_decoding import WARM_SIDE_PX, warm_up
from gocom.receiver.link_session import LinkSession
from gocom.receiver.link_state import DecodeJob, LinkDependencies
from gocom.receiver.session_pictures import SessionRecord, SessionStore
from gocom.receiver.tasks import LoadedTasks
from gocom.v1 import link_pb2, link_pb2_grpc, receiver_pb2, receiver_pb2_grpc

log = get_logger("receiver")

Context = grpc.aio.ServicerContext[Any, Any]


class Receiver(link_pb2_grpc.LinkServiceServicer, receiver_pb2_grpc.ReceiverServiceServicer):
    """Servicer of LinkService and ReceiverService; see link.proto and receiver.proto.

    Attributes:
        ready: whether the decoders are loaded; until then Send is refused with UNAVAILABLE.
    """

    def __init__(self, dependencies: LinkDependencies, store: SessionStore) -> None:
        self.ready = False
        self._dependencies = dependencies
        self._store = store
        # Numbers of the calls that set a goal. Loading a task takes time, in which a later call may overtake it.
        self._arrivals = count(1)

    async def Send(
        self, request_iterator: AsyncIterator[link_pb2.SendRequest], context: Context
    ) -> AsyncIterator[link_pb2.SendResponse]:
        """Serve one link stream. An invalid frame is refused alone.

        Raises:
            InvalidInput: the opening, or an item outside of a frame, is invalid.
            Mismatch: the two ends hold different models.
            NotReady: models are loading, or the service shuts down.
            Busy: all session records are in use.
        """
        if not self.ready:
            raise NotReady("receiver: loading models")
        seconds = self._dependencies.settings.first_item_s
        try:
            first = await asyncio.wait_for(anext(request_iterator, None), seconds)
        except TimeoutError:
            raise InvalidInput(f"open: missing; no item came within {seconds:g} s") from None
        if first is None or first.WhichOneof("item") != "open":
            raise InvalidInput("open: missing; it is the first item of a stream")
        opening = first.open
        check_version(opening)
        check_session_id(opening.session_id)
        defaults = defaults_from_proto(opening.defaults)
        link = link_from_proto(opening.link) if opening.HasField("link") else LinkSettings()
        await asyncio.to_thread(check_knowledge, opening)
        record = self._store.hold(opening.session_id, writer=True)
        session = LinkSession(opening.session_id, link, defaults, opening.seed, record, self._dependencies)
        reader = asyncio.create_task(session.read(request_iterator))
        try:
            timeout = self._dependencies.settings.feedback_timeout_s
            yield link_pb2.SendResponse(accepted=link_pb2.SessionAccepted(feedback_timeout_seconds=timeout))
            while (response := await session.frames.responses.get()) is not None:
                yield response
            await reader
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)
            await session.frames.close()
            self._store.release(record, writer=True)

    async def Subscribe(
        self, request: receiver_pb2.SubscribeRequest, context: Context
    ) -> AsyncIterator[receiver_pb2.SubscribeResponse]:
        """Yield the pictures after the cursor, then new ones, and the session's goals. Sets the goal of the request.

        Raises:
            InvalidInput: the session, the cursor or the goal is invalid, or the goal's task is unknown.
            NotReady: a net of the goal's task is missing, or the service shuts down.
            Busy: all session records are in use.
        """
        check_session_id(request.session_id)
        arrival = next(self._arrivals)
        goal = await self._read_goal(request.goal) if request.HasField("goal") else None
        record = self._store.hold(request.session_id)
        record.preview_subscribers += request.previews
        try:
            # First, since it raises for a cursor that cannot be: a refused call must not change everybody's goal.
            following = record.follow(request.cursor, request.previews)
            if goal is not None and not (request.goal_if_none and record.goal.revision):
                self._set_goal(request.session_id, record, goal, arrival)
            # Sent at once, so that the client knows that it is subscribed before there is a picture.
            await context.send_initial_metadata(())
            async with contextlib.aclosing(following) as pictures:
                async for picture in pictures:
                    yield picture
        finally:
            record.preview_subscribers -= request.previews
            self._store.release(record)

    async def SetGoal(self, request: receiver_pb2.SetGoalRequest, context: Context) -> receiver_pb2.SetGoalResponse:
        """Set or clear the goal of a session, unless a call that came later has already done so.

        Raises InvalidInput, NotReady and Busy like Subscribe.
        """
        check_session_id(request.session_id)
        arrival = next(self._arrivals)
        goal = await self._read_goal(request.goal) if request.HasField("goal") else None
        record = self._store.hold(request.session_id)
        try:
            state = self._set_goal(request.session_id, record, goal, arrival)
        finally:
            self._store.release(record)
        return receiver_pb2.SetGoalResponse(state=goal_state_to_proto(state))

    async def GetGoal(self, request: receiver_pb2.GetGoalRequest, context: Context) -> receiver_pb2.GetGoalResponse:
        """Return the goal of a session, which is none for an unknown session. Raises InvalidInput."""
        check_session_id(request.session_id)
        record = self._store.find(request.session_id)
        state = GoalState() if record is None else record.goal
        return receiver_pb2.GetGoalResponse(state=goal_state_to_proto(state))

    async def DescribeTask(
        self, request: receiver_pb2.DescribeTaskRequest, context: Context
    ) -> receiver_pb2.DescribeTaskResponse:
        """Return the labels of a task. Raises InvalidInput if it is unknown, NotReady if one of its nets is missing."""
        if request.task:  # without one, the choices are listed
            check_text(request.task, "task")
        return receiver_pb2.DescribeTaskResponse(label_names=(await self._load_task(request.task)).label_names)

    async def _load_task(self, name: str) -> Task:
        """Return a task, which is loaded in the worker's thread. Raises InvalidInput, NotReady."""
        tasks = self._dependencies.tasks
        if (task := tasks.loaded(name)) is not None:
            return task
        return await self._dependencies.decoders.run(partial(tasks.get, name))

    async def _read_goal(self, message: receiver_pb2.Goal) -> ConsumerGoal:
        """Return the goal of a message, whose task is loaded. Raises InvalidInput, NotReady."""
        goal = goal_from_proto(message)
        if goal.task is not None:
            goal.check_labels_among((await self._load_task(goal.task)).label_names)
        return goal

    def _set_goal(self, session_id: str, record: SessionRecord, goal: ConsumerGoal | None, arrival: int) -> GoalState:
        state = record.set_goal(goal, arrival)
        log.info("goal set", session_id=session_id, revision=state.revision, goal=state.goal)
        return state


def check_knowledge(opening: link_pb2.SessionOpen) -> None:
    """Raise Mismatch if a model that both ends hold differs. Names that this end does not know are ignored."""
    held = held_knowledge()
    for item in opening.knowledge:
        mine = held.get(item.name, item.sha256)
        if mine != item.sha256:
            theirs = item.sha256.hex()[:12] or "none"
            raise Mismatch(f"knowledge: {item.name} differs: transmitter {theirs}, receiver {mine.hex()[:12]}")


def _warm_up_task(tasks: LoadedTasks, name: str) -> None:
    """Load a task and run it once on a grey picture."""
    tasks.get(name).run(np.full((3, WARM_SIDE_PX, WARM_SIDE_PX), 0.5, np.float32))


async def serve(settings: ReceiverSettings) -> RunningServer:
    """Start the receiver and return when its decoders are warm and its health status is SERVING.

    Raises:
        InvalidInput: the security settings are invalid, or a task in `warm_tasks` is unknown.
        NotReady: the service cannot listen on its address, or a model is missing.
        UnknownName: a codec in `warm_codecs` is unknown.
    """
    # The hashes are computed before the nets are loaded, so that they belong to the same files.
    await asyncio.to_thread(held_knowledge)
    zoo = open_zoo(settings.device)
    zoo.log = log
    decoders, tasks = CodecWorker(DECODERS, zoo, "decode"), LoadedTasks(zoo)
    feedback = FeedbackClient(settings.feedback_address, settings.feedback_timeout_s, settings.feedback_try_s, settings)
    jobs: asyncio.Queue[DecodeJob] = asyncio.Queue(settings.queue_frames)
    store = SessionStore(settings.keep_sessions, settings.keep_frames, settings.keep_bytes)
    dependencies = LinkDependencies(settings, decoders, tasks, feedback, jobs)
    service = Receiver(dependencies, store)

    def add(server: grpc.aio.Server) -> list[str]:
        link_pb2_grpc.add_LinkServiceServicer_to_server(service, server)
        receiver_pb2_grpc.add_ReceiverServiceServicer_to_server(service, server)
        return [
            link_pb2.DESCRIPTOR.services_by_name["LinkService"].full_name,
            receiver_pb2.DESCRIPTOR.services_by_name["ReceiverService"].full_name,
        ]

    running: RunningServer | None = None
    try:
        running = await start_server(settings, add)
        running.on_drain += [dependencies.draining.set, store.close]
        for codec in settings.warm_codecs:
            await decoders.run(partial(warm_up, decoders, codec))
        for task in settings.warm_tasks:
            await decoders.run(partial(_warm_up_task, tasks, task))
    except BaseException:
        if running is not None:
            await running.stop(0)
        await decoders.close()
        await feedback.close()
        raise
    decoding = asyncio.create_task(decode_all(dependencies))

    async def stop_decoding() -> None:
        decoding.cancel()
        await asyncio.gather(decoding, return_exceptions=True)

    running.on_stop += [stop_decoding, decoders.close, feedback.close]
    service.ready = True
    await running.set_serving(True)
    log.info("ready", feedback=settings.feedback_address, warm=[*settings.warm_codecs, *settings.warm_tasks])
    return running
