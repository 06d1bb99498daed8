"""Start of the `gocom` command: before anything is imported that takes long, so that Ctrl-C is quiet from here on."""

from __future__ import annotations

import os
import signal
import sys

from gocom.client.end_signals import leave_on_signals


def main() -> None:
    """Run the `gocom` command, see cli.py."""
    leave_on_signals(signal.SIGINT)
    # gRPC reads this when it is imported. Its own lines on stderr say nothing that our errors do not say better.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if sys.argv[1:2] == ["serve"]:  # a service starts quicker without the other commands
        from gocom.client.commands.serve import main as run  # noqa: PLC0415 - takes half a second
    else:
        from gocom.client.cli import main as run  # noqa: PLC0415 - takes a second
    run()


if __name__ == "__main__":
    main()
