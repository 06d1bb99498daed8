"""What operating points cost and what is to be expected of them, against sends through the pipeline."""

import math
from bisect import bisect_left

import numpy as np
import pytest
from compare_points import (
    ARQ,
    CHANNELS,
    ERASURE,
    FEC,
    FRAME,
    LINK,
    codecs,
    files_of,
    image,
    planner,
    points,
    sent,
)

from gocom.common import fec
from gocom.common.byte_account import message_bytes
from gocom.common.csi import Csi
from gocom.common.image_quality import psnr_db
from gocom.common.systems.classical import CLASSICAL_CODECS, FILE, ClassicalOptions, Scale
from gocom.common.types import Budget, Feedback, Goal, LinkSettings
from gocom.evaluation.compare.fates import DRAWS, FIRST_SEED, Fates
from gocom.evaluation.compare.files import Point
from gocom.evaluation.compare.methods import Method
from gocom.evaluation.compare.repair import Protected, _chances
from gocom.evaluation.compare.resending import Resending
from gocom.transmitter.retransmission import resend

__all__ = ["codecs", "image", "planner", "points"]  # fixtures


@pytest.mark.parametrize("name", CLASSICAL_CODECS)
def test_rounds_take_the_bytes_that_are_sent(codecs, image, name):
    for quality, scale in ((0, 1), (30, 2), (90, 1), (90, 8)):
        files, point = files_of(codecs[name], image), Point(Scale(scale), quality)
        for repair in (0, 1, 7, 130):
            source = files.sizes().source_packets(files.file_bytes(point), repair > 0)
            settings = {"quality": quality, "scale": scale, "repair_overhead": min(8.0, repair / source)}
            result = sent(codecs[name], image, settings)
            frame = result.rounds[0].frame.segments[0]
            assert (frame.source_packets, frame.repair_packets) == (source, min(repair, 8 * source))
            expected = files.sizes().round_bytes(files.file_bytes(point), frame.repair_packets)
            assert result.bytes.total_bytes == expected


def test_a_later_round_takes_the_bytes_of_an_answer(codecs, image):
    files = files_of(codecs["jpeg"], image)
    goal = Goal(ClassicalOptions(quality=40), FRAME, 8, link=LINK)
    encoder = codecs["jpeg"].encoder
    first = encoder.open(encoder.analyse(image), goal).first(Csi(), Budget())
    for wanted in (1, 105, 106, 400):
        answer = resend(first, Feedback(FRAME, 2, {FILE: np.array([[3, wanted]])}), Budget(), goal)
        assert files.sizes(8).round_bytes(wanted, later=True) == message_bytes(answer, LINK)


def test_a_file_of_one_packet_is_repeated(codecs, image):
    link = LinkSettings(max_payload_bytes=4000)
    files = files_of(codecs["jpeg"], image, link)
    result = codecs["jpeg"].send(image, "clean", seed=0, frame_index=FRAME, link=link, quality=10, repair_overhead=3)
    size = files.file_bytes(Point(Scale.FULL, 10))
    assert files.sizes().repair_bytes(size) == size
    assert files.sizes().round_bytes(size, 3) == result.bytes.total_bytes


def test_any_number_of_repair_packets_can_be_asked_for():
    for source in range(1, 400):
        for repair in {1, 2, 3, source - 1, source, source + 1, 3 * source + 2, 8 * source - 1, 8 * source} - {0}:
            if repair <= 8 * source:
                assert fec.repair_count(source, repair / source) == repair


def test_draws_are_none_of_an_evaluation():
    assert FIRST_SEED >= 1 << 32


@pytest.mark.parametrize("channel", [*CHANNELS, "bit_flip:rate=2e-4,damage=deliver"])
def test_resending_is_what_the_pipeline_does(codecs, image, channel):
    """Byte for byte, in every draw: rounds, headers, feedback and answers."""
    files = files_of(codecs["jpeg"], image)
    for max_rounds, quality in ((8, 20), (3, 70)):
        resending = Resending(files.sizes(max_rounds), Fates(channel, FRAME))
        settings = {"quality": quality, "max_rounds": max_rounds}
        real = [sent(codecs["jpeg"], image, settings, channel, FIRST_SEED + draw) for draw in range(8)]
        size = files.file_bytes(Point(Scale.FULL, quality))
        assert [resending.sent(size, draw) for draw in range(8)] == [result.bytes.total_bytes for result in real]


@pytest.mark.parametrize("channel", [ERASURE, "bit_flip:rate=2e-4", "packet_erasure:rate=0.5"])
def test_resending_costs_on_average_what_was_expected(codecs, image, channel):
    """With seeds of an evaluation; the mean of 60 has a standard error of about 2 %."""
    files = files_of(codecs["jpeg"], image)
    settings = {"quality": 70, "max_rounds": 8}
    real = [sent(codecs["jpeg"], image, settings, channel, seed).bytes.total_bytes for seed in range(60)]
    resending, size = Resending(files.sizes(8), Fates(channel, FRAME)), files.file_bytes(Point(Scale.FULL, 70))
    least = bisect_left(range(20 * size), True, key=lambda budget: resending.fits(size, budget))
    assert least == pytest.approx(np.mean(real), rel=0.05)


@pytest.mark.parametrize(
    ("channel", "codec", "budget"),
    [*((channel, "jpeg", 2500) for channel in CHANNELS), (ERASURE, "webp", 300), (CHANNELS[1], "jpeg2000", 500)],
)
def test_resending_takes_the_best_picture_that_fits(planner, codecs, image, channel, codec, budget):
    plan = planner.plan(Method(codec, (), ARQ), channel, budget)
    files = files_of(codecs[codec], image)
    exact = Resending(files.sizes(8), Fates(channel, FRAME))
    means = {}

    def mean(point):
        size = files.file_bytes(point)
        if size not in means:
            means[size] = np.mean([exact.sent(size, draw) for draw in range(100)])
        return means[size]

    chosen = Point(Scale(plan.settings.get("scale", 1)), plan.settings["quality"])
    assert not plan.at_floor
    assert plan.settings == {**chosen.settings, "max_rounds": 8}
    assert mean(chosen) <= 1.01 * budget
    score = files.score(chosen)
    size = files.file_bytes(chosen)
    better = [p for p in points() if files.score(p) > score + 0.1 and files.file_bytes(p) <= 1.2 * size]
    assert all(mean(point) > 0.97 * budget for point in better)
    above = next(q for q in range(101) if files.file_bytes(chosen._replace(quality=q)) > 1.06 * size)
    assert mean(chosen._replace(quality=above)) > budget


def drawn(fates, source_bytes, repair, full):
    """Chance that a file arrives, its layout drawn as a whole."""
    source = -(-source_bytes // full)
    lengths = np.array([full] * (source - 1) + [source_bytes - (source - 1) * full] + [100] * repair)
    came = np.stack([fates.arrived(draw, lengths) for draw in range(DRAWS)])
    extra = came.sum(1) - source
    solved = np.where(extra >= 0, 1 - 256.0 ** -(extra + 1.0), 0)
    return np.where(came[:, :source].all(1), 1, solved).mean()


@pytest.mark.parametrize("channel", CHANNELS[:4])
def test_chances_are_those_of_whole_layouts(codecs, image, channel):
    """Though packets of many files are drawn together, and some of several sizes under one number."""
    sizes, fates, options, alone = files_of(codecs["jpeg"], image).sizes(), Fates(channel, FRAME), [], []
    for file_bytes, repair in ((500, 0), (525, 0), (526, 0), (440, 1), (441, 1), (450, 3), (700, 2), (1000, 9)):
        full = 88 if repair else 105
        options.append(Protected(Point(Scale.FULL, 10), file_bytes, -(-file_bytes // full), repair))
        alone.append(drawn(fates, file_bytes, repair, full))
    assert _chances(options, sizes, fates) == pytest.approx(alone, abs=1e-12)
    assert 0 < min(alone) < max(alone)


@pytest.mark.parametrize("channel", [ERASURE, "gilbert_elliott:p=0.05,r=0.25"])
@pytest.mark.parametrize(("codec", "budget"), [("jpeg", 1100), ("webp", 600)])
def test_no_redundancy_is_better(planner, codecs, image, channel, codec, budget):
    """Of all scales, qualities and repair packets. PSNR does not quite rise with quality: that may cost 0.1 dB."""
    files, fates = files_of(codecs[codec], image), Fates(channel, FRAME)
    grey = psnr_db(image, np.full_like(image, 0.5))
    chosen = planner.protect(Method(codec, (), FEC), channel, budget)
    assert chosen.repair_packets > 0
    chances, scores = {}, {}
    for repair in range(budget // 100):
        for point in points():
            size = files.file_bytes(point)
            if files.sizes().round_bytes(size, repair) > budget:
                continue
            full = 88 if repair else 105
            key = -(-size // full), repair
            if key not in chances:
                chances[key] = drawn(fates, size, repair, full)
            scores[point, repair] = chances[key] * files.score(point) + (1 - chances[key]) * grey
    assert scores[chosen.point, chosen.repair_packets] == pytest.approx(chosen.score, abs=1e-9)
    assert chosen.score > max(scores.values()) - 0.1
    assert chosen.score >= scores[files.plain(budget), 0] + 1


def test_redundancy_for_independent_losses(planner, codecs, image):
    """Against the binomial distribution, where 200 draws may be some hundredths off."""
    budget, rate = 1300, 0.2
    grey = psnr_db(image, np.full_like(image, 0.5))
    files = files_of(codecs["jpeg"], image)

    def expected(point, repair):
        source = files.sizes().source_packets(files.file_bytes(point), repair > 0)
        count = source + repair
        chance = sum(math.comb(count, n) * (1 - rate) ** n * rate ** (count - n) for n in range(source, count + 1))
        return chance * files.score(point) + (1 - chance) * grey, chance

    found = planner.protect(Method("jpeg", (), FEC), ERASURE, budget)
    score, chance = expected(found.point, found.repair_packets)
    assert found.decodes == pytest.approx(chance, abs=0.05)
    best = max(
        expected(point, repair)[0] for repair in range(13) for point in files.tops(files.sizes().fits(budget, repair))
    )
    assert score > best - 0.5
    assert score > expected(files.plain(budget), 0)[0] + 3


@pytest.mark.parametrize("channel", CHANNELS[:4])
def test_files_arrive_as_often_as_was_expected(planner, codecs, image, channel):
    method = Method("jpeg", (), FEC)
    chosen = planner.protect(method, channel, 1300)
    settings = planner.plan(method, channel, 1300).settings
    results = [sent(codecs["jpeg"], image, settings, channel, seed) for seed in range(80)]
    assert all(result.bytes.total_bytes <= 1300 for result in results)
    assert results[0].rounds[0].frame.segments[0].repair_packets == chosen.repair_packets
    assert np.mean([result.reconstruction is not None for result in results]) == pytest.approx(chosen.decodes, abs=0.08)
