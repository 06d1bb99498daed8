"""Restoring the channel of running services, which a command has changed for a while, for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from gocom.client.client import Client
from gocom.client.end_signals import raising_end_signals
from gocom.common.channel_spec import format_spec
from gocom.common.errors import GoComError, NotReady
from gocom.v1 import channel_pb2


@contextmanager
def restored_channel(client: Client) -> Iterator[None]:
    """Restore the channel's profile at the end of a `with` block, however it ends: also by SIGTERM, SIGINT or SIGHUP.

    Raises:
        NotReady: the profile could not be restored.
        GoComError: the channel is out of reach.
    """
    before, failure = client.get_channel(), ""
    with raising_end_signals(hear_ignored_interrupt=True):
        try:
            yield
        except GoComError as error:
            failure = f"{error}; "
            raise
        finally:
            try:
                restore_channel(client, before)
            except NotReady as error:
                raise NotReady(f"{failure}{error}") from error


def restore_channel(client: Client, before: channel_pb2.ChannelProfile) -> None:
    """Set the channel to the profile of before, also if a first Ctrl-C, or another signal, comes meanwhile.

    Raises:
        NotReady: that failed, or was interrupted twice; the message has the profile.
        KeyboardInterrupt: the profile is set, but that was interrupted once.
    """
    interruption: KeyboardInterrupt | None = None
    try:
        try:
            client.set_channel(before)
        except KeyboardInterrupt as error:  # in raising_end_signals further signals are now ignored for a while
            interruption = error
            client.set_channel(before)
    except (GoComError, KeyboardInterrupt) as error:
        spec = format_spec(before) or "clean"
        raise NotReady(
            f"channel: the profile of before, {spec} with seed {before.seed}, could not be restored "
            f"({str(error) or 'interrupted'}); `gocom channel set` sets it"
        ) from error
    if interruption is not None:
        raise interruption
