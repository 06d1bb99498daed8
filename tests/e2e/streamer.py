"""Streams pictures through the stack from a container on its network; one JSON line on stdout an event.

{"event": "handed", "index": 3, "at": ...}    the client has taken a picture
{"event": "result", "index": 3, ...}          what became of it
{"event": "end"} or {"event": "error", ...}   the stream is over

Times are seconds since 1970, so that they compare with those of the host.
"""

import argparse
import json
import sys
import threading
import time
from itertools import count
from pathlib import Path

import numpy as np

from gocom.client.client import Client

SAYING = threading.Lock()
STOP = Path("/tmp/stop")


def say(event, **fields):
    with SAYING:  # the client reads pictures in another thread
        sys.stdout.write(json.dumps({"event": event, "at": time.time(), **fields}) + "\n")
        sys.stdout.flush()


def picture(index, side):
    """uint8 [side, side, 3]: soft colour fields, different in every picture."""
    fields = side // 16 + 1
    corners = np.random.default_rng(index).integers(0, 256, (fields, fields, 3)).astype(np.float64)
    places = np.linspace(0, fields - 1, side)
    near = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(fields)))
    return np.einsum("yi,xj,ijc->yxc", near, near, corners).astype(np.uint8)


def paced(least, side, per_second):
    """At least so many, and on until there is a file STOP; no quicker than so many a second."""
    due = time.monotonic()
    for index in count():
        if index >= least and STOP.exists():
            return
        time.sleep(max(0.0, due - time.monotonic()))
        due = max(due, time.monotonic() - 1 / per_second) + 1 / per_second
        say("handed", index=index)
        yield picture(index, side)


def main():
    words = argparse.ArgumentParser()
    words.add_argument("--codec", required=True)
    words.add_argument("--least", type=int, required=True)
    words.add_argument("--side", type=int, required=True)
    words.add_argument("--per-second", type=float, required=True)
    wanted = words.parse_args()
    try:
        with Client("transmitter:50051", "receiver:50053", "channel:50052") as client:
            for result in client.send(paced(wanted.least, wanted.side, wanted.per_second), wanted.codec, seed=1):
                say(
                    "result", index=result.frame_index, outcome=result.outcome, failure=result.failure,
                    reason=result.reason, psnr_db=result.psnr_db, seconds=result.seconds["total"],
                )  # fmt: skip
    except Exception as error:
        say("error", error=f"{type(error).__name__}: {error}")
        raise
    say("end")


if __name__ == "__main__":
    main()
