"""reorder, duplicate, delay, rate_limit and periodic_outage: closed forms, wrong models, any batching, parameters."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.fault_bases.fault import Fault, FrameInfo
from gocom.channel_emulator.fault_bases.timed_fault import DepartureOrder, TimedBatch, join_timed_batches
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.channel_emulator.impairments.delay import Delay
from gocom.channel_emulator.impairments.duplicate import Duplicate
from gocom.channel_emulator.impairments.periodic_outage import PeriodicOutage
from gocom.channel_emulator.impairments.rate_limit import RateLimit
from gocom.channel_emulator.impairments.reorder import Reorder
from gocom.channel_emulator.statistics import RoundCounts, Statistics
from gocom.client.channel_script import ChannelCounts
from gocom.common.channel_spec import parse_spec
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.packet_batch import PacketBatch, gather, join_batches

RNG = CounterRng(2024, "0:test", 5, 1)
FRAME = FrameInfo(7, 2, (True,))


def packets(count: int, payload_bytes: int = 8) -> PacketBatch:
    index, ones = np.arange(count, dtype=np.int64), np.ones(count, np.int64)
    return PacketBatch(
        (np.arange(count * payload_bytes) % 251).astype(np.uint8), ones * payload_bytes, index, index, ones,
        index.astype(np.uint32), np.ones(count, np.float32), np.zeros(count, bool),
    )  # fmt: skip


def chain_of(text: str, seed: int = 0) -> Chain:
    return Chain.from_profile(parse_spec(text, seed))


FAULTS: dict[str, tuple[Fault, Fault]] = {
    "reorder": (Reorder(0.2, 3), Reorder(0.205, 3)),
    "duplicate": (Duplicate(0.1, 2), Duplicate(0.103, 2)),
    "uniform": (Delay(20, 10, "uniform", 26), Delay(20, 10, "uniform", 26.1)),
    "normal": (Delay(20, 10, "normal", 26), Delay(20.2, 10, "normal", 26)),
    "exponential": (Delay(20, 10, "exponential", 26), Delay(20, 10.2, "exponential", 26)),
}
"""A fault and the same one with a parameter a few per cent off."""


@pytest.mark.parametrize("name", FAULTS)
def test_agrees_with_closed_form_and_notices_a_wrong_parameter(name: str) -> None:
    right, wrong = FAULTS[name]
    batch = packets(1_000_000, 0)
    trials, events = right.count(batch, right.draw(batch, RNG))
    assert trials == len(batch)
    for fault, low, high in ((right, 0, 4), (wrong, 8, 99)):
        z = (events - trials * fault.expected_rate) / math.sqrt(fault.count_variance(trials))
        assert low <= abs(z) < high


@pytest.mark.parametrize(
    ("fault", "mean", "deviation", "distribution"),
    [
        (Delay(20, 10), 20, 10 / math.sqrt(3), stats.uniform(10, 20)),
        (Delay(40, 5, "normal"), 40, 5, stats.norm(40, 5)),
        (Delay(20, 10, "exponential"), 30, 10, stats.expon(20, 10)),
    ],
)
def test_delays_are_distributed_as_said(fault: Delay, mean: float, deviation: float, distribution: object) -> None:
    times = fault.draw(packets(200_000, 0), RNG)
    assert fault.expected_rate == 0 and np.isfinite(times).all()
    assert abs(times.mean() - mean) < 4 * deviation / math.sqrt(len(times))
    assert times.std() == pytest.approx(deviation, rel=0.02)
    assert stats.kstest(times, distribution.cdf).pvalue > 1e-4  # type: ignore[attr-defined]


def test_delays_are_never_negative_and_late_is_longer_than_the_deadline() -> None:
    times = Delay(10, 10, "normal").draw(packets(10_000, 0), RNG)
    assert times.min() == 0 and 0.1 < (times == 0).mean() < 0.2
    assert [Delay(10, 0, name, 10).expected_rate for name in ("uniform", "normal", "exponential")] == [0, 0, 0]
    assert [Delay(10, 0, name, 9.9).expected_rate for name in ("uniform", "normal", "exponential")] == [1, 1, 1]
    assert [Delay(10, 5, "uniform", d).expected_rate for d in (4, 5, 12.5, 15)] == [1, 1, 0.25, 0]
    assert Delay(10, 5, "exponential", 3).expected_rate == 1
    late = Delay(10, 5, "normal", 12)
    drawn = late.draw(packets(1000), RNG)
    assert np.array_equal(np.isinf(drawn), Delay(10, 5, "normal").draw(packets(1000), RNG) > 12)
    assert np.array_equal(late.apply(packets(1000), drawn, FRAME).erased, np.isinf(drawn))
    assert late.packet_erasure_rate(840) == late.expected_rate


@pytest.mark.parametrize(("period", "length"), [(7, 3), (7, 5), (12, 12), (12, 0), (1, 1), (1, 0), (30, 1), (30, 29)])
def test_periodic_outage_against_all_of_its_phases(period: int, length: int) -> None:
    fault = PeriodicOutage(period, length)
    index = np.arange(5 * period + 3)
    lost = np.array([(index + phase) % period < length for phase in range(period)])
    assert fault.expected_rate == pytest.approx(lost[:, 0].mean())
    assert fault.pair_erasure_rate(8) == pytest.approx((lost[:, 0] & lost[:, 1]).mean())
    for count in (0, 1, 2, period - 1, period, period + 1, 2 * period + 3, len(index)):
        assert fault.count_variance(count) == pytest.approx(lost[:, :count].sum(1).var(), abs=1e-12)
    drawn = {fault.draw(packets(len(index)), RNG.at(frame, 0)).tobytes() for frame in range(20 * period)}
    assert drawn <= {row.tobytes() for row in lost}
    assert len(drawn) == len({row.tobytes() for row in lost})


def test_periodic_outage_counts_vary_as_said() -> None:
    fault, count, rounds = PeriodicOutage(100, 30), 140, 4000
    batch = packets(count, 0)
    totals = np.array([np.count_nonzero(fault.draw(batch, RNG.at(frame, 0))) for frame in range(rounds)])
    variance = fault.count_variance(count)
    assert abs(totals.mean() - count * 0.3) < 4 * math.sqrt(variance / rounds)
    assert totals.var() == pytest.approx(variance, rel=0.1)
    assert PeriodicOutage(1 << 20, 1 << 19).count_variance((1 << 19) + 5) > 0


def test_a_queue_takes_what_fits_and_turns_away_the_rest() -> None:
    # 100 bytes and 25 of overhead are 1000 bits: 10 ms each at 100 kbit/s. Waits are 0, 10, 20, ... ms.
    chain, batch = chain_of("rate_limit:rate_kbps=100,queue_ms=35,overhead_bytes=25"), packets(10, 100)
    batch.erased[1] = True
    whole = chain.impairer(FRAME).apply_timed(batch)
    assert whole.batch.erased.tolist() == [False, True, False, False, False, *5 * [True]]
    assert whole.queue_ms[[0, 2, 3, 4]].tolist() == [10, 20, 30, 40]
    for size in (1, 3, 4):
        impairer = chain.impairer(FRAME)
        parts = join_timed_batches([impairer.apply_timed(part) for part in batch.slices(size)])
        assert np.array_equal(parts.batch.erased, whole.batch.erased)
        assert np.array_equal(parts.queue_ms, whole.queue_ms)
        (score,) = impairer.event_counts()
        assert (score.trials, score.events, score.expected, score.variance) == (9, 5, 5, 0)
    # Another round meets an empty queue, and one without a limit takes everything.
    assert not chain.impairer(FRAME).apply_timed(batch.select(np.arange(10) < 3)).batch.erased[2]
    endless = chain_of("rate_limit:rate_kbps=100").impairer(FRAME).apply_timed(packets(10, 97))
    assert not endless.batch.erased.any() and endless.queue_ms.tolist() == [10.0 * n for n in range(1, 11)]


def test_a_queue_of_another_size_shows_in_the_counts_and_z_stays_0() -> None:
    chain, wrong = chain_of("rate_limit:rate_kbps=100,queue_ms=35"), chain_of("rate_limit:rate_kbps=100,queue_ms=45")
    impairer = chain.impairer(FRAME, wrong)
    impairer.apply(packets(10, 97))
    (score,) = impairer.event_counts()
    assert (score.events, score.expected) == (6, 5)
    statistics = Statistics(chain)
    impairer = chain.impairer(FRAME)
    left = impairer.apply(packets(10, 97))
    counts = RoundCounts()
    counts.add(packets(10, 97), left)
    statistics.add(FRAME, counts, impairer.event_counts())
    (entry,) = statistics.report(1).impairments
    assert (entry.expected_rate, entry.measured_rate, entry.z_score) == (0.6, 0.6, 0)
    assert isinstance(chain.faults[0].fault, RateLimit) and chain.csi(105).packet_erasure_rate == 0


def by_hand(overtaken_by: list[int]) -> list[int]:
    """Who leaves when, one packet at a time."""
    out: list[int] = []
    held: list[list[int]] = []
    for index, distance in enumerate(overtaken_by):
        if distance:
            held.append([distance, index])
            continue
        out.append(index)
        for entry in held:
            entry[0] -= 1
        out += [index for left, index in held if left == 0]
        held = [entry for entry in held if entry[0] > 0]
    return out + [index for _, index in sorted(held, key=lambda entry: entry[0])]


@pytest.mark.parametrize("seed", range(8))
def test_those_held_back_are_overtaken_by_as_many_as_said(seed: int) -> None:
    rng = np.random.default_rng(seed)
    overtaken_by = np.where(rng.random(200) < (0.1, 0.6)[seed % 2], rng.integers(1, 12, 200), 0)
    timed_batch = replace(TimedBatch.of(packets(200)), overtaken_by=overtaken_by)
    left = timed_batch.in_arrival_order().sequence.tolist()
    assert left == by_hand(overtaken_by.tolist()) != sorted(left)
    parts, order = [], DepartureOrder()
    for chunk in np.split(overtaken_by, [3, 50, 51, 120]):
        parts.append(order.keys(chunk))
    assert np.array_equal(np.concatenate(parts), DepartureOrder().keys(overtaken_by))
    place = np.argsort(left)
    for index in np.flatnonzero(overtaken_by).tolist():
        went_before = sum(place[other] < place[index] for other in range(index + 1, 200) if not overtaken_by[other])
        assert went_before == min(overtaken_by[index], np.count_nonzero(overtaken_by[index + 1 :] == 0))


@pytest.mark.parametrize(("before", "after"), [("rate_limit:rate_kbps=500+", ""), ("", "+rate_limit:rate_kbps=500")])
def test_a_queue_does_not_undo_what_was_held_back(before: str, after: str) -> None:
    timed_batch = chain_of(f"{before}reorder:rate=0.3,distance=3{after}", 3).impairer(FRAME).apply_timed(packets(200))
    left = timed_batch.in_arrival_order().sequence.tolist()
    assert left == by_hand(timed_batch.overtaken_by.tolist()) != sorted(left)


def test_a_queue_is_left_in_order_and_delays_count_in_whole_milliseconds() -> None:
    timed_batch = replace(
        TimedBatch.of(packets(4)), queue_ms=np.array([10.0, 20, 30, 40]), delay_ms=np.array([0.0, 0, 10, 0.5]),
        overtaken_by=np.array([2, 0, 0, 0]),
    )  # fmt: skip
    # They are through the queue at 20, 30, 30, 40, and arrive at 20, 40, 30, 41.
    assert timed_batch.in_arrival_order().sequence.tolist() == [1, 0, 2, 3]
    late = replace(TimedBatch.of(packets(5)), delay_ms=np.array([1.9, 1.1, 2.0, 0.9, 2.1]))
    assert late.in_arrival_order().sequence.tolist() == [3, 0, 1, 2, 4]


TIMED = (
    "packet_erasure:rate=0.2+reorder:rate=0.3,distance=5+duplicate:rate=0.2,copies=3+"
    "delay:delay_ms=30,jitter_ms=20,distribution=normal,deadline_ms=50+periodic_outage:period=30,length=4+"
    "bit_flip:rate=1e-3"
)
COLUMNS = ("delay_ms", "queue_ms", "copies", "overtaken_by")


@pytest.mark.parametrize("size", [1, 7, 128, 1500])
def test_a_fate_is_the_same_in_any_batching(size: int) -> None:
    everything, chain = packets(3000, 40), chain_of(TIMED + "+rate_limit:rate_kbps=1000,queue_ms=400", 11)
    whole_passage, impairer = chain.impairer(FRAME), chain.impairer(FRAME)
    whole = whole_passage.apply_timed(everything)
    parts = join_timed_batches([impairer.apply_timed(part) for part in everything.slices(size)])
    assert np.array_equal(parts.batch.erased, whole.batch.erased) and 0.2 < whole.batch.erased.mean() < 0.9
    for name in COLUMNS:
        one, other = getattr(parts, name), getattr(whole, name)
        assert np.array_equal(one[~parts.batch.erased], other[~parts.batch.erased]), name
        assert len(np.unique(one)) > 1
    assert np.array_equal(parts.in_arrival_order().sequence, whole.in_arrival_order().sequence)
    for one, other in zip(impairer.event_counts(), whole_passage.event_counts(), strict=True):
        assert (one.trials, one.events) == (other.trials, other.events)
        assert (one.expected, one.variance) == pytest.approx((other.expected, other.variance), rel=1e-9)


def test_a_fate_is_the_same_in_any_order_of_batches() -> None:
    everything, chain = packets(3000, 40), chain_of(TIMED, 11)
    whole = chain.impairer(FRAME).apply_timed(everything)
    rng, impairer = np.random.default_rng(2), chain.impairer(FRAME)
    for _ in range(20):
        chosen = np.zeros(3000, bool)
        start = int(rng.integers(0, 2800))
        chosen[start : start + 200] = rng.random(200) < 0.7
        part = impairer.apply_timed(everything.select(chosen))
        assert np.array_equal(part.batch.erased, whole.batch.erased[chosen])
        for name in COLUMNS:
            assert np.array_equal(getattr(part, name), getattr(whole, name)[chosen])


def test_payloads_of_many_bytes_are_worked_on_in_pieces() -> None:
    everything, chain = packets(600, 1200), chain_of("reorder:rate=0.2+rate_limit:rate_kbps=1000,queue_ms=3000", 3)
    whole, plain = chain.impairer(FRAME).apply_timed(everything), chain.apply(everything, FRAME)
    assert np.array_equal(whole.batch.erased, plain.erased) and plain.erased.any()
    assert len(whole.queue_ms) == len(whole.overtaken_by) == 600
    assert whole.queue_ms[~plain.erased].max() > 2500


def test_in_process_the_channel_gives_what_arrives() -> None:
    class Header:
        frame_index, round, segments = 7, 2, ()

    chain = chain_of("reorder:rate=0.4,distance=3+duplicate:rate=0.5,copies=2+packet_erasure:rate=0.3", 5)
    sent = packets(500, 11)
    arrived = chain(Header(), sent)  # type: ignore[arg-type]
    erased = chain.apply(sent, FRAME).erased
    assert set(arrived.sequence.tolist()) == set(np.flatnonzero(~erased).tolist())
    assert (np.diff(arrived.sequence) < 0).any() and not arrived.erased.any()
    times = np.bincount(arrived.sequence, minlength=500)
    assert set(times[~erased].tolist()) == {1, 3}
    for payload, sequence in zip(arrived.payloads(), arrived.sequence.tolist(), strict=True):
        assert payload == sent.payloads()[sequence]


def test_copies_of_several_faults_add_up() -> None:
    timed_batch = chain_of("+".join(32 * ["duplicate:rate=1,copies=8"])).impairer(FRAME).apply_timed(packets(2))
    assert timed_batch.copies.tolist() == [256, 256]


def test_counts_with_copies_say_what_was_erased() -> None:
    chain, sent = chain_of("duplicate:rate=1+packet_erasure:rate=0.25", 1), packets(1000)
    timed_batch, counts = chain.impairer(FRAME).apply_timed(sent), RoundCounts()
    counts.add(sent, timed_batch.batch, timed_batch.copies)
    erased = int(timed_batch.batch.erased.sum())
    assert (counts.packets_in, counts.packets_erased) == (1000, erased) and 150 < erased < 350
    assert counts.packets_out == 2 * (1000 - erased) > counts.packets_in
    assert ChannelCounts(1, 1000, counts.packets_out, ()).loss == 0


def test_gather_takes_packets_of_several_batches_in_any_order() -> None:
    one, other = packets(5, 3), replace(packets(3, 4), length=np.array([0, 9, 3]))
    made = gather(
        [(one, np.array([4, 0, 0])), (other, np.array([], np.int64)), (other, np.array([2, 0])), (one, np.array([1]))]
    )
    expected = [one.payloads()[i] for i in (4, 0, 0)] + [other.payloads()[i] for i in (2, 0)] + [one.payloads()[1]]
    assert made.payloads() == expected
    assert made.sequence.tolist() == [4, 0, 0, 2, 0, 1]
    assert len(gather([(one, np.array([], np.int64))])) == 0
    assert np.array_equal(gather([(join_batches([one, one]), np.arange(10))]).payload, join_batches([one, one]).payload)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("reorder:rate=1.5", r"impairments\[0\].reorder.rate: 1.5 is not in 0 to 1"),
        ("reorder:rate=0.1,distance=0", r"reorder.distance: 0 is not a whole number in 1 to 1024"),
        ("reorder:rate=0.1,distance=1025", r"reorder.distance: 1025 is not a whole number in 1 to 1024"),
        ("duplicate:rate=-0.1", r"duplicate.rate: -0.1 is not in 0 to 1"),
        ("duplicate:rate=0.1,copies=0", r"duplicate.copies: 0 is not a whole number in 1 to 8"),
        ("duplicate:rate=0.1,copies=9", r"duplicate.copies: 9 is not a whole number in 1 to 8"),
        ("delay:delay_ms=60001", r"delay.delay_ms: 60001.0 is not in 0 to 60000"),
        ("delay:delay_ms=10,jitter_ms=10.5", r"delay.jitter_ms: 10.5 is not in 0 to 10"),
        ("delay:delay_ms=10,jitter_ms=-1", r"delay.jitter_ms: -1.0 is not in 0 to 10"),
        ("delay:delay_ms=10,jitter_ms=11,distribution=normal", r"delay.jitter_ms: 11.0 is not in 0 to 10"),
        ("delay:delay_ms=0,jitter_ms=60001,distribution=exponential", r"delay.jitter_ms: 60001.0 is not in 0 to 60000"),
        ("delay:delay_ms=10,deadline_ms=60001", r"delay.deadline_ms: 60001.0 is not in 0 to 60000"),
        ("rate_limit:rate_kbps=0", r"rate_limit.rate_kbps: 0.0 is not in 0.001 to 1e\+09"),
        ("rate_limit:rate_kbps=2e9", r"rate_limit.rate_kbps: 2000000000.0 is not in 0.001 to 1e\+09"),
        ("rate_limit:rate_kbps=1,queue_ms=600001", r"rate_limit.queue_ms: 600001.0 is not in 0 to 600000"),
        ("rate_limit:rate_kbps=1,overhead_bytes=65536", r"overhead_bytes: 65536 is not a whole number in 0 to 65535"),
        ("periodic_outage:period=0,length=0", r"periodic_outage.period: 0 is not a whole number in 1 to 1048576"),
        ("periodic_outage:period=1048577,length=0", r"period: 1048577 is not a whole number in 1 to 1048576"),
        ("periodic_outage:period=5,length=6", r"periodic_outage.length: 6 is not a whole number in 0 to 5"),
    ],
)
def test_parameters_are_checked(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        chain_of(text)


def test_parameters_of_the_right_kind() -> None:
    with pytest.raises(UnknownName, match=r"distribution.*normal"):
        Delay(1, 0, "pareto")
    for name, values in (
        ("reorder", {"rate": 0.5, "distance": 1.5}),
        ("periodic_outage", {"period": 2.0, "length": 0.5}),
    ):
        with pytest.raises(InvalidInput, match="is not a whole number in"):
            IMPAIRMENTS.get(name).build(values)
    assert chain_of("delay:delay_ms=0,jitter_ms=50,distribution=exponential").faults[0].fault == Delay(
        0, 50, "exponential"
    )
    assert chain_of("rate_limit:rate_kbps=5,overhead_bytes=0").faults[0].fault == RateLimit(5, None, 0)
    timed = {
        text: chain_of(text).timed
        for text in ("clean", "periodic_outage:period=3,length=0", "packet_erasure:rate=0+reorder:rate=0")
    }
    assert list(timed.values()) == [False, False, True]
