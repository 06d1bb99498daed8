"""The emulator's services, and how to start them.

    transmitter --Send--> LinkProxy --chain--> --Send--> next hop (a receiver, or another emulator)
    receiver --SendFeedback--> FeedbackProxy --chain--> --SendFeedback--> transmitter, where settings say where that is
    anybody --GetProfile, UpdateProfile, GetChannelState, WatchStatistics, RecordTrace--> ChannelControl

They share a ActiveProfile for each way, which holds the profile in force. A frame keeps the profile it began with.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc

from gocom.channel_emulator.active_profile import ActiveProfile
from gocom.channel_emulator.channel_state import read_instant, state_of
from gocom.channel_emulator.proxy.feedback_proxy import FEEDBACK_SERVICE, FeedbackProxy
from gocom.channel_emulator.proxy.hops import hop_of, hop_stream
from gocom.channel_emulator.proxy.link_proxy import LINK_SERVICE, LinkProxy
from gocom.common.channel_spec import format_spec, parse_spec
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
    """ChannelControlService: see channel.proto.

    Args:
        active_profile: of the way forth.
        reverse: of the way back; None: feedback does not come this way.
    """

    def __init__(self, active_profile: ActiveProfile, reverse: ActiveProfile | None = None) -> None:
        self._active_profile, self._reverse = active_profile, reverse
        self._drained = asyncio.Event()

    def drain(self) -> None:
        """End all streams of statistics and of traces; they would go on for ever."""
        self._drained.set()
        self._active_profile.recording.drain()

    async def GetProfile(
        self, request: channel_pb2.GetProfileRequest, context: Context
    ) -> channel_pb2.GetProfileResponse:
        """The profile in force. Raises InvalidInput for a direction that packets do not go in."""
        in_force = self._way(request.direction).in_force
        return channel_pb2.GetProfileResponse(profile=in_force.profile, revision=in_force.revision)

    async def UpdateProfile(
        self, request: channel_pb2.UpdateProfileRequest, context: Context
    ) -> channel_pb2.UpdateProfileResponse:
        """Replace the profile. Raises InvalidInput and UnknownName; the old one then stays."""
        if not request.HasField("profile"):
            raise InvalidInput("profile: not set; a profile without impairments is a clean channel")
        revision = await self._way(request.direction).set(request.profile)
        log.info(
            "profile set",
            direction=_name(request.direction),
            revision=revision,
            profile=format_spec(request.profile),
            seed=request.profile.seed,
        )
        return channel_pb2.UpdateProfileResponse(revision=revision)

    async def GetChannelState(
        self, request: channel_pb2.GetChannelStateRequest, context: Context
    ) -> channel_pb2.GetChannelStateResponse:
        """What is to be known of the channel; see channel_state.py. Raises InvalidInput naming a field out of range."""
        instant, chain = read_instant(request), self._active_profile.in_force.chain
        # In a thread: what is asked for of many packets takes long enough to starve sessions.
        csi = await asyncio.to_thread(
            state_of,
            chain,
            request.payload_bytes or LinkSettings().max_payload_bytes,
            instant,
            hop_stream(hop_of(context)),
        )
        return channel_pb2.GetChannelStateResponse(
            packet_erasure_rate=csi.packet_erasure_rate,
            bit_error_rate=csi.bit_error_rate,
            mean_burst_packets=csi.mean_burst_packets,
            mean_snr_db=csi.mean_snr_db,
            threshold_snr_db=csi.threshold_snr_db,
            snr_db=csi.snr_db,
        )

    async def WatchStatistics(
        self, request: channel_pb2.WatchStatisticsRequest, context: Context
    ) -> AsyncIterator[channel_pb2.WatchStatisticsResponse]:
        """Counts now, and once an interval. Raises InvalidInput for an interval out of range, and for a direction."""
        way = self._way(request.direction)
        interval_ms = request.interval_ms or DEFAULT_INTERVAL_MS
        if not MIN_INTERVAL_MS <= interval_ms <= MAX_INTERVAL_MS:
            raise InvalidInput(f"interval_ms: {interval_ms} is not in {MIN_INTERVAL_MS} to {MAX_INTERVAL_MS}, nor 0")
        while not self._drained.is_set():
            in_force = way.in_force
            yield in_force.statistics.report(in_force.revision)
            try:
                await asyncio.wait_for(self._drained.wait(), interval_ms / 1000)
            except TimeoutError:
                continue

    async def RecordTrace(
        self, request: channel_pb2.RecordTraceRequest, context: Context
    ) -> AsyncIterator[channel_pb2.RecordTraceResponse]:
        """Each round that begins from now on, when it ends. Initial metadata says that "now" has come.

        Raises:
            Busy: too many record already.
            TooLarge: this reader is too slow, or a round is more than a trace can hold.
        """
        reader = self._active_profile.recording.open()
        try:
            await context.send_initial_metadata(())
            async for message in reader:
                yield channel_pb2.RecordTraceResponse(round=message)
        finally:
            self._active_profile.recording.close(reader)

    def _way(self, direction: int) -> ActiveProfile:
        """Raises InvalidInput for a direction that there is not, here or at all."""
        if _name(direction) == FORWARD:
            return self._active_profile
        if self._reverse is None:
            raise InvalidInput("direction: feedback does not cross this emulator; it has no feedback_address")
        return self._reverse


def _name(direction: int) -> str:
    """ "forward" or "reverse". Raises InvalidInput."""
    return enum_to_name(channel_pb2.Direction.DESCRIPTOR, direction, "direction") or FORWARD


async def serve(settings: ChannelSettings) -> RunningServer:
    """Start the emulator. Health says SERVING at once: the next hop is connected to when a session begins.

    Raises:
        InvalidInput, UnknownName: the profile, or the security, in the settings.
        NotReady: the address cannot be listened on.
    """
    active_profile = ActiveProfile(parse_spec(settings.profile, settings.seed))
    reverse = _reverse_switchboard(settings)
    channels = [open_channel(settings.next_hop, settings.max_message_bytes, settings)]
    control, proxy = ChannelControl(active_profile, reverse), LinkProxy(channels[0], active_profile)
    feedback: FeedbackProxy | None = None
    if reverse is not None:
        channels.append(open_channel(settings.feedback_address, settings.max_message_bytes, settings))
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


def _reverse_switchboard(settings: ChannelSettings) -> ActiveProfile | None:
    """Of the way back; None: there is none. Raises InvalidInput naming reverse_profile, UnknownName."""
    try:
        active_profile = ActiveProfile(parse_spec(settings.reverse_profile, settings.seed))
    except InvalidInput as error:
        raise InvalidInput(f"reverse_profile: {error}") from None
    if settings.feedback_address:
        return active_profile
    if active_profile.in_force.chain.links:
        raise InvalidInput("reverse_profile: no feedback comes this way without feedback_address")
    return None
