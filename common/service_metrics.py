"""Prometheus metrics of the services. They are served over HTTP only if a port is set."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from wsgiref.simple_server import WSGIServer

from prometheus_client import Counter, Gauge, Histogram, start_http_server

FRAMES = Counter("gocom_frames", "Frames that ended, by outcome", ("service", "codec", "outcome"))
ROUNDS = Counter("gocom_rounds", "Rounds handled", ("service", "codec"))
PACKETS = Counter("gocom_packets", "Packets, by fate: sent, received, erased", ("service", "fate"))
BYTES = Counter("gocom_bytes", "Bytes on the link, as in the byte account", ("service",))
STREAMS = Gauge("gocom_streams", "Streaming calls in progress", ("method",))
SECONDS = Histogram("gocom_stage_seconds", "Time of a stage", ("service", "stage"))


@contextmanager
def timed(service: str, stage: str) -> Iterator[None]:
    """Record the duration of the body as the time of a stage."""
    start = time.perf_counter()
    try:
        yield
    finally:
        SECONDS.labels(service, stage).observe(time.perf_counter() - start)


class MetricsServer:
    """An HTTP server that serves the metrics at /metrics, in a thread of its own."""

    def __init__(self, host: str, port: int) -> None:
        server, thread = start_http_server(port, host)
        self._server: WSGIServer = server
        self._thread: threading.Thread = thread

    @property
    def port(self) -> int:
        """Port that the server listens on."""
        return self._server.server_port

    def stop(self) -> None:
        """Close the server. Blocks for up to half a second."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
