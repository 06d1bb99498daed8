"""What codecs are made of: the grid, header from options, sessions that fit a budget, and one analysis a picture."""

import numpy as np
import pytest

from gocom.common.byte_account import message_bytes
from gocom.common.codec_interfaces import Analysis
from gocom.common.csi import Csi
from gocom.common.errors import BudgetTooSmall
from gocom.common.patch_grid import grid_shape, pad_to_patches, paint_patches
from gocom.common.rounds import spans_to_positions
from gocom.common.systems import SYSTEMS
from gocom.common.systems.classical import FILE, ClassicalOptions
from gocom.common.types import (
    Budget,
    ElementCoding,
    Feedback,
    Goal,
    GoMessage,
    LinkSettings,
    PowerAllocation,
    RoundSettings,
    Segment,
)
from gocom.evaluation.run.codec_setup import RememberingEncoder
from gocom.transmitter.encoders.classical import ClassicalEncoder
from gocom.transmitter.resending_session import ResendingSession
from gocom.transmitter.resources.repair_and_power import PLAIN, Delivery, DeliveryEncoder

LINK = LinkSettings(64)
IMAGE = np.zeros((3, 70, 90), np.float32)
GOAL = Goal(ClassicalOptions(), 4, 3, 200, LINK)


def options_and_header(name, **options):
    system = SYSTEMS.get(name)
    return system.header_template(system.options(**options))


def test_a_header_has_what_the_options_say():
    header = options_and_header("feature_imputing", packet_order="channel", eta=0.5, withhold=0.25, roi_share=0.1)
    assert (header.packet_order, header.eta, header.num_inference_steps) == ("channel", 0.5, None)
    assert header.withheld_permille == 250, "it follows from an option of another name and unit"
    assert header.roi_rows == 0, "the region follows from the image"
    header = options_and_header("lami_go", masking="pdm", mask_pattern=2, temperature=0.5, coding="fixed")
    assert (header.masking, header.mask_pattern, header.temperature) == ("pdm", 2, 0.5)
    assert header.mask_seed is None, "an option that is not set leaves the header's default"
    assert options_and_header("lami_go", mask_ratio=0.35, mask_seed=4).mask_ratio_permille == 350
    assert options_and_header("webp", quality=3) == SYSTEMS.get("webp").header()


@pytest.mark.parametrize("name", ["lami_go", "feature_imputing"])
def test_what_header_and_options_share_is_said_once(name):
    header, options = SYSTEMS.get(name).header, SYSTEMS.get(name).options
    (shared,) = set(header.__bases__) & set(options.__bases__)
    assert "num_inference_steps" in shared.model_fields
    same = {
        field
        for field in header.model_fields.keys() & options.model_fields.keys() - shared.model_fields.keys()
        if header.model_fields[field] == options.model_fields[field]
    }
    assert not same


def test_patches_of_a_picture_whose_sides_are_no_multiples():
    assert grid_shape(70, 33, 8) == (5, 9)
    assert grid_shape(70, 33, 16) == (3, 5)
    image = np.arange(3 * 33 * 70, dtype=np.float32).reshape(3, 33, 70)
    padded = pad_to_patches(image, 8)
    assert padded.shape == (3, 40, 72) and (padded[:, :33, :70] == image).all()
    assert (padded[:, 33:, :70] == image[:, -1:]).all() and (padded[:, :33, 70:] == image[:, :, -1:]).all()
    assert pad_to_patches(padded, 8) is padded
    painted = paint_patches(np.arange(45, dtype=np.uint8).reshape(5, 9), 70, 33, 8)
    assert painted.shape == (33, 70) and painted[0, 0] == 0 and painted[32, 69] == 44 and painted[8, 7] == 9


def test_the_smallest_limit_holds():
    assert Budget.smallest(0, 0) == Budget()
    assert Budget.smallest(0, 300) == Budget.smallest(300, 400) == Budget(300)


class Sized(ResendingSession):
    """A file of as many bytes as the operating point says, or of as many as it leaves of 1000."""

    def __init__(self, points=(0, 0), wanted=500, withholds=False):
        super().__init__("webp", Analysis(IMAGE), GOAL)
        self.operating_points, self.wanted, self.withholds = points, wanted, withholds
        self.asked = []

    def message(self, operating_point=None):
        self.asked.append(operating_point)
        count = self.wanted if operating_point is None else operating_point
        count = 1000 - count if self.withholds else count
        return self.compose([Segment(FILE, np.arange(count) % 256, np.ones(count, np.float32), ElementCoding.FIXED)])


@pytest.mark.parametrize("withholds", [False, True])
@pytest.mark.parametrize("budget", [300, 301, 444, 500])
def test_the_largest_round_that_fits(withholds, budget):
    session = Sized((900, 200) if withholds else (100, 800), 100 if withholds else 900, withholds)
    message = session.first(Csi(), Budget(budget))
    count = len(message.segments[0].elements)
    assert 100 <= count < 800 and message is session.sent
    assert message_bytes(message, LINK) <= budget
    larger = session.message(1000 - count - 1 if withholds else count + 1)
    assert message_bytes(larger, LINK) > budget
    assert len(session.asked) < 16, "it is found by bisection"
    assert (message.codec, message.width_px, message.height_px) == ("webp", 90, 70)
    assert (message.frame_index, message.rounds) == (4, RoundSettings(3, 200))


def test_what_fits_is_left_as_it_was_wanted():
    session = Sized((100, 800), 450)
    for budget in (Budget(), Budget(5000)):
        assert len(session.first(Csi(), budget).segments[0].elements) == 450
    assert session.asked == [None, None]


@pytest.mark.parametrize(("points", "floor_count"), [((100, 800), 100), ((1, 1), 1)])
def test_a_budget_below_the_smallest_names_that(points, floor_count):
    session = Sized(points)
    with pytest.raises(BudgetTooSmall) as caught:
        session.first(Csi(), Budget(12))
    assert (caught.value.codec, caught.value.budget_bytes) == ("webp", 12)
    assert caught.value.floor_bytes == message_bytes(session.message(floor_count), LINK) > 12


def test_a_target_and_a_budget_both_hold(photo):
    encoder = ClassicalEncoder("jpeg", "cpu")
    session = encoder.open(encoder.analyse(photo("astronaut", 128)), Goal(ClassicalOptions(target_bytes=4000)))
    for budget, most in ((None, 4000), (10_000, 4000), (3000, 3000)):
        message = session.first(Csi(), Budget(budget))
        assert 0.8 * most < len(message.segments[0].elements) <= most
        assert budget is None or message_bytes(message, LinkSettings()) <= budget


def test_what_is_asked_for_is_sent_again_within_its_budget():
    session, asked = Sized(wanted=700), Feedback(4, 0, {FILE: np.array([[10, 50], [100, 400]])}, budget_bytes=1)
    assert session.refine(asked, Csi(), Budget()) is None, "nothing was sent"
    first = session.first(Csi(), Budget())
    whole = session.refine(asked, Csi(), Budget())
    assert len(whole.segments[0].elements) == 450 and whole.round == 1
    part = session.refine(asked, Csi(), Budget(200))
    count = len(part.segments[0].elements)
    assert 50 < count < 200 and message_bytes(part, LINK) <= 200
    at = spans_to_positions(part.segments[0].spans)
    assert (part.segments[0].elements == first.segments[0].elements[at]).all()


class Adaptive:
    """An encoder that notes what it is told of the channel."""

    adapts_to_channel = True

    def __init__(self):
        self.told = []

    def analyse(self, image):
        return Analysis(image)

    def open(self, analysis, goal):
        return self

    def first(self, csi, budget):
        return self._message(csi, budget, 0)

    def refine(self, feedback, csi, budget):
        return self._message(csi, budget, 1)

    def _message(self, csi, budget, round_):
        self.told.append((csi, budget))
        segment = Segment(FILE, np.zeros(9, np.int64), np.ones(9, np.float32), ElementCoding.FIXED)
        return GoMessage("webp", SYSTEMS.get("webp").header(), 70, 90, (segment,), round=round_, rounds=GOAL.rounds)


def test_an_encoder_says_itself_that_it_adapts_and_a_delivery_may_too():
    powers = Delivery(PowerAllocation.SEMANTIC)
    plain = ClassicalEncoder("webp", "cpu")
    found = [DeliveryEncoder(e, d).adapts_to_channel for e in (plain, Adaptive()) for d in (PLAIN, powers)]
    assert found == [False, True, True, True]
    wrapped = DeliveryEncoder(Adaptive(), PLAIN)
    assert wrapped.open(wrapped.analyse(IMAGE), GOAL).adapts_to_channel


@pytest.mark.parametrize("delivery", [PLAIN, Delivery(PowerAllocation.SEMANTIC)])
def test_each_round_is_told_of_the_channel_and_its_budget(delivery):
    encoder, channels = Adaptive(), [Csi(0.1), Csi(0.2)]
    session = DeliveryEncoder(encoder, delivery).open(Analysis(IMAGE), GOAL)
    session.first(channels[0], Budget(500))
    session.refine(Feedback(4, 0, budget_bytes=7), channels[1], Budget(90))
    assert encoder.told == [(channels[0], Budget(500)), (channels[1], Budget(90))]
    assert session.csi is channels[1]


def test_a_picture_is_analysed_once():
    analysed = []

    class Counting(Adaptive):
        def analyse(self, image):
            analysed.append(image)
            return Analysis(image)

    kept, last = RememberingEncoder(Counting(), keep=2), RememberingEncoder(Counting(), keep=1)
    other = IMAGE + 0.5
    for encoder, count in ((kept, 2), (last, 3)):
        analysed.clear()
        first = encoder.analyse(IMAGE)
        assert encoder.analyse(IMAGE.copy()) is first and encoder.analyse(other) is not first
        assert encoder.analyse(IMAGE).image is IMAGE
        assert len(analysed) == count
    assert kept.analyse(IMAGE.reshape(3, 90, 70)).width_px == 70


def test_an_analysis_knows_the_size_of_its_image():
    assert (Analysis(IMAGE).width_px, Analysis(IMAGE).height_px) == (90, 70)


def test_a_classical_picture_is_reduced_once(monkeypatch):
    encoder = ClassicalEncoder("webp", "cpu")
    analysis = encoder.analyse(np.random.default_rng(0).random((3, 64, 96)).astype(np.float32))
    opened = [encoder.open(analysis, Goal(ClassicalOptions(quality=q, scale=2), link=LINK)) for q in (10, 90)]
    assert opened[0].picture is opened[1].picture and opened[0].picture.size == (48, 32)
    small, large = (session.first(Csi(), Budget()).segments[0].elements for session in opened)
    assert len(small) < len(large)
