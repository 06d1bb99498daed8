"""Each fault on each service while pictures are streamed: every frame is accounted for, and the stream recovers."""

import json
import time
from pathlib import Path

import pytest
from accounting import account
from engine import SERVICES, wait_until
from faults import FAULTS

from gocom.client.transfer import MAX_IN_FLIGHT

LEAST_FRAMES, PER_SECOND = 64, 5.0
BEFORE, AFTER = 10, 20
"""Results that must be there before the fault begins, and after it is over."""
STREAM_S = 150
"""For the whole stream, fault included."""
RECOVERY_S = 5.0
CODECS = {"transmitter": "jpeg", "channel": "jpeg", "receiver": "lami_go"}
SIDE_PX = {"jpeg": 128, "lami_go": 64}
WORST_PSNR_DB = {"jpeg": 25.0, "lami_go": 15.0}
"""Any two of the pictures are below 14 dB: one that was mixed up shows."""
STREAMER = (Path(__file__).parent / "streamer.py").read_text()


@pytest.fixture
def stream(stack):
    """codec -> a client container that streams; removed after the test."""
    started = []

    def start(codec):
        words = {"--codec": codec, "--least": LEAST_FRAMES, "--side": SIDE_PX[codec], "--per-second": PER_SECOND}
        started.append(stack.run_client(STREAMER, *(str(word) for pair in words.items() for word in pair)))
        return started[-1]

    yield start
    for container in started:
        container.remove(force=True)


def events(container):
    """What the streamer said so far."""
    lines = container.logs(stdout=True, stderr=False).decode().splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def ended(container):
    container.reload()
    return container.status == "exited"


def wait_for_results(container, least, since, what):
    """Until there are so many results later than `since`, or the stream has ended."""

    def enough():
        results = [event for event in events(container) if event["event"] == "result" and event["at"] > since]
        return len(results) >= least or ended(container)

    wait_until(enough, STREAM_S, f"{least} results {what}; {container.logs(tail=5).decode()}")


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("fault", FAULTS)
def test_every_frame_is_accounted_for(stack, stream, record, fault, service):
    codec = CODECS[service]
    stack.wait_serving()
    streamer = stream(codec)
    wait_for_results(streamer, BEFORE, 0, "before the fault")
    began = time.time()
    FAULTS[fault](stack, service)
    over = time.time()
    wait_for_results(streamer, AFTER, over, "after the fault")
    if not ended(streamer):
        streamer.exec_run(["touch", "/tmp/stop"])
    wait_until(lambda: ended(streamer), STREAM_S, f"end of the stream; {streamer.logs(tail=5).decode()}")

    row = account(events(streamer), fault, service, codec, began, over)
    record(row)
    assert row.error is None, row
    assert row.frames >= LEAST_FRAMES, row
    assert row.silent == 0 and row.duplicates == 0, row
    assert row.delivered + sum(row.failed.values()) == row.frames, row
    assert all(reason.strip() for reason in row.failed), row
    assert sum(row.failed.values()) <= MAX_IN_FLIGHT, row  # no others can have met the fault
    assert row.worst_psnr_db >= WORST_PSNR_DB[codec], row
    assert row.recovery_s is not None and row.recovery_s <= RECOVERY_S, row
