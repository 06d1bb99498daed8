"""Feedback as packets on the way back: how many, and what becomes of them."""

import numpy as np
import pytest

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.proxy import feedback_as_packets as feedback_packets
from gocom.channel_emulator.proxy.feedback_as_packets import PAYLOAD_BYTES, arrives, attempt_of
from gocom.channel_emulator.statistics import RoundCounts, Statistics
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import InvalidInput, TooLarge
from gocom.common.types import LinkSettings
from gocom.common.wire.feedback import MAX_ATTEMPTS, counted_message
from gocom.v1 import feedback_pb2


def request(frame=0, round_=0, attempt=0, elements=b"", session="s"):
    message = feedback_pb2.SendFeedbackRequest(session_id=session, frame_index=frame, round=round_, attempt=attempt)
    if elements:
        message.wanted.add(elements=elements)
    return message


def chain(spec, seed=1):
    return Chain.from_profile(parse_spec(spec, seed))


def fates(spec, seed=1, attempts=1, frames=1000, elements=b""):
    """bool [frames, attempts]: which arrive."""
    made = chain(spec, seed)
    return np.array([[arrives(made, request(f, 0, a, elements)) for a in range(attempts)] for f in range(frames)])


@pytest.mark.parametrize(("size", "count"), [(0, 1), (PAYLOAD_BYTES, 1), (PAYLOAD_BYTES + 1, 2), (1000, 10)])
def test_a_message_is_as_many_packets_as_its_bytes_take(size, count):
    assert LinkSettings().max_payload_bytes == PAYLOAD_BYTES
    message = request()
    if size:
        message.text = "x" * (size - 2 - (size > 127))
    assert len(counted_message(message)) == size
    for attempt in (0, 3):
        message.attempt = attempt
        packets = attempt_of(chain("clean"), message).packets
        grown = -(-(size + 2 * (attempt > 0)) // PAYLOAD_BYTES)
        assert len(packets) == max(count, grown) == len(packets.payloads())
        assert packets.sequence.tolist() == list(range(attempt * len(packets), (attempt + 1) * len(packets)))
        assert b"".join(packets.payloads()) == counted_message(message)


def test_each_attempt_meets_its_own_fate_and_always_the_same():
    met = fates("heavy", attempts=4, frames=250)
    assert (met == fates("heavy", attempts=4, frames=250)).all()
    assert not (met == fates("heavy", seed=2, attempts=4, frames=250)).all()
    assert abs(met.mean() - 0.5) < 4 * (0.25 / met.size) ** 0.5
    # Attempts tell nothing of each other.
    assert np.abs(np.corrcoef(met.T) - np.eye(4)).max() < 4 / 250**0.5
    made = chain("heavy")
    assert [arrives(made, request(7, session=name)) for name in "ab"] == [arrives(made, request(7))] * 2


def test_the_ways_have_nothing_to_do_with_each_other():
    """With the same seed: else just that feedback would be lost of which the first packets were lost."""
    back, made = fates("heavy")[:, 0], chain("heavy")
    forth = []
    for frame in range(len(back)):
        packets = attempt_of(made, request(frame)).packets
        forth.append(not made.apply(packets, FrameInfo(frame)).erased[0])
    assert abs(np.corrcoef(back, forth)[0, 1]) < 4 / len(back) ** 0.5


@pytest.mark.parametrize("damage", ["erase", "deliver"])
def test_a_damaged_message_is_lost(damage):
    arrived = fates(f"bit_flip:rate=1e-3,damage={damage}", frames=1500, elements=bytes(60))[:, 0]
    bits = 8 * np.array([len(counted_message(request(f, elements=bytes(60)))) for f in range(1500)])
    whole = (1 - 1e-3) ** bits
    assert abs(arrived.sum() - whole.sum()) < 4 * (whole * (1 - whole)).sum() ** 0.5


def test_one_lost_packet_loses_the_message():
    arrived = fates("packet_erasure:rate=0.1", elements=bytes(400))[:, 0]
    whole = 0.9 ** len(attempt_of(chain("clean"), request(500, elements=bytes(400))).packets)
    assert whole == pytest.approx(0.9**4)
    assert abs(arrived.mean() - whole) < 4 * (whole * (1 - whole) / 1000) ** 0.5


@pytest.mark.parametrize(
    "spec",
    ["heavy", "gilbert_elliott:p=0.1,r=0.2", "block_fading:snr_db=12,coherence=4", "bit_flip:rate=1e-3"],
)
def test_statistics_hold_though_only_what_was_lost_is_repeated(spec):
    made = chain(spec, 3)
    counted, arrived = Statistics(made), 0
    for frame in range(400):
        for number in range(6):
            attempt = attempt_of(made, request(frame, 1, number, bytes(300)))
            left, counts = attempt.impairer.apply(attempt.packets), RoundCounts()
            counts.add(attempt.packets, left)
            counted.add(attempt.info, counts, attempt.impairer.event_counts(), number)
            if not left.erased.any():
                arrived += 1
                break
    report = counted.report(1)
    assert report.frames > 400 and 0 < arrived <= 400
    (entry,) = report.impairments
    assert abs(entry.z_score) < 4 and entry.events > 100


def test_limits_name_what_is_too_much(monkeypatch):
    with pytest.raises(InvalidInput, match="attempt: 32 is not in 0 to 31"):
        arrives(chain("clean"), request(attempt=MAX_ATTEMPTS))
    monkeypatch.setattr(feedback_packets, "MAX_PACKETS", 3)
    with pytest.raises(TooLarge, match="request: 40. bytes are more than 315"):
        arrives(chain("clean"), request(elements=bytes(400)))
