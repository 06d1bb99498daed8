"""Chains: validation, order, CSI, plug-ins, statistics, and what the emulator must not import."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gocom.channel_emulator.chain import Chain, NamedFault, frame_info
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.channel_emulator.impairments.gilbert_elliott import GilbertElliott
from gocom.channel_emulator.impairments.packet_erasure import PacketErasure
from gocom.channel_emulator.proxy.header_reader import HeaderReader
from gocom.channel_emulator.statistics import RoundCounts, Statistics
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.packet_batch import PacketBatch
from gocom.common.systems.lami_go import LamiGoHeader
from gocom.common.types import ElementCoding, FrameHeader, RoundSettings, SegmentHeader
from gocom.common.wire.frame_headers import defaults_to_proto, header_to_proto, stream_position
from gocom.v1 import channel_pb2, link_pb2

ROOT = Path(__file__).parents[2]

TOY = """
from dataclasses import dataclass
from gocom.channel_emulator.fault_bases.fault import PacketFault
from gocom.channel_emulator.impairments import IMPAIRMENTS

@IMPAIRMENTS.register("every_nth")
@dataclass(frozen=True, slots=True)
class EveryNth(PacketFault):
    n: float

    @property
    def expected_rate(self):
        return 1 / self.n

    def draw(self, batch, rng):
        return batch.sequence % self.n == 0
"""


def batch_of(count: int, payload_bytes: int = 20) -> PacketBatch:
    index, ones = np.arange(count, dtype=np.int64), np.ones(count, np.int64)
    return PacketBatch(
        np.zeros(count * payload_bytes, np.uint8), ones * payload_bytes, index, index, ones,
        np.zeros(count, np.uint32), np.ones(count, np.float32), np.zeros(count, bool),
    )  # fmt: skip


def chain_of(text: str, seed: int = 0) -> Chain:
    return Chain.from_profile(parse_spec(text, seed))


@pytest.mark.parametrize(
    ("text", "kind", "message"),
    [
        ("packet_erasure:rate=2", InvalidInput, r"impairments\[0\].packet_erasure.rate: 2.0 is not in 0 to 1"),
        (
            "packet_erasure:rate=0+gilbert_elliott:p=0,r=1",
            InvalidInput,
            r"impairments\[1\].gilbert_elliott.p: 0.0 is not in",
        ),
        (
            "toy:x=1",
            UnknownName,
            r"impairments\[0\]: no 'toy'; there are bit_flip, block_fading, burst_bit_flip, coded_fading, delay, dup",
        ),
        ("outag", UnknownName, r"impairments\[0\]: no 'outag'; there are .*clean, .*outage, packet_erasure, "),
    ],
)
def test_a_wrong_profile_is_refused(text: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        chain_of(text)


def test_what_only_the_wire_can_get_wrong_is_refused() -> None:
    empty = channel_pb2.Impairment()
    with pytest.raises(UnknownName, match=r"impairments\[0\].kind: no '\(none\)'"):
        Chain.from_profile(channel_pb2.ChannelProfile(impairments=[empty]))
    with pytest.raises(InvalidInput, match="33, more than 32"):
        Chain.from_profile(channel_pb2.ChannelProfile(impairments=[empty] * 33))
    flip = channel_pb2.Impairment(bit_flip=channel_pb2.BitFlip(rate=0.1, damage=9))  # type: ignore[arg-type]
    with pytest.raises(InvalidInput, match=r"impairments\[0\].bit_flip.damage: no value 9; choose erase, deliver"):
        Chain.from_profile(channel_pb2.ChannelProfile(impairments=[flip]))
    nan = channel_pb2.Impairment(packet_erasure=channel_pb2.PacketErasure(rate=math.nan))
    with pytest.raises(InvalidInput, match="nan"):
        Chain.from_profile(channel_pb2.ChannelProfile(impairments=[nan]))


def test_seed_frame_round_and_position_key_the_fate() -> None:
    batch = batch_of(1000)
    fates = {
        chain_of(text, seed).apply(batch, FrameInfo(frame, round_)).erased.tobytes()
        for text in ("heavy", "clean", "packet_erasure:rate=0+packet_erasure:rate=0.5")
        for seed in (1, 2)
        for frame in (0, 1)
        for round_ in (0, 1)
    }
    assert len(fates) == 17  # the clean channel's is one and the same
    again = [chain_of("heavy", 1).apply(batch, FrameInfo(3, 0)).erased for _ in range(2)]
    assert np.array_equal(*again)


def test_empty_batches_and_impossible_sequence_numbers() -> None:
    chain = chain_of("gilbert_elliott:p=0.02,r=0.2+packet_erasure:rate=0.1+bit_flip:rate=0.1,damage=deliver")
    impairer = chain.impairer(FrameInfo())
    assert len(impairer.apply(batch_of(0))) == 0
    assert [(score.trials, score.events, score.variance) for score in impairer.event_counts()] == [(0, 0, 0)] * 3
    batch = batch_of(2)
    batch.sequence = np.array([0, 2**32 - 1])
    with pytest.raises(InvalidInput, match=r"batch\.sequence: 4294967295 is not in 0 to"):
        chain.apply(batch, FrameInfo())


def test_csi_of_chains() -> None:
    assert chain_of("clean").csi(105) == chain_of("packet_erasure:rate=0").csi(105)
    assert (chain_of("clean").csi(105).packet_erasure_rate, chain_of("clean").csi(105).mean_burst_packets) == (0, 1)
    bursty = chain_of("gilbert_elliott:p=0.02,r=0.25").csi(105)
    assert bursty.packet_erasure_rate == pytest.approx(0.02 / 0.27) and bursty.mean_burst_packets == pytest.approx(4)
    assert chain_of("lossy").csi(105).mean_burst_packets == pytest.approx(1 / 0.8)
    assert chain_of("packet_erasure:rate=1").csi(105).mean_burst_packets == math.inf
    assert chain_of("bit_flip:rate=1e-3").csi(105).packet_erasure_rate == pytest.approx(0.5685, rel=1e-3)
    flips = chain_of("bit_flip:rate=0.1,damage=deliver+bit_flip:rate=0.2,damage=deliver").csi(105)
    assert (flips.packet_erasure_rate, flips.bit_error_rate) == (0, pytest.approx(0.26))
    bursts = chain_of("burst_bit_flip:p=5e-3,r=0.02,damage=deliver").csi(105)
    assert (bursts.packet_erasure_rate, bursts.bit_error_rate) == (0, pytest.approx(0.1))
    assert chain_of("burst_bit_flip:p=5e-3,r=0.02").csi(105).bit_error_rate == 0


def test_csi_of_a_mixed_chain_is_what_happens() -> None:
    chain = chain_of(
        "gilbert_elliott:p=0.02,r=0.2,loss_bad=0.9+packet_erasure:rate=0.1+bit_flip:rate=1e-3+burst_bit_flip:p=1e-3,r=0.02",
        4,
    )
    lost = chain.apply(batch_of(300_000), FrameInfo()).erased
    csi = chain.csi(20)
    starts = np.count_nonzero(lost[1:] & ~lost[:-1])
    assert lost.mean() == pytest.approx(csi.packet_erasure_rate, rel=0.02)
    assert lost.sum() / starts == pytest.approx(csi.mean_burst_packets, rel=0.02)


def test_statistics_agree_and_notice_a_wrong_chain() -> None:
    chain = chain_of("gilbert_elliott:p=0.02,r=0.25+packet_erasure:rate=0.1+bit_flip:rate=1e-3", 11)
    # The same packets counted as if other parameters had been asked for.
    bursty, independent = GilbertElliott(0.025, 0.25), PacketErasure(0.12)
    wrong = Chain([NamedFault("gilbert_elliott", bursty), NamedFault("b", independent), chain.faults[2]])
    good, bad, batch = Statistics(chain), Statistics(wrong), batch_of(1000)
    for frame in range(60):
        for statistics in (good, bad):
            info, counts = FrameInfo(frame, 0), RoundCounts()
            impairer = chain.impairer(info, statistics.chain)
            for part in batch.slices(300):
                left = impairer.apply(part)
                counts.add(part, left)
            statistics.add(info, counts, impairer.event_counts())
    report = good.report(3)
    assert (report.revision, report.frames, report.packets_in) == (3, 60, 60_000)
    assert report.payload_bytes_in == 60_000 * 20 and 0 < report.packets_out < 60_000
    assert [i.name for i in report.impairments] == ["gilbert_elliott", "packet_erasure", "bit_flip"]
    assert all(abs(i.z_score) < 4 for i in report.impairments)
    assert report.impairments[0].trials == 60_000 and report.impairments[2].unit == channel_pb2.TRIAL_UNIT_BIT
    assert report.impairments[1].measured_rate == pytest.approx(0.1, abs=0.01)
    z = [i.z_score for i in bad.report(1).impairments]
    assert z[0] < -4 and z[1] < -8


def test_scores_of_bursty_flips_have_deviation_one_whatever_the_lengths() -> None:
    # Bursts of 200 bits do not fit most of these packets: as one run, or as independent bits, z would be far off.
    spec, scores = "packet_erasure:rate=0.3+burst_bit_flip:p=1e-3,r=5e-3", []
    rng = np.random.default_rng(3)
    length = rng.integers(1, 60, 400)
    packets = replace(batch_of(400), payload=np.zeros(length.sum(), np.uint8), length=length)
    for seed in range(150):
        chain, info = chain_of(spec, seed), FrameInfo(seed, 0)
        statistics, counts, impairer = Statistics(chain), RoundCounts(), chain.impairer(info)
        for part in packets.slices(150):
            left = impairer.apply(part)
            counts.add(part, left)
        statistics.add(info, counts, impairer.event_counts())
        scores.append(statistics.report(1).impairments[1].z_score)
    assert np.std(scores) == pytest.approx(1, abs=0.2)  # of 150 scores: +- 3.5 standard deviations
    assert abs(np.mean(scores)) < 4 / math.sqrt(len(scores))


def test_a_lost_segment_is_counted_by_its_own_packets() -> None:
    chain = chain_of("packet_erasure:rate=1,segment=0+packet_erasure:rate=0.5", 2)
    batch, info = batch_of(90), FrameInfo(segment_ends=(30, 55, 90))
    statistics = Statistics(chain)
    impairer = chain.impairer(info)
    left = impairer.apply(batch)
    assert left.erased[:30].all() and not left.erased[30:].all()
    counts = RoundCounts()
    counts.add(batch, left)
    statistics.add(info, counts, impairer.event_counts())
    first, second = statistics.report(1).impairments
    assert (first.trials, first.events, first.measured_rate, first.z_score) == (30, 30, 1, 0)
    assert second.trials == 90
    # The transmitter is told of the second fault alone.
    assert chain.csi(105) == chain_of("packet_erasure:rate=0.5").csi(105)


def test_repeats_of_a_frame_are_no_new_evidence() -> None:
    chain = chain_of("packet_erasure:rate=0.5")
    statistics, batch, info = Statistics(chain), batch_of(500), FrameInfo(1, 0)
    scores = []
    for _ in range(50):
        impairer = chain.impairer(info)
        left = impairer.apply(batch)
        counts = RoundCounts()
        counts.add(batch, left)
        statistics.add(info, counts, impairer.event_counts())
        scores.append(statistics.report(1).impairments[0].z_score)
    assert scores == pytest.approx([scores[0]] * 50)


def test_nothing_measured_yet_is_zero() -> None:
    entry = Statistics(chain_of("lossy")).report(1).impairments[0]
    assert (entry.trials, entry.measured_rate, entry.z_score, entry.expected_rate) == (0, 0, 0, 0.2)


def test_frame_info_is_the_same_in_process_and_on_the_wire() -> None:
    segments = (
        SegmentHeader(0, 20, ElementCoding.FIXED, 1, 3), SegmentHeader(1, 1024, ElementCoding.FIXED, 10, 0, True),
    )  # fmt: skip
    header = FrameHeader("lami_go", LamiGoHeader(), 256, 256, segments, 4, 2, RoundSettings(3))
    info = frame_info(header)
    assert info == FrameInfo(4, 2, (False, True), (4, 14)) and info.packets == 14
    assert [info.packets_of(segment) for segment in range(3)] == [(0, 4), (4, 14), (14, 14)]
    opening = link_pb2.SessionOpen(defaults=defaults_to_proto(stream_position(header).defaults))
    assert HeaderReader(opening).read(header_to_proto(header)) == info


def run_python(code: str, **environment: str) -> str:
    path = environment.pop("path", "")
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path, **environment}, cwd=ROOT,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_a_plug_in_is_one_file(tmp_path: Path) -> None:
    folder = tmp_path / "mine" / "impairments"
    folder.mkdir(parents=True)
    (folder / "every_nth.py").write_text(TOY)
    code = """
import numpy as np
from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import FrameInfo
from gocom.common.channel_spec import parse_spec
from gocom.common.packet_batch import PacketBatch
i = np.arange(6); o = np.ones(6, np.int64)
batch = PacketBatch(np.zeros(6, np.uint8), o, i, i, o, o.astype(np.uint32), o.astype(np.float32), i < 0)
chain = Chain.from_profile(parse_spec("every_nth:n=3"))
print(chain.apply(batch, FrameInfo()).erased.tolist(), round(chain.csi(105).packet_erasure_rate, 3))
try: Chain.from_profile(parse_spec("every_nth:m=3"))
except Exception as error: print(error)
"""
    lines = run_python(code, path=str(tmp_path), GOCOM_PLUGINS="mine").splitlines()
    assert lines[0] == "[True, False, False, True, False, False] 0.333"
    assert lines[1] == "impairments[0].extension.parameters.m: no such parameter; there are n"


def test_the_emulator_has_no_torch() -> None:
    code = """
import sys
import gocom.channel_emulator.service
from gocom.channel_emulator.impairments import IMPAIRMENTS
list(IMPAIRMENTS)
print([m for m in sys.modules if m.split('.')[0] in ('torch', 'diffusers', 'transformers', 'transmitter', 'receiver')])
"""
    assert run_python(code).strip() == "[]"
