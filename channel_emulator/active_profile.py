"""The active channel profile, with the chain and the statistics that belong to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.statistics import Statistics
from gocom.channel_emulator.trace_recording import TraceRecorder
from gocom.v1 import channel_pb2


@dataclass(frozen=True, slots=True)
class ProfileRevision:
    """A profile with its chain and statistics. A frame keeps the revision that was current when it began."""

    number: int
    profile: channel_pb2.ChannelProfile
    chain: Chain
    statistics: Statistics


class ActiveProfile:
    """The holder of the current profile revision. Only the event loop may use it.

    Args:
        profile: the first profile.

    Attributes:
        current: the revision that frames begin with from now on.
        trace_recorder: the recorder of what happens to packets.

    Raises:
        InvalidInput: a parameter of the profile is out of range.
        UnknownName: a fault of the profile is not registered.
    """

    def __init__(self, profile: channel_pb2.ChannelProfile) -> None:
        self.current = _make_revision(1, profile, Chain.from_profile(profile))
        self.trace_recorder = TraceRecorder()

    async def set(self, profile: channel_pb2.ChannelProfile) -> int:
        """Replace the profile, reset the packet statistics, and return the number of the new revision.

        Raises:
            InvalidInput: a parameter is out of range.
            UnknownName: a fault is not registered.
        """
        # Checking a long trace may take a second, and frames must pass meanwhile, so this runs in a thread.
        chain = await asyncio.to_thread(Chain.from_profile, profile)
        self.current = _make_revision(self.current.number + 1, profile, chain)
        return self.current.number


def _make_revision(number: int, profile: channel_pb2.ChannelProfile, chain: Chain) -> ProfileRevision:
    kept = channel_pb2.ChannelProfile()
    kept.CopyFrom(profile)
    return ProfileRevision(number, kept, chain, Statistics(chain))
