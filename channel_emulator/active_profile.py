"""The profile in force, with what belongs to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.statistics import Statistics
from gocom.channel_emulator.trace_recording import Recording
from gocom.v1 import channel_pb2


@dataclass(frozen=True, slots=True)
class ProfileRevision:
    """One setting of the channel. A frame holds on to the one it began with, so its counts go where they belong."""

    revision: int
    profile: channel_pb2.ChannelProfile
    chain: Chain
    statistics: Statistics


class ActiveProfile:
    """Holds the profile revision in force. Used from the event loop only.

    Args:
        profile: the first one. Raises InvalidInput and UnknownName.

    Attributes:
        recording: who records what happens.
    """

    def __init__(self, profile: channel_pb2.ChannelProfile) -> None:
        self.in_force = _revision(1, profile, Chain.from_profile(profile))
        self.recording = Recording()

    async def set(self, profile: channel_pb2.ChannelProfile) -> int:
        """Replace the profile and start counting anew; returns the revision. Raises InvalidInput and UnknownName."""
        # In a thread: to check a long trace may take a second, and frames must pass meanwhile.
        chain = await asyncio.to_thread(Chain.from_profile, profile)
        self.in_force = _revision(self.in_force.revision + 1, profile, chain)
        return self.in_force.revision


def _revision(revision: int, profile: channel_pb2.ChannelProfile, chain: Chain) -> ProfileRevision:
    kept = channel_pb2.ChannelProfile()
    kept.CopyFrom(profile)
    return ProfileRevision(revision, kept, chain, Statistics(chain))
