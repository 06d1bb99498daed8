"""The profile in force, with what belongs to it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.recording import Recording
from gocom.channel_emulator.statistics import Statistics
from gocom.v1 import channel_pb2


@dataclass(frozen=True, slots=True)
class Position:
    """One setting of the channel. A frame holds on to the one it began with, so its counts go where they belong."""

    revision: int
    profile: channel_pb2.ChannelProfile
    chain: Chain
    statistics: Statistics


class Switchboard:
    """Holds the position in force. Used from the event loop only.

    Args:
        profile: the first one. Raises InvalidInput and UnknownName.

    Attributes:
        recording: who records what happens.
    """

    def __init__(self, profile: channel_pb2.ChannelProfile) -> None:
        self.position = _position(1, profile, Chain.from_profile(profile))
        self.recording = Recording()

    async def set(self, profile: channel_pb2.ChannelProfile) -> int:
        """Replace the profile and start counting anew; returns the revision. Raises InvalidInput and UnknownName."""
        # In a thread: to check a long trace may take a second, and frames must pass meanwhile.
        chain = await asyncio.to_thread(Chain.from_profile, profile)
        self.position = _position(self.position.revision + 1, profile, chain)
        return self.position.revision


def _position(revision: int, profile: channel_pb2.ChannelProfile, chain: Chain) -> Position:
    kept = channel_pb2.ChannelProfile()
    kept.CopyFrom(profile)
    return Position(revision, kept, chain, Statistics(chain))
