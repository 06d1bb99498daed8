"""What a receiver makes of the link, against closed forms; and how it is written, read and refused."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.fault_bases.two_state_chain import TwoStateChain
from gocom.common.channel_spec import parse_spec
from gocom.common.csi import LinkReport
from gocom.common.errors import InvalidInput
from gocom.common.packet_batch import PacketBatch, join_batches
from gocom.common.packetizer import depacketize, packetize
from gocom.common.systems.classical import ClassicalHeader
from gocom.common.types import ElementCoding, Feedback, FrameHeader, GoMessage, LinkSettings, Segment
from gocom.common.wire.feedback import counted_message, feedback_to_proto, link_report_from_proto
from gocom.receiver.link_estimation import WINDOW, LinkEstimate, effective_snr_db
from gocom.v1 import feedback_pb2

SIZE = 60


def batch_of(count):
    index, ones = np.arange(count, dtype=np.int64), np.ones(count, np.int64)
    return PacketBatch(
        np.zeros(count * SIZE, np.uint8), ones * SIZE, index, index, ones, np.zeros(count, np.uint32),
        np.ones(count, np.float32), np.zeros(count, bool),
    )  # fmt: skip


def windows(spec, count, round_packets=WINDOW // 2):
    """One report for each two rounds through a channel."""
    chain, batch, reports = Chain.from_profile(parse_spec(spec, seed=4)), batch_of(round_packets), []
    for frame in range(count):
        link = LinkEstimate()
        for round_ in (0, 1):
            link.add(np.where(chain.apply(batch, FrameInfo(frame, round_)).erased, -1, SIZE))
        reports.append(link.report())
    return reports


@pytest.mark.parametrize("rates", ["", ",loss_bad=0.7,loss_good=0.05"])
def test_loss_and_bursts_of_gilbert_elliott(rates):
    p, r, n, count = 0.03, 0.2, WINDOW // 2, 300
    reports = windows(f"gilbert_elliott:p={p},r={r}{rates}", count)
    chain = TwoStateChain(p, r, *((0.7, 0.05) if rates else (1, 0)))
    lost = np.array([report.lost for report in reports])
    runs = np.array([report.lost / report.mean_burst_packets for report in reports])
    assert all(report.packets == WINDOW for report in reports)
    deviation = math.sqrt(2 * count * chain.count_variance(n))

    def z_loss(rate):
        return (lost.sum() - WINDOW * count * rate) / deviation

    # A run begins with a loss at the first packet, or with one after a packet that arrived.
    starts = chain.rate + (n - 1) * (chain.rate - chain.pair_rate)
    burst = n * chain.rate / starts

    def z_burst(mean):
        left = lost - mean * runs
        return left.sum() / (left.std() * math.sqrt(count))

    assert abs(z_loss(chain.rate)) < 4 < abs(z_loss(1.2 * chain.rate))
    assert abs(z_burst(burst)) < 4 < abs(z_burst(1.1 * burst))
    if not rates:
        assert burst == pytest.approx(1 / r, rel=0.01)


@pytest.mark.parametrize("snr_db", [5.0, 6.5, 8.0])
def test_effective_snr_is_that_of_the_bit_errors(snr_db):
    rate = norm.sf(math.sqrt(2 * 10 ** (snr_db / 10)))
    told = np.array([report.effective_snr_db for report in windows(f"bit_flip:rate={rate!r}", 150)])

    def z(of):
        return (told.mean() - of) / (told.std() / math.sqrt(len(told)))

    assert abs(z(snr_db)) < 4 < abs(z(snr_db + 0.2))


def test_effective_snr_inverts_the_packet_error_rate():
    for snr_db in (-5.0, 0.0, 6.0, 11.0):
        rate = norm.sf(math.sqrt(2 * 10 ** (snr_db / 10)))
        loss = -math.expm1(12 * math.log1p(-rate))
        assert effective_snr_db(loss, 12) == pytest.approx(snr_db, abs=1e-9)
    for loss, bits in ((0.0, 800), (1.0, 800), (0.9999, 8), (0.5, 0)):
        assert effective_snr_db(loss, bits) is None


def test_only_the_latest_packets_count():
    link = LinkEstimate()
    assert link.report() is None
    link.add(np.zeros(0, np.int64))
    assert link.report() is None
    link.add(np.full(WINDOW, -1))
    assert link.report() == LinkReport(WINDOW, WINDOW, float(WINDOW), None)
    for _ in range(5):
        link.add(np.full(200, SIZE))
    assert link.report() == LinkReport(WINDOW, 24, 24.0, effective_snr_db(24 / WINDOW, 8 * SIZE))
    link.add(np.full(1 << 16, SIZE))
    assert link.report() == LinkReport(WINDOW, 0, 0.0, None)
    assert sum(len(of_round) for of_round in link._rounds) == WINDOW


def test_a_run_ends_with_its_round():
    link = LinkEstimate()
    for sizes in ([9, -1, -1], [-1, 9, -1], [9, 9]):
        link.add(np.array(sizes))
    assert link.report() == LinkReport(8, 4, 4 / 3, effective_snr_db(0.5, 72))


def test_a_packet_counts_once_and_a_damaged_one_is_lost():
    link = LinkSettings(max_payload_bytes=32)
    segment = Segment(0, np.arange(200) % 256, np.ones(200, np.float32), ElementCoding.FIXED)
    header, batch = packetize(GoMessage("jpeg", ClassicalHeader(), 64, 64, (segment,)), link)
    index = np.arange(len(batch))
    assert len(batch) == 7
    damaged = batch.select(index == 2)
    damaged.payload = damaged.payload ^ 1
    came = join_batches([batch.select(index == 0), batch.select(index < 2), damaged, batch.select(index == 6)])
    got = depacketize(header, came, link)
    assert got.packet_bytes.tolist() == [32, 32, -1, -1, -1, -1, 8] and got.packets_received == 3
    estimate = LinkEstimate()
    estimate.add(got.packet_bytes)
    assert estimate.report() == LinkReport(7, 4, 4.0, effective_snr_db(4 / 7, 8 * 24))


HEADERS = [FrameHeader("jpeg", ClassicalHeader(), 64, 64, ())]
REPORTS = [
    LinkReport(1024, 96, 4.8, 5.3),
    LinkReport(3, 3, 3.0),
    LinkReport(17, 0),
    LinkReport(10, 4, 1.0, -12.5),
]


@pytest.mark.parametrize("report", REPORTS)
def test_a_report_survives_the_wire_and_is_counted(report):
    bare = feedback_to_proto(Feedback(0, 0), HEADERS, LinkSettings())
    request = feedback_to_proto(Feedback(0, 0, link=report), HEADERS, LinkSettings())
    assert link_report_from_proto(request) == report and link_report_from_proto(bare) is None
    assert len(counted_message(request)) - len(counted_message(bare)) == len(request.link.SerializeToString()) + 2


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "packets"),
        ({"packets": 3, "lost": 4, "mean_burst_permille": 1000}, "lost"),
        ({"packets": 9, "lost": 2, "mean_burst_permille": 999}, "mean_burst_permille"),
        ({"packets": 9, "lost": 2, "mean_burst_permille": 2001}, "mean_burst_permille"),
        ({"packets": 9, "mean_burst_permille": 1000}, "mean_burst_permille"),
        ({"packets": 9, "effective_snr_decidb": 10}, "effective_snr_decidb"),
        ({"packets": 2, "lost": 2, "mean_burst_permille": 2000, "effective_snr_decidb": 1}, "effective_snr_decidb"),
        ({"packets": 2, "lost": 1, "mean_burst_permille": 1000, "effective_snr_decidb": 601}, "effective_snr_decidb"),
        ({"packets": 2, "lost": 1, "mean_burst_permille": 1000, "effective_snr_decidb": -601}, "effective_snr_decidb"),
    ],
)
def test_reports_that_no_receiver_makes(fields, field):
    request = feedback_pb2.SendFeedbackRequest(link=feedback_pb2.LinkReport(**fields))
    with pytest.raises(InvalidInput, match=rf"^link\.{field}: "):
        link_report_from_proto(request)
