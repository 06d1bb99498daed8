"""Run `gocom up` with services that are none until it gets a signal: while it starts, and once it is up.

python signalled_up.py NUMBER     prints what `up` prints, and "status N" after each of the two
"""

import os
import signal
import sys
import time

import typer
from test_local_stack import Process

from gocom.client.commands import up as up_command
from gocom.client.local_stack import LocalStack


def run_up(number, while_starting):
    """Exit status of `gocom up`, whose services must have been stopped."""

    def interrupt():
        os.kill(os.getpid(), number)
        time.sleep(10)

    ended = []
    LocalStack.stop = lambda self: ended.append(self) or stop(self)
    LocalStack._spawn = lambda self, name: interrupt() if while_starting else Process()
    LocalStack.check = lambda self: interrupt()
    try:
        up_command.up(free_ports=True)
        status = 0
    except typer.Exit as error:
        status = error.exit_code
    assert ended, "the services are stopped"
    return status


if __name__ == "__main__":
    stop = LocalStack.stop
    # Whoever starts this may ignore them, as a shell does in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    for while_starting in (True, False):
        print("status", run_up(int(sys.argv[1]), while_starting), flush=True)
