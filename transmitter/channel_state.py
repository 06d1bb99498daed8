"""What the transmitter may know of the channel: from the emulator, or from the receiver's reports."""

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
"""Packets whose state is asked for: before it is encoded nobody knows how many a round will have. 16 KiB, 2 ms."""
_KEPT = 64
"""Payload sizes whose state is remembered; sessions have few."""


@dataclass(frozen=True, slots=True)
class _Known:
    """What was said, whether the emulator said so just then, and until when (monotonic) it counts as new."""

    csi: Csi
    answered: bool
    until: float


class ChannelStateSource:
    """Channel state information, as the settings `csi_...` say.

    From the emulator, if the link's address is one; else a perfect channel. While the emulator is away what it said
    last holds on, but for the SNR of single packets: that belonged to another round. Of the receiver's reports the
    latest one holds for all sessions: they share the link.

    Args:
        channel: to the link's next hop.
        settings: of the transmitter.
    """

    def __init__(self, channel: grpc.aio.Channel, settings: TransmitterSettings) -> None:
        self._stub: Any = channel_pb2_grpc.ChannelControlServiceStub(channel)
        self._settings = settings
        self._known: OrderedDict[int, _Known] = OrderedDict()
        self._reported = Csi()

    def take(self, report: LinkReport | None) -> None:
        """Note what the receiver makes of the link, if it says; it counts with csi_source=receiver."""
        if report is not None:
            self._reported = Csi(
                packet_erasure_rate=report.lost / report.packets,
                mean_burst_packets=report.mean_burst_packets if report.lost else 1.0,
                mean_snr_db=report.effective_snr_db,
                source=CsiSource.RECEIVER,
            )

    async def get(
        self, frame_index: int, round_: int, payload_bytes: int, packets: int = CSI_PACKETS, *, afresh: bool = False
    ) -> Csi:
        """The channel state for a round.

        Args:
            frame_index: of the frame.
            round_: of the frame, from 0.
            payload_bytes: of its packets, those of the session's link.
            packets: of so many single packets, where the state is instantaneous; 1 to 65536.
            afresh: the round is made by it, so it is asked for whatever is known.

        Returns:
            Statistical: at most `csi_refresh_s` old, or `afresh`. Instantaneous: of this round. Where the emulator did
            not answer the last time, what is known holds for `csi_refresh_s`.
        """
        if self._settings.csi_source is CsiSource.RECEIVER:
            return self._reported
        request = channel_pb2.GetChannelStateRequest(payload_bytes=payload_bytes)
        instantaneous = self._settings.csi_kind is CsiKind.INSTANTANEOUS
        if instantaneous:
            request.kind = channel_pb2.CSI_KIND_INSTANTANEOUS
            request.frame_index, request.round, request.packets = frame_index, round_, packets
            request.age_packets = self._settings.csi_age_packets
            if self._settings.csi_nmse_db is not None:
                request.nmse_db = self._settings.csi_nmse_db
        known = self._known.get(payload_bytes, _Known(Csi(), answered=False, until=0.0))
        always = (afresh or instantaneous) and known.answered
        if time.monotonic() < known.until and not always:
            return known.csi
        csi, answered = await self._ask(request, known.csi)
        until = time.monotonic() + self._settings.csi_refresh_s
        self._keep(payload_bytes, _Known(replace(csi, snr_db=()), answered, until))
        return csi

    async def _ask(self, request: channel_pb2.GetChannelStateRequest, known: Csi) -> tuple[Csi, bool]:
        """The state, and whether it was the emulator that said so."""
        try:
            return _csi_of(await self._stub.GetChannelState(request, timeout=CSI_DEADLINE_S)), True
        except grpc.aio.AioRpcError as error:
            # A receiver has no such service; whether the link works at all shows when a frame is sent.
            if error.code() == grpc.StatusCode.UNIMPLEMENTED:
                return Csi(), False
            log.warning("no channel state", error=error.details())
        except DecodeError as error:
            log.warning("no channel state", error=f"the answer is not a message: {error}")
        return known, False

    def _keep(self, payload_bytes: int, known: _Known) -> None:
        self._known[payload_bytes] = known
        self._known.move_to_end(payload_bytes)
        if len(self._known) > _KEPT:
            self._known.popitem(last=False)


def _csi_of(state: channel_pb2.GetChannelStateResponse) -> Csi:
    return Csi(
        packet_erasure_rate=state.packet_erasure_rate,
        bit_error_rate=state.bit_error_rate,
        mean_burst_packets=state.mean_burst_packets,
        mean_snr_db=state.mean_snr_db if state.HasField("mean_snr_db") else None,
        threshold_snr_db=state.threshold_snr_db if state.HasField("threshold_snr_db") else None,
        snr_db=tuple(state.snr_db),
        source=CsiSource.EMULATOR,
    )


_SOURCES = {
    None: transmitter_pb2.CSI_SOURCE_UNSPECIFIED,
    CsiSource.EMULATOR: transmitter_pb2.CSI_SOURCE_EMULATOR,
    CsiSource.RECEIVER: transmitter_pb2.CSI_SOURCE_RECEIVER,
}


def knowledge_to_proto(csi: Csi) -> transmitter_pb2.ChannelKnowledge:
    """What an event says of it."""
    return transmitter_pb2.ChannelKnowledge(
        source=_SOURCES[csi.source],
        packet_erasure_rate=csi.packet_erasure_rate,
        mean_burst_packets=csi.mean_burst_packets,
        mean_snr_db=csi.mean_snr_db,
    )
