"""A channel emulator's profile, counts and records, for asyncio programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from gocom.client.channel_recording import AsyncRecording
from gocom.client.stream_errors import named
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import GoComError, InvalidInput
from gocom.common.rpc.client_channels import MAX_MESSAGE_BYTES, RPC_DEADLINE_S, STREAM_DEADLINE_S
from gocom.v1 import channel_pb2

ATTEMPTS, RETRY_PAUSE_S = 4, 0.1
_ENVELOPE_BYTES = 64
"""Of a message around a profile, at most."""


class ChannelControl:
    """Looks at a channel, and changes it.

    Args:
        stub: ChannelControlServiceStub; None: there is no channel to look at.
        address: host:port, for messages.
    """

    def __init__(self, stub: Any, address: str | None) -> None:
        self._control, self._where = stub, f"channel at {address}"

    async def get_channel(self, reverse: bool = False) -> channel_pb2.ChannelProfile:
        """The channel's profile; `reverse`: what feedback meets. Raises GoComError."""
        stub, request = self._channel_stub(), channel_pb2.GetProfileRequest(direction=_direction(reverse))
        response: channel_pb2.GetProfileResponse = await self._retried(
            lambda: stub.GetProfile(request, timeout=RPC_DEADLINE_S)
        )
        return response.profile

    async def set_channel(
        self, profile: str | channel_pb2.ChannelProfile, seed: int | None = None, reverse: bool = False
    ) -> int:
        """Replace the profile, from the next frame on; -> its revision.

        Args:
            profile: text as `gocom.common.channel_spec.parse_spec` reads it, or the message.
            seed: of the channel's randomness, with text.
            reverse: of the way back, which feedback takes; the emulator must be on it (docs/channel.md).

        Raises:
            InvalidInput, UnknownName: of the profile.
            GoComError: the emulator is out of reach.
        """
        message = parse_spec(profile, seed) if isinstance(profile, str) else profile
        if message.ByteSize() > MAX_MESSAGE_BYTES - _ENVELOPE_BYTES:
            raise InvalidInput(f"profile: {message.ByteSize()} bytes with its traces, more than a message may have")
        stub = self._channel_stub()
        request = channel_pb2.UpdateProfileRequest(profile=message, direction=_direction(reverse))
        response = await self._retried(lambda: stub.UpdateProfile(request, timeout=RPC_DEADLINE_S))
        return int(response.revision)

    async def watch_channel(
        self, interval_ms: int = 1000, reverse: bool = False
    ) -> AsyncIterator[channel_pb2.WatchStatisticsResponse]:
        """Live counts, once an interval, until closed; `reverse`: of feedback. Raises GoComError."""
        request = channel_pb2.WatchStatisticsRequest(interval_ms=interval_ms, direction=_direction(reverse))
        call = self._channel_stub().WatchStatistics(request, timeout=STREAM_DEADLINE_S)
        try:
            async for response in call:
                yield response
        except grpc.aio.AioRpcError as error:
            raise _named(error, self._where) from error
        finally:
            call.cancel()

    async def record_channel(self) -> AsyncRecording:
        """What happens to every packet of the rounds that begin from now on; close it.

        Raises:
            Busy: too many record already.
            GoComError: the emulator is out of reach.
        """
        call = self._channel_stub().RecordTrace(channel_pb2.RecordTraceRequest(), timeout=STREAM_DEADLINE_S)
        recording = AsyncRecording(call, self._where)
        await recording.begun()
        return recording

    async def _retried(self, call: Callable[[], Any]) -> Any:
        """Repeat an idempotent call while the channel is out of reach. Raises GoComError."""
        attempt = 0
        while True:
            try:
                return await call()
            except grpc.aio.AioRpcError as error:
                attempt += 1
                if error.code() != grpc.StatusCode.UNAVAILABLE or attempt == ATTEMPTS:
                    raise _named(error, self._where) from error
            await asyncio.sleep(RETRY_PAUSE_S * 2**attempt)

    def _channel_stub(self) -> Any:
        if self._control is None:
            raise InvalidInput("channel: this client was given no address of a channel emulator")
        return self._control


def _direction(reverse: bool) -> channel_pb2.Direction.ValueType:
    return channel_pb2.DIRECTION_REVERSE if reverse else channel_pb2.DIRECTION_FORWARD


def _named(error: grpc.aio.AioRpcError, where: str) -> GoComError:
    """As `named`; where there is no way back, with what gives one."""
    result = named(error, where)
    if type(result) is InvalidInput and str(result).startswith("direction: feedback does not cross"):
        return InvalidInput(f"{result}; `gocom up --reverse-channel clean` starts services where it does")
    return result
