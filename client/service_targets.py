"""Which services a command talks to: those at the given addresses, or ones it starts for itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gocom.client.client import Client
from gocom.client.console import security, spinner
from gocom.client.local_stack import LocalStack
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import NotReady


@dataclass(frozen=True, slots=True)
class Target:
    """Addresses of running services; with `local` they are not used."""

    transmitter: str
    receiver: str
    channel: str
    local: bool = False
    device: str = "auto"


@contextmanager
def open_client(
    target: Target, spec: str | None, seed: int | None, codecs: Sequence[str], reverse_spec: str | None = None
) -> Iterator[Client]:
    """A client of the target, its channel set to `spec` and its way back to `reverse_spec`, where these are given.

    Services it starts speak plain text on this machine; to others it connects as the command's flags say.

    Raises:
        InvalidInput: of the spec and the flags, before anything is started.
        NotReady: services cannot be started or reached.
    """
    profile = parse_spec(spec, seed) if spec is not None else None
    reverse = parse_spec(reverse_spec, seed) if reverse_spec is not None else None
    if not target.local:
        try:
            with Client(target.transmitter, target.receiver, target.channel, security()) as client:
                # The way back first: it is what a running channel may not have, and then nothing is to have changed.
                if reverse is not None:
                    client.set_channel(reverse, reverse=True)
                if profile is not None:
                    client.set_channel(profile)
                yield client
        except NotReady as error:
            raise NotReady(f"{error}; `gocom up` starts the services, --local starts them for one command") from error
        return
    stack = LocalStack(spec or "clean", seed, target.device, codecs, reverse_spec=reverse_spec)
    try:
        with spinner("starting receiver, channel and transmitter (the first import of torch may take a minute)"):
            stack.start()
        with stack.client() as client:
            yield client
    finally:
        stack.stop()
