"""The arguments of a send are checked before anything is sent: ranges, and kinds."""

import threading
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from gocom.client import AsyncClient, Client, ConsumerGoal, LinkSettings
from gocom.client.send_options import send_options
from gocom.common.errors import InvalidInput, NotReady


async def preview_later(preview):
    """A callback that nobody would await."""


BAD = {
    "seed": (-1, 1 << 64, 1.0, True, "7", None),
    "max_rounds": (0, 1.5, "2", False),
    "budget_bytes": (768.0, np.float32(768), 0, "768", True, np.True_, [768]),
    "round_budget_bytes": (768.0, 0),
    "quality_target": (-0.1, 1.1, float("nan"), "0.5", True, None),
    "unequal_protection": (0.91, "0.1"),
    "feedback_policy": ("all", 3, None),
    "power_allocation": ("loud", []),
    "link": (None, 105, {"max_payload_bytes": 105}),
    "goal": ("classify", {"task": "classify"}),
    "size": (32, 1025, "big", "256", 256.0, True, (256, 256)),
    "first_index": (-1, 1 << 32, 0.0),
    "timeout_s": (0, -1, float("nan"), None, "60", True),
    "patience_s": (-0.1, None, "60"),
    "on_preview": (3, preview_later),
    "options": ("quality=5", [("quality", 5)], {5: 5}, {"quality": "high"}, {"quality": 300}),
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in BAD.items() for value in values])
def test_a_wrong_argument_is_named_at_once(name, value):
    other = {"budget_bytes": 1000} if name == "unequal_protection" else {}
    other |= {"max_rounds": 2} if name in ("round_budget_bytes", "quality_target", "feedback_policy") else {}
    named = "quality" if isinstance(value, dict) and "quality" in value else name
    with pytest.raises(InvalidInput, match=f"^{named}: "):
        send_options("jpeg", **other, **{name: value})


def test_a_number_of_numpy_is_as_good_as_another():
    given = send_options(
        "jpeg", options={"quality": np.int64(50)}, seed=np.uint64(7), max_rounds=np.int8(2), budget_bytes=np.int64(768),
        size=np.int32(128), timeout_s=np.float32(2), quality_target=np.float64(0.5), patience_s=3,
    )  # fmt: skip
    numbers = (given.seed, given.max_rounds, given.budget_bytes, given.size, given.options.quality)
    assert numbers == (7, 2, 768, 128, 50) and {type(number) for number in numbers} == {int}
    assert (given.timeout_s, given.quality_target, given.patience_s) == (2.0, 0.5, 3.0)
    assert LinkSettings(max_payload_bytes=np.int64(64)).max_payload_bytes == 64
    assert ConsumerGoal("classify", labels=np.array([3, 4])).labels == (3, 4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: LinkSettings(105.5), "link.max_payload_bytes: 105.5 is not a whole number"),
        (lambda: LinkSettings("105"), "link.max_payload_bytes: '105'"),
        (lambda: LinkSettings(interleave="no"), "link.interleave: 'no' is neither True nor False"),
        (lambda: LinkSettings(interleave_seed=-1), "link.interleave_seed: -1"),
        (lambda: ConsumerGoal("classify", max_rounds=2.5), "goal.max_rounds: 2.5"),
        (lambda: ConsumerGoal("classify", labels=5), "goal.labels: 5 is not a sequence"),
        (lambda: ConsumerGoal("classify", labels="5"), "goal.labels: '5' is not a whole number"),
        (lambda: ConsumerGoal(5), "goal.task: 5 is not text"),
        (lambda: ConsumerGoal(text=b"car"), "goal.text: b'car' is not text"),
        (lambda: ConsumerGoal("classify", target="0.5"), "goal.target: '0.5' is not a number"),
        (lambda: send_options(5), "codec: 5 is not the name of a codec"),
    ],
)
def test_what_a_send_is_given_is_checked_when_it_is_made(make, words):
    with pytest.raises(InvalidInput, match=words):
        make()


def test_a_send_is_checked_when_it_is_called():
    with Client() as client, pytest.raises(InvalidInput, match=r"budget_bytes: 768.0 is not a whole number; 1 to"):
        client.send([b""], codec="jpeg", budget_bytes=768.0)


@pytest.mark.parametrize("images", [None, 5, object()])
def test_what_is_no_picture_and_has_none_is_refused(images):
    with Client() as client, pytest.raises(InvalidInput, match=f"images: a {type(images).__name__} is neither"):
        next(client.send(images, "jpeg"))


async def test_an_asynchronous_send_is_checked_when_it_is_called():
    async with AsyncClient(channel="127.0.0.1:1") as client:
        with pytest.raises(InvalidInput, match="seed: 0.5 is not"):
            client.send([b""], codec="jpeg", seed=0.5)
        for words, work in (
            ("profile: 5 is not text", lambda: client.set_channel(5)),
            ("seed: 0.5 is not a whole number", lambda: client.set_channel("clean", seed=0.5)),
            ("interval_ms: '9' is not", lambda: anext(client.watch_channel("9"))),
            ("payload_bytes: 1.5 is not", lambda: client.get_channel_state(1.5)),
        ):
            with pytest.raises(InvalidInput, match=words):
                await work()


@pytest.mark.parametrize("name", ["seed", "timeout_s"])
@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize("kind", [int, Fraction])
def test_a_number_longer_than_a_float_or_a_text_can_be_is_out_of_range(name, sign, digits, kind):
    with pytest.raises(InvalidInput, match=f"^{name}: "):
        send_options("jpeg", **{name: kind(sign * 10**digits)})


class Lazy(Sequence):
    """Pictures that are loaded when they are asked for; it notes where it was asked, and for which."""

    def __init__(self):
        self.threads, self.loaded = [], []

    def __len__(self):
        return 100

    def __iter__(self):
        self.threads.append(threading.current_thread())
        return map(self.__getitem__, range(len(self)))

    def __getitem__(self, index):
        self.loaded.append(index)
        return np.full((64, 64, 3), 90, np.uint8)


def test_a_lazy_sequence_is_opened_in_the_callers_thread_and_not_read_twice():
    images = Lazy()
    with Client("127.0.0.1:1", "127.0.0.1:1") as client, pytest.raises(NotReady):
        list(client.send(images, "jpeg", patience_s=0.3))
    assert images.threads == [threading.current_thread()]
    assert len(images.loaded) <= 5 and images.loaded == sorted(set(images.loaded)), "no more than are read ahead"
