"""Power and protection around an encoder: budgets met with every byte counted, powers of mean 1, wishes read."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gocom.common.byte_account import message_bytes
from gocom.common.csi import Csi
from gocom.common.element_order import interleaver
from gocom.common.errors import BudgetTooSmall, InvalidInput
from gocom.common.packetizer import packetize
from gocom.common.systems.classical import ClassicalOptions
from gocom.common.systems.lami_go import CAPTION, TOKENS, LamiGoHeader
from gocom.common.types import Budget, ElementCoding, Feedback, Goal, GoMessage, LinkSettings, PowerAllocation, Segment
from gocom.transmitter.encoders.classical import ClassicalEncoder
from gocom.transmitter.resources.packet_power import MAX_LEVELS, power_rule, to_levels
from gocom.transmitter.resources.power_allocation import outage_cost, semantic, water_filling, weighted_loss
from gocom.transmitter.resources.repair_and_power import Delivery, DeliveryEncoder, delivery_from_proto
from gocom.v1 import transmitter_pb2

SEMANTIC, WATER, EQUAL = PowerAllocation.SEMANTIC, PowerAllocation.WATER_FILLING, PowerAllocation.EQUAL
KNOWN = Csi(0.1, 0.0, 2.0, 10.0, 10 * np.log10(3))


def rule(allocation, csi, importance):
    return power_rule(allocation, csi)(np.asarray(importance, np.float32))


def goal(**options):
    return Goal(ClassicalOptions(**options), max_rounds=3, link=LinkSettings(64))


def session(photo, delivery, **options):
    return opened(DeliveryEncoder(ClassicalEncoder("jpeg", "cpu"), delivery), photo, **options)


def opened(encoder, photo, **options):
    return encoder.open(encoder.analyse(photo("astronaut", 128)), goal(**options))


@given(st.lists(st.floats(0, 1e4), min_size=1, max_size=400).filter(lambda v: sum(v) > 1e-3))
@settings(max_examples=200, deadline=None)
def test_levels_keep_the_mean(values: list[float]) -> None:
    power = np.array(values) / np.mean(values)
    levels = to_levels(power)
    assert levels.dtype == np.float32 and len(np.unique(levels)) <= MAX_LEVELS
    assert levels.mean(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert (levels[power == 0] == 0).all() and (np.diff(levels[np.argsort(power, kind="stable")]) >= 0).all()


@pytest.mark.parametrize("count", [1, 2, 63, 64, 65, 3000])
def test_semantic_power_is_the_allocators_but_for_its_levels(count: int) -> None:
    importance = (np.random.default_rng(count).pareto(1.2, count) + 1).astype(np.float32)
    power = rule(SEMANTIC, KNOWN, importance)
    assert power.mean(dtype=np.float64) == pytest.approx(1, abs=1e-6) and len(np.unique(power)) <= MAX_LEVELS
    weight, cost = importance.astype(float), np.full(count, 0.3)
    best = weighted_loss(semantic(weight, cost, count), weight, cost)
    assert weighted_loss(power, weight, cost) == pytest.approx(best, rel=2e-3 if count >= MAX_LEVELS else 1e-6)


def test_what_is_known_of_the_channel_decides() -> None:
    importance = np.array([1.0, 2.0, 4.0, 8.0], np.float32)
    unknown = rule(SEMANTIC, Csi(0.3), importance)
    assert unknown == pytest.approx(semantic(importance, np.ones(4), 4), rel=1e-6), "cost 1 for all"
    assert rule(SEMANTIC, Csi(mean_snr_db=7.0), importance) == pytest.approx(unknown), "no threshold"
    gains = (0.0, 10.0, 20.0)
    each = rule(SEMANTIC, Csi(mean_snr_db=5.0, threshold_snr_db=3.0, snr_db=gains), importance)
    cost = 10 ** ((3.0 - np.array([*gains, 5.0])) / 10)
    assert each == pytest.approx(semantic(importance, cost, 4), rel=1e-6), "the mean beyond those known"
    assert power_rule(WATER, KNOWN) is None and power_rule(EQUAL, KNOWN) is None
    filled = rule(WATER, Csi(snr_db=(-20.0, 0.0, 3.0, 6.0)), importance)
    assert filled == pytest.approx(water_filling(10 ** (np.array([-20, 0, 3, 6]) / 10), 1.0, 4.0), rel=1e-6)
    assert filled[0] == 0 < filled[1] < filled[3]
    assert rule(SEMANTIC, Csi(snr_db=(float("-inf"), 300.0), threshold_snr_db=0.0), [1, 1]).sum() == pytest.approx(2)


def test_rates_and_thresholds_say_the_same() -> None:
    """c = (2^R - 1) N / g, of the reference, is threshold over SNR."""
    assert outage_cost([2.0], [10.0], 1.0) == pytest.approx(10 ** ((KNOWN.threshold_snr_db - KNOWN.mean_snr_db) / 10))


def test_a_packet_is_worth_what_it_carries() -> None:
    tokens, worth = np.arange(256), np.linspace(0, 1, 256, dtype=np.float32)
    keep = np.arange(256) % 3 > 0
    segments = (
        Segment(CAPTION, np.arange(20), np.full(20, 0.5, np.float32), ElementCoding.FIXED, repair_packets=2),
        Segment(TOKENS, tokens, worth, ElementCoding.FIXED, repair_packets=1, keep=keep),
    )
    seen = []

    def note(importance: np.ndarray) -> np.ndarray:
        seen.append(importance)
        return np.ones_like(importance)

    message = GoMessage("lami_go", LamiGoHeader(), 128, 128, segments, power=note)
    header, batch = packetize(message, LinkSettings(64))
    (importance,) = seen
    sources = header.segments[1].source_packets
    assert importance[:3] == pytest.approx([10, 10, 10]), "a packet, and twice the same"
    assert importance[3:-1].sum() == pytest.approx(worth[keep].sum(), rel=1e-6), "nothing for what is withheld"
    assert importance[-1] == pytest.approx(importance[3:-1].mean(), rel=1e-6)
    assert len(importance) == len(batch) == 3 + sources + 1
    for first, count, value in zip(
        batch.first_element[3:-1], batch.element_count[3:-1], importance[3:-1], strict=True
    ):  # fmt: skip
        mine = interleaver(256, LinkSettings(64))[first : first + count]
        assert value == pytest.approx(worth[mine][keep[mine]].sum(), rel=1e-5)


@pytest.mark.parametrize("power", [EQUAL, SEMANTIC])
@pytest.mark.parametrize("share", [None, 0.0, 0.25, 0.6])
@pytest.mark.parametrize("most", [2500, 3333, 9000])
def test_a_budget_holds_with_powers_and_repair_packets(photo, power, share, most) -> None:
    one = session(photo, Delivery(power, share))
    message = one.first(KNOWN, Budget(most))
    assert message_bytes(message, LinkSettings(64)) <= most
    header, batch = packetize(message, LinkSettings(64))
    assert batch.power.mean(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    if share is None:
        assert one.protection == ()
    else:
        bare = GoMessage(
            "jpeg", message.header, 128, 128,
            tuple(Segment(s.kind, s.elements, s.importance, s.coding) for s in message.segments), power=message.power,
        )  # fmt: skip
        assert message_bytes(bare, LinkSettings(64)) <= most * (1 - share) + 10, (
            "but for what further rounds add to the header"
        )
        assert one.protection[0].repair_packets == header.segments[0].repair_packets
        assert share == 0.0 or header.segments[0].repair_packets > 0


@pytest.mark.parametrize("delivery", [Delivery(SEMANTIC), Delivery(SEMANTIC, 0.3), Delivery(EQUAL, 0.9)])
def test_the_floor_that_an_error_names_is_one(photo, delivery) -> None:
    with pytest.raises(BudgetTooSmall) as caught:
        session(photo, delivery).first(KNOWN, Budget(200))
    assert "got 200" in str(caught.value)
    floor = caught.value.floor_bytes
    message = session(photo, delivery).first(KNOWN, Budget(floor))
    assert message_bytes(message, LinkSettings(64)) <= floor
    with pytest.raises(BudgetTooSmall):
        session(photo, delivery).first(KNOWN, Budget(int(floor * 0.97)))


def test_a_target_size_that_cannot_be_met_is_still_told(photo) -> None:
    for budget in (None, 5000):
        with pytest.raises(BudgetTooSmall, match="got 10"):
            session(photo, Delivery(SEMANTIC), target_bytes=10).first(KNOWN, Budget(budget))


@pytest.mark.parametrize(("asked", "most"), [(600, 600), (0, 4000)])
def test_later_rounds_are_sent_in_the_same_way(photo, asked, most) -> None:
    one = session(photo, Delivery(SEMANTIC, 0.25), repair_overhead=2.0)
    first = one.first(KNOWN, Budget(4000))
    wanted = {0: np.array([[0, len(first.segments[0].elements) // 2]])}
    later = one.refine(Feedback(0, 0, wanted), KNOWN, Budget.smallest(asked))
    header, batch = packetize(later, LinkSettings(64))
    assert header.round == 1 and message_bytes(later, LinkSettings(64)) <= most
    assert header.segments[0].repair_packets == one.protection[0].repair_packets > 0
    assert later.power is not None and batch.power.mean(dtype=np.float64) == pytest.approx(1, abs=1e-6)
    assert one.refine(Feedback(0, 0, wanted), KNOWN, Budget(20)) is None and one.protection == ()


def test_nothing_wished_nothing_changed(photo) -> None:
    plain = opened(ClassicalEncoder("jpeg", "cpu"), photo, repair_overhead=0.5)
    message = session(photo, Delivery(), repair_overhead=0.5).first(KNOWN, Budget(5000))
    mine, other = (packetize(m, LinkSettings(64)) for m in (message, plain.first(KNOWN, Budget(5000))))
    assert (mine[1].payload == other[1].payload).all() and mine[0] == other[0]
    assert message.power is None and message.segments[0].repair_packets is None


def test_water_filling_on_one_gain_leaves_the_column_out(photo) -> None:
    message = session(photo, Delivery(WATER)).first(KNOWN, Budget(5000))
    plain = session(photo, Delivery()).first(KNOWN, Budget(5000))
    assert message_bytes(message, LinkSettings(64)) == message_bytes(plain, LinkSettings(64))


def test_wishes_on_the_wire() -> None:
    request = transmitter_pb2.TransmitRequest()
    assert delivery_from_proto(request) == Delivery()
    request.power_allocation = transmitter_pb2.POWER_ALLOCATION_SEMANTIC
    request.unequal_protection.SetInParent()
    with pytest.raises(InvalidInput, match="budget_bytes: unequal protection needs one"):
        delivery_from_proto(request)
    request.budget_bytes = 1000
    assert delivery_from_proto(request) == Delivery(SEMANTIC, 0.25)
    request.unequal_protection.share = 0.0
    assert delivery_from_proto(request) == Delivery(SEMANTIC, 0.0)
    for share in (-0.1, 0.91, float("nan")):
        request.unequal_protection.share = share
        with pytest.raises(InvalidInput, match=r"unequal_protection.share: .* is not in 0 to 0.9"):
            delivery_from_proto(request)
    request.power_allocation = 9  # type: ignore[assignment]
    with pytest.raises(InvalidInput, match="power_allocation: no value 9; choose equal, water_filling, semantic"):
        delivery_from_proto(request)


def test_protection_without_a_budget(photo) -> None:
    with pytest.raises(InvalidInput, match="budget_bytes: unequal protection needs one"):
        session(photo, Delivery(EQUAL, 0.25)).first(KNOWN, Budget())
