"""Whole plans: within their bytes, the best there is, and the same whatever was asked before."""

import json
from dataclasses import replace

import numpy as np
import pytest
from compare_points import (
    ARQ,
    CHANNELS,
    ERASURE,
    FEC,
    FRAME,
    LINK,
    NONE,
    codecs,
    files_of,
    image,
    planner,
    points,
    sent,
)

from gocom.common.codec_interfaces import Analysis
from gocom.common.errors import BudgetTooSmall, InvalidInput
from gocom.common.image_quality import psnr_db
from gocom.common.systems.classical import CLASSICAL_CODECS, Scale
from gocom.evaluation.compare.files import Point
from gocom.evaluation.compare.methods import Method, Protection
from gocom.evaluation.compare.plan import Planner
from gocom.evaluation.run.codec_setup import Codec

__all__ = ["codecs", "image", "planner", "points"]  # fixtures


@pytest.mark.parametrize("name", CLASSICAL_CODECS)
def test_on_a_clean_channel_all_are_one(planner, codecs, image, name):
    plans = [planner.plan(Method(name, (), protection), "clean", 1500) for protection in Protection]
    assert plans[0] == plans[1] == plans[2]
    by_codec = sent(codecs[name], image, {"budget": 1500, "scale": plans[0].settings.get("scale", 1)})
    assert sent(codecs[name], image, plans[0].settings).bytes.total_bytes == by_codec.bytes.total_bytes <= 1500


@pytest.mark.parametrize("name", CLASSICAL_CODECS)
def test_no_scale_and_quality_is_better(planner, codecs, image, name):
    """Of all that fit. PSNR and size do not quite rise with quality: that may cost 0.1 dB."""
    files, chosen = files_of(codecs[name], image), set()
    for budget in (130, 180, 220, 260, 320, 400, 500, 600, 800, 1000, 1300, 1800, 2500, 4000):
        plan = planner.plan(Method(name), ERASURE, budget)
        fitting = [p for p in points() if files.sizes().round_bytes(files.file_bytes(p)) <= budget]
        assert plan.at_floor == (not fitting)
        point = Point(Scale(plan.settings.get("scale", 1)), plan.settings["quality"])
        assert plan.settings == point.settings
        if fitting:
            assert point in fitting
            assert files.score(point) > max(map(files.score, fitting)) - 0.1
            chosen.add(point.scale)
    assert len(chosen) > 1


@pytest.mark.parametrize(("name", "budget"), [("webp", 500), ("avif", 500), ("jpeg2000", 500), ("jpeg", 900)])
def test_a_small_picture_is_within_few_bytes(codecs, photo, name, budget):
    image = photo("astronaut", 256)
    plan = Planner(codecs, image, FRAME, LINK).plan(Method(name), "clean", budget)
    assert not plan.at_floor
    assert plan.settings["scale"] > 1
    result = sent(codecs[name], image, plan.settings)
    assert result.bytes.total_bytes <= budget
    grey = psnr_db(image, np.full_like(image, 0.5))
    assert psnr_db(image, result.reconstruction.image) > grey + 4


@pytest.mark.parametrize("channel", ["packet_erasure:rate=0", "packet_erasure:rate=1"])
def test_where_it_is_of_no_use_there_is_no_redundancy(planner, channel):
    plan, protected = (planner.plan(Method("jpeg", (), p), channel, 1500) for p in (NONE, FEC))
    assert protected == plan


def test_too_small_a_budget(planner):
    for protection in Protection:
        plan = planner.plan(Method("jpeg", (), protection), ERASURE, 200)
        assert plan.at_floor
        assert (plan.settings["quality"], plan.settings["scale"]) == (0, 8)
        assert "repair_overhead" not in plan.settings


def test_without_a_budget(planner):
    plans = [planner.plan(Method("jpeg", (), p), ERASURE, None) for p in Protection]
    assert [plan.settings["quality"] for plan in plans] == [50, 50, 50]
    assert not any("scale" in plan.settings for plan in plans)
    assert planner.plan(Method("jpeg", (("scale", "4"),)), ERASURE, None).settings["scale"] == 4
    assert not any(plan.at_floor for plan in plans)
    assert planner.protect(Method("jpeg", (), FEC), ERASURE, None).decodes > 0.99


def test_a_quality_that_is_given_is_the_only_one(planner):
    options = (("quality", "30"),)
    for protection in Protection:
        plan = planner.plan(Method("jpeg", options, protection), ERASURE, 4000)
        assert (plan.settings["quality"], plan.at_floor) == (30, False)
        assert planner.plan(Method("jpeg", options, protection), ERASURE, 300).at_floor
    few = planner.plan(Method("webp", options), ERASURE, 400)
    assert few.settings == {"quality": 30, "scale": few.settings["scale"]}
    assert not few.at_floor
    with pytest.raises(InvalidInput, match="target_bytes"):
        Method("jpeg", (("target_bytes", "900"),))


def test_a_scale_that_is_given_is_the_only_one(planner):
    options = (("scale", "2"),)
    for protection in Protection:
        plans = [planner.plan(Method("webp", options, protection), ERASURE, b) for b in (900, 3000)]
        assert [plan.settings["scale"] for plan in plans] == [2, 2]
        assert plans[0].settings["quality"] < plans[1].settings["quality"]
        assert planner.plan(Method("webp", options, protection), ERASURE, 90).at_floor
    full = planner.plan(Method("webp", (("scale", "1"),)), ERASURE, 200)
    assert (full.settings, full.at_floor) == ({"quality": 0}, True)
    assert not planner.plan(Method("webp"), ERASURE, 200).at_floor
    with pytest.raises(InvalidInput, match="scale: Input should be 1, 2, 4 or 8"):
        planner.plan(Method("webp", (("scale", "3"),)), ERASURE, 900)


def test_plans_do_not_depend_on_what_was_asked_before(codecs, image):
    cases = [
        (Method(name, (), protection), channel, budget)
        for name in ("webp", "jpeg")
        for protection in (FEC, ARQ)
        for channel in (ERASURE, CHANNELS[1])
        for budget in (700, 1200, 2000)
    ]
    planner = Planner(codecs, image, FRAME, LINK)
    forward = [planner.plan(method, channel, budget) for method, channel, budget in cases]
    other = Planner(codecs, image, FRAME, LINK)
    backward = [other.plan(method, channel, budget) for method, channel, budget in reversed(cases)]
    assert forward == backward[::-1]
    assert json.loads(json.dumps([plan.settings for plan in forward])) == [plan.settings for plan in forward]
    assert planner.plan(*cases[0]) == forward[0]


class Degrading:
    """An encoder that can do with 700 bytes."""

    opened = 0

    def analyse(self, image):
        return Analysis(image)

    def open(self, analysis, goal):
        self.opened += 1
        return self

    def first(self, csi, budget):
        if budget.max_bytes < 700:
            raise BudgetTooSmall("lami_go", budget.max_bytes, 700)


def test_a_codec_that_degrades_keeps_to_a_budget_itself(image):
    encoder = Degrading()
    planner = Planner({"lami_go": Codec("lami_go", encoder, None)}, image, FRAME, LINK)
    method = Method("lami_go", (("masking", "none"),))
    plans = [planner.plan(method, ERASURE, budget) for budget in (None, 900, 600)]
    assert [plan.settings for plan in plans] == [
        {"masking": "none"}, {"masking": "none", "budget": 900}, {"masking": "none", "budget": 700}
    ]  # fmt: skip
    assert [plan.at_floor for plan in plans] == [False, False, True]
    assert encoder.opened == 1


def test_another_frame_meets_another_fate(codecs, image):
    """Fates belong to the frame's number."""
    first, second, again = (
        Planner(codecs, image, index, LINK).protect(Method("jpeg", (), FEC), ERASURE, 1300) for index in (1, 2, 1)
    )
    assert first == again
    assert replace(first, score=0) != replace(second, score=0) or first.score != second.score
