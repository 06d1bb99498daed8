"""Which sessions there are. One lives as long as a client listens to it or a frame of it has not ended."""

from __future__ import annotations

import asyncio

from gocom.common.errors import Busy, InvalidInput
from gocom.common.logs import get_logger
from gocom.common.types import LinkSettings
from gocom.common.wire.messages import check_session_id, link_from_proto, link_to_proto
from gocom.transmitter.frame_table import Listener
from gocom.transmitter.transmit_session import TransmitDependencies, TransmitSession
from gocom.v1 import transmitter_pb2

log = get_logger("transmitter")


class SessionTable:
    """Sessions by name."""

    def __init__(self, dependencies: TransmitDependencies) -> None:
        self._dependencies = dependencies
        self._sessions: dict[str, TransmitSession] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def get(self, session_id: str) -> TransmitSession | None:
        """The session of that name."""
        return self._sessions.get(session_id)

    def open(self, first: transmitter_pb2.TransmitRequest) -> TransmitSession:
        """The session that the first request of a stream names, made unless it is resumed.

        Raises:
            InvalidInput: of the name and link settings; a session that another client uses.
            Busy: there are too many.
        """
        name = first.session_id
        check_session_id(name)
        session = self._sessions.get(name)
        if session is None:
            if not first.resumption:
                self._dependencies.outbox.forget(name)
            return self._make(first)
        if not first.resumption:
            raise InvalidInput(f"session_id: {name} is in use; a stream that was cut goes on with resumption set")
        check_same(session, name, first)
        return session

    async def leave(self, name: str, session: TransmitSession, listener: Listener) -> None:
        """A stream has ended. The session goes on, in the background, until the last of its frames has ended."""
        session.leave(listener)
        if session.frames.idle.is_set():
            await self._end(name, session)
        else:
            log.info("session goes on without its client", session=name)
            self._end_later(name, session)

    async def recover(self) -> int:
        """Go on with what the outbox kept while the service was down; -> how many frames that is."""
        frames = 0
        for name, begun in (await self._dependencies.outbox.pending()).items():
            first = await self._dependencies.outbox.request(name, next(iter(begun)))
            session = self._make(first, limited=False)  # what was promised counts more than the limit
            for index, times in begun.items():
                await session.recover(index, times)
            self._end_later(name, session)
            frames += len(begun)
        if frames:
            log.info("frames of before the restart go on", frames=frames)
        return frames

    async def idle(self) -> None:
        """Wait until no session has an open frame."""
        for session in list(self._sessions.values()):
            await session.frames.idle.wait()

    async def close(self) -> None:
        """Drop all that is not finished; the outbox keeps it."""
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()

    def _make(self, first: transmitter_pb2.TransmitRequest, limited: bool = True) -> TransmitSession:
        most = self._dependencies.settings.max_sessions
        if limited and len(self._sessions) >= most:
            raise Busy(f"all {most} sessions of this transmitter are in use")
        link = link_from_proto(first.link) if first.HasField("link") else LinkSettings()
        session = TransmitSession(first.session_id, link, first.seed, self._dependencies)
        self._sessions[first.session_id] = session
        return session

    def _end_later(self, name: str, session: TransmitSession) -> None:
        async def end() -> None:
            await session.frames.idle.wait()
            await self._end(name, session)

        task = asyncio.create_task(end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _end(self, name: str, session: TransmitSession) -> None:
        """End it, unless somebody listens again or it has ended already."""
        if session.frames.listener is not None or self._sessions.get(name) is not session:
            return
        del self._sessions[name]
        try:
            await session.finish()
        finally:
            await session.close()


def check_same(session: TransmitSession, name: str, request: transmitter_pb2.TransmitRequest) -> None:
    """Raises InvalidInput for a request that contradicts its session."""
    if request.session_id not in ("", name):
        raise InvalidInput(f"session_id: changed from {name!r} to {request.session_id!r} within a stream")
    if request.HasField("link") and request.link != link_to_proto(session.link):
        raise InvalidInput("link: changed within a session")
    if request.seed not in (0, session.seed):
        raise InvalidInput(f"seed: changed from {session.seed} to {request.seed} within a session")
