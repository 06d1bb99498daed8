"""Structured logs on stderr. Every line about a frame has the key frame_id: "<session id>/<frame index>"."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(json: bool) -> None:
    """Set up logging of this process: JSON lines if `json` is set, else text for people."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if json:
        shared += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        # Plain tracebacks, since pretty ones print local variables, and those may be whole images.
        plain = structlog.dev.plain_traceback
        shared.append(structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain))
    structlog.configure(
        processors=shared,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        # sys.stderr is looked up for each logger, since a program that captures output replaces it.
        logger_factory=lambda *_: structlog.PrintLogger(sys.stderr),
        cache_logger_on_first_use=False,
    )


def get_logger(name: str) -> structlog.typing.FilteringBoundLogger:
    """Return a logger whose lines have the key component=<name>."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(component=name)
    return logger


def frame_id(session_id: str, frame_index: int) -> str:
    """Return the name of a frame in the logs of all services: "<session id>/<frame index>"."""
    return f"{session_id}/{frame_index}"
