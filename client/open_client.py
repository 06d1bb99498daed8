"""The services that a command talks to: those at given addresses, or a local stack started for the command."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gocom.client.client import Client
from gocom.client.console import security, spinner
from gocom.client.local_stack import LocalStack
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import NotReady


@dataclass(frozen=True, slots=True)
class Target:
    """The services that a command is to use.

    Attributes:
        transmitter, receiver, channel: host:port of running services; not used with `local`.
        local: start the three services for this command instead.
        device: torch device of the nets of services started with `local`.
    """

    transmitter: str
    receiver: str
    channel: str
    local: bool = False
    device: str = "auto"


@contextmanager
def open_client(
    target: Target, spec: str | None, seed: int | None, codecs: Sequence[str], reverse_spec: str | None = None,
    check: Callable[[Client], None] | None = None,
) -> Iterator[Client]:  # fmt: skip
    """Yield a client of the target's services, with the channel and the reverse channel set to the given profiles.

    Services started here speak plain text on the loopback interface. To running services the client connects with the
    TLS and token flags of the command.

    Args:
        target: the services to use.
        spec: profile of the channel, as `gocom.common.channel_spec.parse_spec` reads it; None: a running channel
            stays as it is, one started here is clean.
        seed: seed of the channel's randomness; None: the seed in the spec, else 0.
        codecs: names of the codecs that services started here load before they count as ready.
        reverse_spec: profile of the reverse channel, which carries feedback; None: a running one stays as it is, and
            feedback of services started here does not cross the channel emulator.
        check: called with the client before the channel of running services is changed for everybody, so that it may
            raise before that.

    Raises:
        InvalidInput: the spec or a flag is invalid; raised before anything is started.
        NotReady: the services cannot be started or reached.
    """
    profile = parse_spec(spec, seed) if spec is not None else None
    reverse = parse_spec(reverse_spec, seed) if reverse_spec is not None else None
    if not target.local:
        try:
            with Client(target.transmitter, target.receiver, target.channel, security()) as client:
                if check is not None:
                    check(client)
                # The reverse channel first: a running emulator may have none, and the refusal must then leave nothing
                # changed.
                if reverse is not None:
                    client.set_channel(reverse, reverse=True)
                if profile is not None:
                    client.set_channel(profile)
                yield client
        except NotReady as error:
            after = "" if str(error).endswith("?") else ";"
            raise NotReady(
                f"{error}{after} `gocom up` starts the services, --local starts them for one command"
            ) from error
        return
    stack = LocalStack(spec or "clean", seed, target.device, codecs, reverse_spec=reverse_spec)
    try:
        with spinner("starting receiver, channel and transmitter (the first import of torch may take a minute)"):
            stack.start()
        with stack.client() as client:
            if check is not None:
                check(client)
            yield client
    finally:
        stack.stop()
