"""Runs `gocom` commands, each in a fork of a process that has imported them, with streams as a shell may leave them.

It reads a JSON list of cases from stdin and prints one of results. A case has `words`, and may have `stdout` (see
STREAMS), `stderr`, `env`, `signal` and `after_s`: the signal is sent that long after the start. A result has
`status` as a shell has it, 128 + n where signal n ended the process, and what was printed: `out` and `err`.

A fork saves the second that every start of Python with gRPC takes; what is done at the exit of Python is done here too.
"""

# ruff: noqa: SIM115 - files are open as long as a process is
import json
import os
import signal
import sys
import tempfile
import time

STREAMS = ("kept", "closed", "full", "unread", "ascii")
LIMIT_S = 60.0
"""Seconds after its start, or its signal, in which a command has to end; then it is killed, and its status is 137."""


def open_stream(number: int, kind: str, target: int) -> None:
    """Make descriptor 1 or 2 of this process what `kind` says, and let Python open it as at its start."""
    if kind == "closed":
        os.close(number)
    elif kind == "full":
        os.dup2(os.open("/dev/full", os.O_WRONLY), number)
    elif kind == "unread":
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, number)
    else:
        os.dup2(target, number)
    strict = "strict" if number == 1 else "backslashreplace"
    encoding = "ascii" if kind == "ascii" else "utf-8"
    stream = None if kind == "closed" else open(number, "w", encoding=encoding, errors=strict, closefd=False)
    setattr(sys, "stdout" if number == 1 else "stderr", stream)


def wait_for(child: int) -> int:
    """Return the status of a child as waitpid gives it; kill the child after LIMIT_S."""
    deadline = time.monotonic() + LIMIT_S
    while True:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            return os.waitpid(child, 0)[1]
        time.sleep(0.005)


def main() -> None:
    import gocom.client.cli

    results = []
    for case in json.load(sys.stdin):
        out, err = tempfile.TemporaryFile(), tempfile.TemporaryFile()
        began = time.monotonic()
        child = os.fork()
        if child == 0:
            os.environ.update(case.get("env", {}))
            signal.signal(signal.SIGINT, signal.default_int_handler)
            open_stream(2, case.get("stderr", "kept"), err.fileno())
            open_stream(1, case.get("stdout", "kept"), out.fileno())
            sys.argv = ["gocom", *case["words"]]
            gocom.client.cli.main()
            return
        if "signal" in case:
            time.sleep(case["after_s"])
            os.kill(child, getattr(signal, case["signal"]))
        code = os.waitstatus_to_exitcode(wait_for(child))
        result = {"status": code if code >= 0 else 128 - code, "seconds": time.monotonic() - began}
        for name, file in (("out", out), ("err", err)):
            file.seek(0)
            result[name] = file.read().decode("utf-8", "replace")
        results.append(result)
    json.dump(results, sys.stdout)


main()
