"""The emulator's services, and how to start them.

    transmitter --Send--> LinkProxy --chain--> --Send--> next hop (a receiver, or another emulator)
    receiver --SendFeedback--> FeedbackProxy --chain--> --SendFeedback--> transmitter (if a feedback address is set)
    any client --GetProfile, UpdateProfile, GetChannelState, WatchStatistics, RecordTrace--> ChannelControl

They share one ActiveProfile per direction. A frame keeps the profile that was active when it began.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from gocom.channel_emulator.active_profile import ActiveProfile
from gocom.channel_emulator.channel_state import compute_csi, read_csi_query
from gocom.channel_emulator.proxy.feedback_proxy import FEEDBACK_SERVICE, FeedbackProxy
from gocom.channel_emulator.proxy.hops import hop_of, hop_stream
from gocom.channel_emulator.proxy.link_proxy import LINK_SERVICE, LinkProxy
from gocom.common.channel_spec import format_spec, parse_spec
from gocom.common.csi import DEFAULT_OUTAGE_TARGET
from gocom.common.errors import InvalidInput
from gocom.common.logs import get_logger
from gocom.common.rpc.client_channels import open_channel
from gocom.common.rpc.server import RunningServer, start_server
from gocom.common.settings import ChannelSettings
from gocom.common.types import LinkSettings
from gocom.common.wire.enums import enum_to_name
from gocom.v1 import channel_pb2, channel_pb2_grpc

log = get_logger("channel_emulator")

FORWARD = "forward"
MIN_INTERVAL_MS, MAX_INTERVAL_MS, DEFAULT_INTERVAL_MS = 50, 60_000, 1000

Context = grpc.aio.ServicerContext[Any, Any]


class ChannelControl(channel_pb2_grpc.ChannelControlServiceServicer):
    """The implementation of ChannelControlService; see channel.proto.

    Args:
        active_profile: the profile of the forward direction, transmitter to receiver.
        reverse: the profile of the reverse direction; None: feedback does not pass through this emulator.
    """

    def __init__(self, active_profile: ActiveProfile, reverse: ActiveProfile | None = None) -> None:
        self._active_profile, self._reverse = active_profile, reverse
        self._drained = asyncio.Event()

    def drain(self) -> None:
        """End all streams of statistics and of traces, which would otherwise never end."""
        self._drained.set()
        self._active_profile.trace_recorder.drain()

    async def GetProfile(
        self, request: channel_pb2.GetProfileRequest, context: Context
    ) -> channel_pb2.GetProfileResponse:
        """Return the active profile. Raise InvalidInput for a direction without packets."""
        profile_revision = self._profile_of(request.direction).current
        return channel_pb2.GetProfileResponse(profile=profile_revision.profile, revision=profile_revision.number)

    async def UpdateProfile(
        self, request: channel_pb2.UpdateProfileRequest, context: Context
    ) -> channel_pb2.UpdateProfileResponse:
        """Replace the profile. Raise InvalidInput or UnknownName if it is not valid; the old one then stays active."""
        if not request.HasField("profile"):
            raise InvalidInput("profile: not set; a profile without impairments is a clean channel")
        revision = await self._profile_of(request.direction).set(request.profile)
        log.info(
            "profile set",
            direction=_direction_name(request.direction),
            revision=revision,
            profile=format_spec(request.profile),
            seed=request.profile.seed,
        )
        return channel_pb2.UpdateProfileResponse(revision=revision)

    async def GetChannelState(
        self, request: channel_pb2.GetChannelStateRequest, context: Context
    ) -> channel_pb2.GetChannelStateResponse:
        """Return the channel state; see channel_state.py. Raise InvalidInput naming a field that is out of range."""
        query, chain = read_csi_query(request), self._active_profile.current.chain
        # The state of many packets takes long enough to starve sessions, so it is computed in a thread.
        csi = await asyncio.to_thread(
            compute_csi,
            chain,
            request.payload_bytes or LinkSettings().max_payload_bytes,
            query,
            hop_stream(hop_of(context)),
            request.outage_target if request.HasField("outage_target") else DEFAULT_OUTAGE_TARGET,
        )
        return channel_pb2.GetChannelStateResponse(
            packet_erasure_rate=csi.packet_erasure_rate,
            bit_error_rate=csi.bit_error_rate,
            mean_burst_packets=csi.mean_burst_packets,
            mean_snr_db=csi.mean_snr_db,
            threshold_snr_db=csi.threshold_snr_db,
            snr_db=csi.snr_db,
            capacity_bytes=csi.capacity_bytes,
        )

    async def WatchStatistics(
        self, request: channel_pb2.WatchStatisticsRequest, context: Context
    ) -> AsyncIterator[channel_pb2.WatchStatisticsResponse]:
        """Yield the counts now and once per interval. Raise InvalidInput for a wrong interval or direction."""
        direction_profile = self._profile_of(request.direction)
        interval_ms = request.interval_ms or DEFAULT_INTERVAL_MS
        if not MIN_INTERVAL_MS <= interval_ms <= MAX_INTERVAL_MS:
            raise InvalidInput(f"interval_ms: {interval_ms} is not in {MIN_INTERVAL_MS} to {MAX_INTERVAL_MS}, nor 0")
        while not self._drained.is_set():
            profile_revision = direction_profile.current
            yield profile_revision.statistics.report(profile_revision.number)
            try:
                await asyncio.wait_for(self._drained.wait(), interval_ms / 1000)
            except TimeoutError:
                continue

    async def RecordTrace(
        self, request: channel_pb2.RecordTraceRequest, context: Context
    ) -> AsyncIterator[channel_pb2.RecordTraceResponse]:
        """Yield each round that begins after this call, when it ends.

        Recording has begun when the initial metadata is sent.

        Raises:
            Busy: too many clients are recording.
            TooLarge: the client reads too slowly, or a round does not fit in a trace.
        """
        reader = self._active_profile.trace_recorder.open()
        try:
            await context.send_initial_metadata(())
            async for message in reader:
                yield channel_pb2.RecordTraceResponse(round=message)
        finally:
            self._active_profile.trace_recorder.close(reader)

    def _profile_of(self, direction: int) -> ActiveProfile:
        """Return the profile of a direction. Raise InvalidInput for an unknown direction, or one without packets."""
        if _direction_name(direction) == FORWARD:
            return self._active_profile
        if self._reverse is None:
            raise InvalidInput("direction: feedback does not cross this emulator; it has no feedback_address")
        return self._reverse


def _direction_name(direction: int) -> str:
    """Return "forward" or "reverse". Raise InvalidInput for any other direction."""
    return enum_to_name(channel_pb2.Direction.DESCRIPTOR, direction, "direction") or FORWARD


async def serve(settings: ChannelSettings) -> RunningServer:
    """Start the emulator and report SERVING to health checks at once; the next hop is connected to per session.

    Raises:
        InvalidInput: the profile or the security settings are not valid.
        UnknownName: a fault in the profile is not registered.
        NotReady: the address cannot be listened on.
    """
    active_profile = ActiveProfile(parse_spec(settings.profile, settings.seed))
    reverse = _reverse_profile(settings)
    channels = [open_channel(settings.next_hop, settings.max_message_bytes, settings, "next_hop")]
    control, proxy = ChannelControl(active_profile, reverse), LinkProxy(channels[0], active_profile)
    feedback: FeedbackProxy | None = None
    if reverse is not None:
        channels.append(
            open_channel(settings.feedback_address, settings.max_message_bytes, settings, "feedback_address")
        )
        feedback = FeedbackProxy(channels[1], reverse)

    def add(server: grpc.aio.Server) -> list[str]:
        proxy.add_to(server)
        channel_pb2_grpc.add_ChannelControlServiceServicer_to_server(control, server)
        names = [LINK_SERVICE, channel_pb2.DESCRIPTOR.services_by_name["ChannelControlService"].full_name]
        if feedback is not None:
            feedback.add_to(server)
            names.append(FEEDBACK_SERVICE)
        return names

    try:
        running = await start_server(settings, add)
    except BaseException:
        for channel in channels:
            await channel.close()
        raise
    running.on_drain += [control.drain, proxy.drain, *([feedback.drain] if feedback is not None else [])]
    running.on_stop += [channel.close for channel in channels]
    await running.set_serving(True)
    log.info("next hop", address=settings.next_hop, profile=settings.profile, seed=settings.seed)
    return running


def _reverse_profile(settings: ChannelSettings) -> ActiveProfile | None:
    """Return the profile of the reverse direction; None if feedback does not pass through this emulator.

    Raises:
        InvalidInput: reverse_profile is not valid, or is set without feedback_address.
        UnknownName: a fault in reverse_profile is not registered.
    """
    try:
        active_profile = ActiveProfile(parse_spec(settings.reverse_profile, settings.seed))
    except InvalidInput as error:
        raise InvalidInput(f"reverse_profile: {error}") from None
    if settings.feedback_address:
        return active_profile
    if active_profile.current.chain.faults:
        raise InvalidInput("reverse_profile: no feedback comes this way without feedback_address")
    return None
