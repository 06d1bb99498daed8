"""Control of a channel emulator from asyncio programs: its profile, its counts and recordings of what it does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from gocom.client.callers_code import told_if_closed
from gocom.client.channel_recording import AsyncRecording
from gocom.client.reconnect_policy import service_error
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import GoComError, InvalidInput
from gocom.common.number_checks import UINT32_MAX, real_number, whole_number
from gocom.common.rpc.client_channels import MAX_MESSAGE_BYTES, RPC_DEADLINE_S, STREAM_DEADLINE_S
from gocom.common.rpc.own_process import OwnProcess
from gocom.common.types import MAX_PAYLOAD_BYTES
from gocom.v1 import channel_pb2

ATTEMPTS, RETRY_PAUSE_S = 4, 0.1
_ENVELOPE_BYTES = 64
"""Upper bound of the bytes that an UpdateProfile message adds to the profile in it."""


class ChannelControl:
    """A client of a channel emulator's ChannelControlService.

    Args:
        stub: ChannelControlServiceStub; None: this client was given no channel, and every method raises InvalidInput.
        address: host:port of the channel emulator, for messages.
        process: the process of this client.
    """

    def __init__(self, stub: Any, address: str | None, process: OwnProcess) -> None:
        self._control, self._where, self._process = stub, f"channel at {address}", process

    async def get_channel(self, reverse: bool = False) -> channel_pb2.ChannelProfile:
        """Return the profile of the channel, or of the reverse channel (which carries feedback). Raises GoComError."""
        stub, request = self._channel_stub(), channel_pb2.GetProfileRequest(direction=_direction(reverse))
        response: channel_pb2.GetProfileResponse = await self._retried(
            lambda: stub.GetProfile(request, timeout=RPC_DEADLINE_S)
        )
        return response.profile

    async def set_channel(
        self, profile: str | channel_pb2.ChannelProfile, seed: int | None = None, reverse: bool = False
    ) -> int:
        """Replace the profile from the next frame on, and return the new profile's revision.

        Args:
            profile: text as `gocom.common.channel_spec.parse_spec` reads it, or the message.
            seed: seed of the channel's randomness; used only where the profile is text.
            reverse: replace the profile of the reverse channel instead; feedback must pass through the emulator
                (docs/channel.md).

        Raises:
            InvalidInput, UnknownName: the profile is invalid, or there is no channel or reverse channel.
            GoComError: the emulator is out of reach.
        """
        message = profile if isinstance(profile, channel_pb2.ChannelProfile) else parse_spec(profile, seed)
        if message.ByteSize() > MAX_MESSAGE_BYTES - _ENVELOPE_BYTES:
            raise InvalidInput(f"profile: {message.ByteSize()} bytes with its traces, more than a message may have")
        stub = self._channel_stub()
        request = channel_pb2.UpdateProfileRequest(profile=message, direction=_direction(reverse))
        response = await self._retried(lambda: stub.UpdateProfile(request, timeout=RPC_DEADLINE_S))
        return int(response.revision)

    async def get_channel_state(
        self, payload_bytes: int | None = None, outage_target: float | None = None
    ) -> channel_pb2.GetChannelStateResponse:
        """Return what a transmitter may know of the channel in the long run.

        Args:
            payload_bytes: payload size of the packets that rates are for, 1 to 65000; None: the link's default.
            outage_target: probability of outage that the capacity is for, between 0 and 1; None: 0.1.

        Raises:
            InvalidInput: an argument is out of range, or this client has no channel.
            GoComError: the emulator is out of reach.
        """
        stub = self._channel_stub()
        if payload_bytes is not None:
            payload_bytes = whole_number("payload_bytes", payload_bytes, 1, MAX_PAYLOAD_BYTES)
        if outage_target is not None:
            outage_target = real_number("outage_target", outage_target, 0, 1)
        request = channel_pb2.GetChannelStateRequest(payload_bytes=payload_bytes or 0, outage_target=outage_target)
        response: channel_pb2.GetChannelStateResponse = await self._retried(
            lambda: stub.GetChannelState(request, timeout=RPC_DEADLINE_S)
        )
        return response

    async def watch_channel(
        self, interval_ms: int = 1000, reverse: bool = False
    ) -> AsyncIterator[channel_pb2.WatchStatisticsResponse]:
        """Yield live counts of the channel, or of the reverse channel, every interval_ms ms. Raises GoComError."""
        interval_ms = whole_number("interval_ms", interval_ms, 0, UINT32_MAX)
        request = channel_pb2.WatchStatisticsRequest(interval_ms=interval_ms, direction=_direction(reverse))
        call = self._channel_stub().WatchStatistics(request, timeout=STREAM_DEADLINE_S)
        try:
            with told_if_closed(self._process):
                async for response in call:
                    yield response
        except grpc.aio.AioRpcError as error:
            raise _named(error, self._where) from error
        finally:
            call.cancel()

    async def record_channel(self) -> AsyncRecording:
        """Record what happens to every packet of the rounds that begin from now on. Close the recording after use.

        Raises:
            Busy: too many recordings of this emulator are open.
            GoComError: the emulator is out of reach.
        """
        call = self._channel_stub().RecordTrace(channel_pb2.RecordTraceRequest(), timeout=STREAM_DEADLINE_S)
        recording = AsyncRecording(call, self._where, self._process)
        await recording.wait_until_started()
        return recording

    async def _retried(self, call: Callable[[], Any]) -> Any:
        """Make an idempotent call, up to ATTEMPTS times while the emulator is out of reach. Raises GoComError."""
        retrying = AsyncRetrying(
            retry=retry_if_exception(_is_out_of_reach), stop=stop_after_attempt(ATTEMPTS),
            wait=wait_exponential(multiplier=2 * RETRY_PAUSE_S), reraise=True,
        )  # fmt: skip
        try:
            with told_if_closed(self._process):
                async for attempt in retrying:
                    with attempt:
                        answer = await call()
        except grpc.aio.AioRpcError as error:
            raise _named(error, self._where) from error
        return answer

    def _channel_stub(self) -> Any:
        self._process.check()
        if self._control is None:
            raise InvalidInput("channel: this client was given no address of a channel emulator")
        return self._control


def _is_out_of_reach(error: BaseException) -> bool:
    return isinstance(error, grpc.aio.AioRpcError) and error.code() == grpc.StatusCode.UNAVAILABLE


def _direction(reverse: bool) -> channel_pb2.Direction.ValueType:
    return channel_pb2.DIRECTION_REVERSE if reverse else channel_pb2.DIRECTION_FORWARD


def _named(error: grpc.aio.AioRpcError, where: str) -> GoComError:
    """Convert as `service_error` does; where there is no reverse channel, add how to start services that have one."""
    result = service_error(error, where)
    if type(result) is InvalidInput and str(result).startswith("direction: feedback does not cross"):
        return InvalidInput(f"{result}; `gocom up --reverse-channel clean` starts services where it does")
    return result
