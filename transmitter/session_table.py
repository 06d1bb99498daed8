"""The sessions of a transmitter. A session lives while a client is connected to it or one of its frames is open."""

from __future__ import annotations

import asyncio

from gocom.common.errors import Busy, InvalidInput
from gocom.common.logs import get_logger
from gocom.common.types import LinkSettings
from gocom.common.wire.frame_messages import check_session_id, link_from_proto, link_to_proto
from gocom.transmitter.frame_table import ClientStream
from gocom.transmitter.transmit_session import TransmitDependencies, TransmitSession
from gocom.v1 import transmitter_pb2

log = get_logger("transmitter")


class SessionTable:
    """Open sessions by name."""

    def __init__(self, dependencies: TransmitDependencies) -> None:
        self._dependencies = dependencies
        self._sessions: dict[str, TransmitSession] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def get(self, session_id: str) -> TransmitSession | None:
        """Return the session with that name, or None."""
        return self._sessions.get(session_id)

    def open(self, first: transmitter_pb2.TransmitRequest) -> TransmitSession:
        """Return the session that the first request of a stream names; make it unless the request resumes one.

        Raises:
            InvalidInput: the session name or the link settings are invalid, or another client uses the session.
            Busy: too many sessions are open.
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

    async def detach_stream(self, name: str, session: TransmitSession, stream: ClientStream) -> None:
        """Detach a stream that has ended. The session goes on in the background until its last frame has ended."""
        session.detach_stream(stream)
        if session.frames.idle.is_set():
            await self._end(name, session)
        else:
            log.info("session goes on without its client", session=name)
            self._end_later(name, session)

    async def recover(self) -> int:
        """Resume the frames that the outbox kept from the last run of the service, and return their number."""
        frames = 0
        for name, starts in (await self._dependencies.outbox.pending()).items():
            first = await self._dependencies.outbox.request(name, next(iter(starts)))
            session = self._make(first, limited=False)  # accepted frames are finished whatever the limit is
            for index, earlier_starts in starts.items():
                await session.recover(index, earlier_starts)
            self._end_later(name, session)
            frames += len(starts)
        if frames:
            log.info("frames of before the restart go on", frames=frames)
        return frames

    async def idle(self) -> None:
        """Wait until no session has an open frame."""
        for session in list(self._sessions.values()):
            await session.frames.idle.wait()

    async def close(self) -> None:
        """Drop all frames that have not ended. The outbox keeps them."""
        for task in self._ending:
            task.cancel()
        await asyncio.gather(*self._ending, return_exceptions=True)
        sessions, self._sessions = list(self._sessions.values()), {}
        for session in sessions:
            await session.close()

    def _make(self, first: transmitter_pb2.TransmitRequest, limited: bool = True) -> TransmitSession:
        limit = self._dependencies.settings.max_sessions
        if limited and len(self._sessions) >= limit:
            raise Busy(f"all {limit} sessions of this transmitter are in use")
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
        """End a session, unless a client has connected again or the session has ended already."""
        if session.frames.client_stream is not None or self._sessions.get(name) is not session:
            return
        del self._sessions[name]
        try:
            await session.finish()
        finally:
            await session.close()


def check_same(session: TransmitSession, name: str, request: transmitter_pb2.TransmitRequest) -> None:
    """Raise InvalidInput if a request contradicts its session."""
    if request.session_id not in ("", name):
        raise InvalidInput(f"session_id: changed from {name!r} to {request.session_id!r} within a stream")
    if request.HasField("link") and request.link != link_to_proto(session.link):
        raise InvalidInput("link: changed within a session")
    if request.seed not in (0, session.seed):
        raise InvalidInput(f"seed: changed from {session.seed} to {request.seed} within a session")
