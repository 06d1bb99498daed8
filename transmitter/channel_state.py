"""Channel state at the transmitter: from the emulator, or from the receiver's reports."""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from gocom.common.csi import Csi, CsiKind, CsiSource, LinkReport
from gocom.common.logs import get_logger
from gocom.common.settings import TransmitterSettings
from gocom.v1 import channel_pb2, channel_pb2_grpc, transmitter_pb2

log = get_logger("transmitter")

CSI_DEADLINE_S = 0.5
CSI_PACKETS = 4096
"""Number of packets whose SNR is requested, since the size of a round is unknown before it is encoded: 16 KiB, 2 ms."""
_CACHED_SIZES = 64
"""Number of payload sizes whose state is cached. Sessions use few."""


@dataclass(frozen=True, slots=True)
class _CachedState:
    """A cached state.

    Attributes:
        csi: the state.
        answered: whether the emulator answered the last request.
        until: monotonic time in s until which the state counts as recent.
    """

    csi: Csi
    answered: bool
    until: float


class ChannelStateSource:
    """Source of channel state information, as the settings `csi_...` choose it.

    The emulator is asked if the link's address is one; otherwise the channel is taken for perfect. While the emulator
    is out of reach its last state holds, except for what belongs to one round: the SNR of single packets, and a
    capacity that follows from them. With csi_source=receiver the latest report of any receiver session holds for all
    sessions, since they share the link.

    Args:
        channel: gRPC channel to the link's next hop.
        settings: settings of the transmitter.
    """

    def __init__(self, channel: grpc.aio.Channel, settings: TransmitterSettings) -> None:
        self._stub: Any = channel_pb2_grpc.ChannelControlServiceStub(channel)
        self._settings = settings
        self._known: OrderedDict[int, _CachedState] = OrderedDict()
        self._reported = Csi()

    def add_report(self, report: LinkReport | None) -> None:
        """Store a receiver's report of the link, if there is one; it is used with csi_source=receiver."""
        if report is not None:
            self._reported = Csi(
                packet_erasure_rate=report.lost / report.packets,
                mean_burst_packets=report.mean_burst_packets if report.lost else 1.0,
                mean_snr_db=report.effective_snr_db,
                source=CsiSource.RECEIVER,
            )

    async def get(
        self, frame_index: int, round_: int, payload_bytes: int, packets: int = CSI_PACKETS, *, refresh: bool = False
    ) -> Csi:
        """Return the channel state for a round.

        Args:
            frame_index: index of the frame.
            round_: round of the frame, from 0.
            payload_bytes: maximum payload of a packet on the session's link.
            packets: number of packets whose SNR is requested if the state is instantaneous; 1 to 65536.
            refresh: ask the emulator although a cached state is recent; for rounds whose powers or repair packets
                follow from the state.

        Returns:
            A statistical state is at most `csi_refresh_s` old, or new with `refresh`. An instantaneous state is that
            of the round. If the emulator did not answer the last request, the cached state holds for `csi_refresh_s`.
        """
        if self._settings.csi_source is CsiSource.RECEIVER:
            return self._reported
        request = channel_pb2.GetChannelStateRequest(
            payload_bytes=payload_bytes, outage_target=self._settings.csi_outage_target
        )
        instantaneous = self._settings.csi_kind is CsiKind.INSTANTANEOUS
        if instantaneous:
            request.kind = channel_pb2.CSI_KIND_INSTANTANEOUS
            request.frame_index, request.round, request.packets = frame_index, round_, packets
            request.age_packets = self._settings.csi_age_packets
            if self._settings.csi_nmse_db is not None:
                request.nmse_db = self._settings.csi_nmse_db
        known = self._known.get(payload_bytes, _CachedState(Csi(), answered=False, until=0.0))
        always = (refresh or instantaneous) and known.answered
        if time.monotonic() < known.until and not always:
            return known.csi
        csi, answered = await self._ask(request, known.csi)
        until = time.monotonic() + self._settings.csi_refresh_s
        kept = replace(csi, snr_db=(), capacity_bytes=None) if instantaneous else csi
        self._cache_state(payload_bytes, _CachedState(kept, answered, until))
        return csi

    async def _ask(self, request: channel_pb2.GetChannelStateRequest, known: Csi) -> tuple[Csi, bool]:
        """Return the state, and whether the emulator gave it."""
        try:
            return _csi_from_proto(await self._stub.GetChannelState(request, timeout=CSI_DEADLINE_S)), True
        except grpc.aio.AioRpcError as error:
            # A receiver does not serve ChannelControlService; a broken link is noticed when a frame is sent.
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return Csi(), False
            log.warning("no channel state", error=error.details())
        except DecodeError as error:
            log.warning("no channel state", error=f"the answer is not a message: {error}")
        return known, False

    def _cache_state(self, payload_bytes: int, known: _CachedState) -> None:
        self._known[payload_bytes] = known
        self._known.move_to_end(payload_bytes)
        if len(self._known) > _CACHED_SIZES:
            self._known.popitem(last=False)


def _csi_from_proto(state: channel_pb2.GetChannelStateResponse) -> Csi:
    return Csi(
        packet_erasure_rate=state.packet_erasure_rate,
        bit_error_rate=state.bit_error_rate,
        mean_burst_packets=state.mean_burst_packets,
        mean_snr_db=state.mean_snr_db if state.HasField("mean_snr_db") else None,
        threshold_snr_db=state.threshold_snr_db if state.HasField("threshold_snr_db") else None,
        snr_db=tuple(state.snr_db),
        capacity_bytes=state.capacity_bytes if state.HasField("capacity_bytes") else None,
        source=CsiSource.EMULATOR,
    )


_SOURCES = {
    None: transmitter_pb2.CSI_SOURCE_UNSPECIFIED,
    CsiSource.EMULATOR: transmitter_pb2.CSI_SOURCE_EMULATOR,
    CsiSource.RECEIVER: transmitter_pb2.CSI_SOURCE_RECEIVER,
}


def knowledge_to_proto(csi: Csi) -> transmitter_pb2.ChannelKnowledge:
    """Return the part of a `sent` event that says what was known of the channel."""
    return transmitter_pb2.ChannelKnowledge(
        source=_SOURCES[csi.source],
        packet_erasure_rate=csi.packet_erasure_rate,
        mean_burst_packets=csi.mean_burst_packets,
        mean_snr_db=csi.mean_snr_db,
        capacity_bytes=csi.capacity_bytes,
    )
