"""Starting, running and draining a grpc.aio server: limits, keepalive, health, reflection, SIGTERM."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from errno import EADDRINUSE

import grpc
from grpc_health.v1 import health as health_module
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from gocom.common.errors import NotReady
from gocom.common.logs import configure, get_logger
from gocom.common.rpc.addresses import bare_host, join_address
from gocom.common.rpc.client_channels import KEEPALIVE_MS, KEEPALIVE_TIMEOUT_MS
from gocom.common.rpc.credentials import (
    LOOPBACK,
    check_service,
    metrics_host,
    security_summary,
    server_credentials,
    service_token,
)
from gocom.common.rpc.interceptor import Context, ServiceInterceptor
from gocom.common.service_metrics import MetricsServer
from gocom.common.settings import ServiceSettings

log = get_logger("server")

_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class _Health(health_module.aio.HealthServicer):
    """Health servicer whose Watch streams end when the server drains, and so do not use up the grace period."""

    def __init__(self) -> None:
        super().__init__()
        self.drained = asyncio.Event()

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        tasks = [asyncio.ensure_future(super().Watch(request, context)), asyncio.ensure_future(self.drained.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class RunningServer:
    """A gRPC server that is listening.

    Attributes:
        port: port on which the server listens.
        metrics: server of the metrics; None if there is none.
        on_drain: functions to call when the server begins to stop, so that endless streams can end themselves.
        until_idle: functions to call and await after that, within the grace period, before calls are refused.
        on_stop: functions to call and await after the last call has ended.
    """

    def __init__(
        self,
        server: grpc.aio.Server,
        port: int,
        settings: ServiceSettings,
        health: _Health,
        metrics: MetricsServer | None = None,
    ) -> None:
        self.port = port
        self.on_drain: list[Callable[[], None]] = []
        self.until_idle: list[Callable[[], Awaitable[None]]] = []
        self.on_stop: list[Callable[[], Awaitable[None]]] = []
        self.metrics = metrics
        self._server = server
        self._settings = settings
        self._health = health
        self._stopping: asyncio.Task[None] | None = None

    @property
    def address(self) -> str:
        """Address, host:port, of the server as seen from this machine."""
        host = bare_host(self._settings.host)
        return join_address(LOOPBACK if host in ("0.0.0.0", "::") else host, self.port)

    async def set_serving(self, serving: bool) -> None:
        """Set the health status of the whole server."""
        await self._health.set("", _SERVING if serving else _NOT_SERVING)

    async def stop(self, grace_s: float | None = None) -> None:
        """Drain the server: wait until it is idle, refuse new calls, cancel those still running after the grace period.

        A second call waits for the first one to finish.

        Args:
            grace_s: grace period in seconds; None: as in the settings.
        """
        if self._stopping is None:
            grace = self._settings.grace_s if grace_s is None else grace_s
            self._stopping = asyncio.create_task(self._stop(grace))
        await self._stopping

    async def _stop(self, grace_s: float) -> None:
        await self._health.enter_graceful_shutdown()
        self._health.drained.set()
        for drain in self.on_drain:
            drain()
        until = time.monotonic() + grace_s
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*(idle() for idle in self.until_idle)), grace_s)
        await self._server.stop(max(0.0, until - time.monotonic()))
        for close in self.on_stop:
            await close()
        if self.metrics is not None:
            await asyncio.to_thread(self.metrics.stop)

    async def wait(self) -> None:
        """Wait until the server has stopped."""
        await self._server.wait_for_termination()


async def start_server(
    settings: ServiceSettings, add_services: Callable[[grpc.aio.Server], Sequence[str]]
) -> RunningServer:
    """Start a server. Its health status is NOT_SERVING until `set_serving(True)`.

    Args:
        settings: settings of the service.
        add_services: adds servicers to the server; returns their full names ("gocom.v1.LinkService") for reflection.

    Raises:
        InvalidInput: the security settings are invalid, or not sufficient for the address.
        NotReady: the server cannot listen on its address, or on that of the metrics.
    """
    configure(settings.log_json)
    check_service(settings)
    token = service_token(settings)
    server = grpc.aio.server(
        interceptors=[ServiceInterceptor(settings.max_streams, token)],
        options=[
            ("grpc.max_receive_message_length", settings.max_message_bytes),
            ("grpc.max_send_message_length", settings.max_message_bytes),
            ("grpc.keepalive_time_ms", KEEPALIVE_MS),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_MS),
            ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_MS),
            ("grpc.http2.min_ping_interval_without_data_ms", KEEPALIVE_MS // 2),
            # With SO_REUSEPORT, two servers on one port would share its connections at random.
            ("grpc.so_reuseport", 0),
        ],
    )
    names = add_services(server)
    health = _Health()
    await health.set("", _NOT_SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(health, server)
    reflection.enable_server_reflection([*names, health_module.SERVICE_NAME, reflection.SERVICE_NAME], server)
    metrics = _serve_metrics(settings)  # first: once gRPC has bound a port, it releases it only after having served
    try:
        port = _listen(server, settings)
    except NotReady:
        if metrics is not None:
            await asyncio.to_thread(metrics.stop)
        raise
    running = RunningServer(server, port, settings, health, metrics)
    await server.start()
    address = join_address(settings.host, port)
    log.info("listening", services=list(names), address=address, security=security_summary(settings))
    return running


def _listen(server: grpc.aio.Server, settings: ServiceSettings) -> int:
    """Bind the port of the server and return its number. Raise NotReady if that fails."""
    address, credentials = join_address(settings.host, settings.port), server_credentials(settings)
    _check_free(settings.host, settings.port, address)
    try:
        if credentials is None:
            return server.add_insecure_port(address)
        return server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise NotReady(f"cannot listen on {address}: {error}") from error


def _check_free(host: str, port: int, address: str) -> None:
    """Raise NotReady if a port is in use, or if no address of the host can be bound. gRPC would say it less clearly."""
    try:
        found = socket.getaddrinfo(bare_host(host), port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise NotReady(f"cannot listen on {address}: {error.strerror or error}") from None
    refusals = []
    for family, _, _, _, where in found:
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(where)
        except OSError as error:
            # gRPC would listen on the other addresses of the host.
            if error.errno == EADDRINUSE:
                raise NotReady(f"cannot listen on {address}: the port is in use by another program") from None
            refusals.append(error)
    if refusals and len(refusals) == len(found):  # "localhost" may have an IPv6 address that this machine has not
        raise NotReady(f"cannot listen on {address}: {refusals[0].strerror or refusals[0]}")


def _serve_metrics(settings: ServiceSettings) -> MetricsServer | None:
    """Start the server of the metrics, if the settings ask for one. Raise NotReady if it cannot listen."""
    if settings.metrics_port is None:
        return None
    host = bare_host(metrics_host(settings))
    try:
        server = MetricsServer(host, settings.metrics_port)
    except OSError as error:
        where = join_address(host, settings.metrics_port)
        raise NotReady(f"metrics_port: cannot listen on {where}: {error.strerror or error}") from error
    log.info("metrics", address=join_address(host, server.port))
    return server


async def run_until_signal(running: RunningServer) -> None:
    """Wait for SIGTERM, SIGINT or SIGHUP, or until the server has stopped; then drain it. nohup keeps SIGHUP away."""
    loop = asyncio.get_running_loop()
    signalled = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, signalled.set)
    waits = [asyncio.create_task(signalled.wait()), asyncio.create_task(running.wait())]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    log.info("draining", address=running.address)
    await running.stop()
    for task in waits:
        task.cancel()
    await asyncio.gather(*waits, return_exceptions=True)
