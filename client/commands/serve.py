"""`gocom serve`: one service in this process, until SIGTERM or Ctrl-C. Flags win over GOCOM_... variables."""

from __future__ import annotations

import asyncio
import gc
import importlib
import os
import signal
import threading
from typing import Annotated, Any

import typer

from gocom.client import console
from gocom.client.console import command, emit
from gocom.client.security_flags import serves
from gocom.common.logs import configure
from gocom.common.rpc.addresses import join_address
from gocom.common.rpc.credentials import check_service
from gocom.common.settings import ChannelSettings, ReceiverSettings, ServiceSettings, TransmitterSettings

_GC_THRESHOLDS = (20_000, 20, 20)

app = typer.Typer(help="Run one service in this process.", no_args_is_help=True)

Host = Annotated[
    str | None, typer.Option(help="Address to listen on; other than loopback it needs TLS and a token, or --insecure.")
]
Port = Annotated[int | None, typer.Option(help="0 takes a free one.")]
Grace = Annotated[float | None, typer.Option("--grace-s", help="How long calls may go on after SIGTERM.")]
MetricsPort = Annotated[int | None, typer.Option(help="Serve Prometheus metrics there.")]
Device = Annotated[str | None, typer.Option(help="Torch device of the nets: auto, cpu, cuda.")]
Warm = Annotated[list[str] | None, typer.Option(help="Codec to load before saying SERVING; may be repeated.")]
Json = Annotated[
    bool, typer.Option("--json", help="Logs as JSON lines on stderr; one line with the address on stdout.")
]
FollowParent = Annotated[bool, typer.Option("--follow-parent", hidden=True, help="End when standard input does.")]


@app.command()
@command
@serves
def transmitter(
    host: Host = None,
    port: Port = None,
    link_address: Annotated[str | None, typer.Option(help="host:port of the channel emulator or the receiver.")] = None,
    outbox: Annotated[
        str | None,
        typer.Option(help='File that keeps accepted frames over a restart; "auto": in your state folder; "off": none.'),
    ] = None,
    device: Device = None,
    warm: Warm = None,
    grace_s: Grace = None,
    metrics_port: MetricsPort = None,
    follow_parent: FollowParent = False,
    as_json: Json = False,
    *,
    security: dict[str, Any],
) -> None:
    """Encode pictures and send them over the link."""
    settings = TransmitterSettings(
        **_given(
            host=host, port=port, link_address=link_address, outbox=outbox, device=device, warm_codecs=warm,
            grace_s=grace_s,
            metrics_port=metrics_port, log_json=as_json or None, **security,
        )
    )  # fmt: skip
    _run("gocom.transmitter.service", settings, follow_parent, as_json)


@app.command()
@command
@serves
def channel(
    host: Host = None,
    port: Port = None,
    next_hop: Annotated[str | None, typer.Option(help="host:port of the receiver, or of another emulator.")] = None,
    profile: Annotated[str | None, typer.Option(metavar="SPEC", help="Impairments to begin with.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of the channel's randomness.")] = None,
    feedback_address: Annotated[
        str | None, typer.Option(help="host:port of the transmitter, where feedback is to cross this channel too.")
    ] = None,
    reverse_profile: Annotated[str | None, typer.Option(metavar="SPEC", help="Those that feedback meets.")] = None,
    grace_s: Grace = None,
    metrics_port: MetricsPort = None,
    follow_parent: FollowParent = False,
    as_json: Json = False,
    *,
    security: dict[str, Any],
) -> None:
    """Forward frames, and do to their packets what the profile says."""
    settings = ChannelSettings(
        **_given(
            host=host, port=port, next_hop=next_hop, profile=profile, seed=seed,
            feedback_address=feedback_address, reverse_profile=reverse_profile, grace_s=grace_s,
            metrics_port=metrics_port, log_json=as_json or None, **security,
        )
    )  # fmt: skip
    _run("gocom.channel_emulator.service", settings, follow_parent, as_json)


@app.command()
@command
@serves
def receiver(
    host: Host = None,
    port: Port = None,
    feedback_address: Annotated[
        str | None, typer.Option(help="host:port of the transmitter, or of a channel that feedback crosses.")
    ] = None,
    device: Device = None,
    warm: Warm = None,
    grace_s: Grace = None,
    metrics_port: MetricsPort = None,
    follow_parent: FollowParent = False,
    as_json: Json = False,
    *,
    security: dict[str, Any],
) -> None:
    """Re-create pictures from what arrives."""
    settings = ReceiverSettings(
        **_given(
            host=host, port=port, feedback_address=feedback_address, device=device, warm_codecs=warm, grace_s=grace_s,
            metrics_port=metrics_port, log_json=as_json or None, **security,
        )
    )  # fmt: skip
    _run("gocom.receiver.service", settings, follow_parent, as_json)


def _given(**values: Any) -> dict[str, Any]:
    """Only what was set on the command line."""
    return {name: value for name, value in values.items() if value is not None}


def _run(module: str, settings: ServiceSettings, follow_parent: bool, as_json: bool) -> None:
    """Import the service, torch with it where it needs that, and serve until told to stop."""
    configure(settings.log_json)
    check_service(settings)  # before torch takes its time
    if follow_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    # Read when torch loads its OpenMP: by default its threads spin while they wait, and two services that share the
    # cores then hold each other up (measured on two busy cores: 5 s instead of 0.5 s a picture).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    service = importlib.import_module(module)
    asyncio.run(_serve(service, settings, as_json))


async def _serve(service: Any, settings: ServiceSettings, as_json: bool) -> None:
    from gocom.common.rpc.server import run_until_signal  # noqa: PLC0415 - only servers need it

    running = await service.serve(settings)
    # What start-up has made stays; and packets are many small objects in no cycles, for which the collector would look
    # through all of them hundreds of times a second.
    gc.freeze()
    gc.set_threshold(*_GC_THRESHOLDS)
    if as_json:
        emit({"service": service.__name__.partition(".")[0], "host": settings.host, "port": running.port})
    elif not settings.log_json:  # whoever reads JSON lines has "ready" among them
        console.err.print(f"serving on {join_address(settings.host, running.port)}; Ctrl-C ends it", markup=False)
    await run_until_signal(running)


def _end_with_parent() -> None:
    """Standard input is a pipe that the parent holds: when it breaks, nobody is left to stop this process."""
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
