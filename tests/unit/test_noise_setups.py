"""The four noise setups: what each comes to, and that bursts keep the average rate."""

import pytest

from gocom.channel_emulator.chain import Chain
from gocom.client.noise_setups import SendSettings, combine_flags, noise_setup
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import InvalidInput


def chain_of(setup):
    return Chain.from_profile(parse_spec(setup.channel))


@pytest.mark.parametrize(
    ("number", "channel", "interleave", "coding"),
    [
        (1, "packet_erasure:rate=0.1", True, "huffman"),
        (2, "bit_flip:rate=0.001,damage=deliver", True, "fixed"),
        (3, "packet_erasure:rate=0.1", False, "huffman"),
        (4, "bit_flip:rate=0.001,damage=deliver", False, "fixed"),
    ],
)
def test_each_setup_is_the_papers(number, channel, interleave, coding):
    setup = noise_setup(number)
    assert (setup.channel, setup.interleave, setup.options) == (channel, interleave, {"coding": coding})
    assert setup.options_for("lami_go") == {"coding": coding}
    assert setup.options_for("jpeg") == {}


@pytest.mark.parametrize("number", [1, 2, 3, 4])
@pytest.mark.parametrize("level", [1e-5, 0.01, 0.25, None])
def test_bursts_have_the_same_average_rate(number, level):
    plain, bursty = noise_setup(number, level), noise_setup(number, level, bursty=True)
    assert (plain.interleave, plain.options) == (bursty.interleave, bursty.options)
    one, other = chain_of(plain).csi(105), chain_of(bursty).csi(105)
    assert other.packet_erasure_rate == pytest.approx(one.packet_erasure_rate, rel=1e-9)
    assert other.bit_error_rate == pytest.approx(one.bit_error_rate, rel=1e-9)
    if number in (1, 3):
        assert one.packet_erasure_rate == pytest.approx(0.1 if level is None else level)
        assert other.mean_burst_packets == pytest.approx(5)
    else:
        assert one.bit_error_rate == pytest.approx(1e-3 if level is None else level)
        (named,) = chain_of(bursty).faults
        assert (1 / named.fault.r, named.fault.rate_bad, named.fault.rate_good) == (50, 0.5, 0)


@pytest.mark.parametrize(
    ("number", "bursty", "high"), [(1, False, 1), (3, True, 0.8), (2, False, 0.5), (4, True, 0.49)]
)
def test_levels_have_ends_that_the_channel_takes(number, bursty, high):
    assert chain_of(noise_setup(number, 0, bursty)).csi(105) == Chain([]).csi(105)
    (named,) = chain_of(noise_setup(number, high, bursty)).faults
    assert named.fault.expected_rate == pytest.approx(high, rel=1e-9)
    for level in (-0.01, high + 0.01, float("nan")):
        with pytest.raises(InvalidInput, match=rf"noise-level: \S+ is not in 0 to {high}{' with --bursty' * bursty}"):
            noise_setup(number, level, bursty)


@pytest.mark.parametrize("number", [0, 5])
def test_there_are_four(number):
    with pytest.raises(InvalidInput, match="noise-setup: . is none of 1, 2, 3, 4"):
        noise_setup(number)


def test_flags_put_together():
    options = {"mask_ratio": "0.1"}
    assert combine_flags("lami_go", options, "lossy", False, None, None, False) == SendSettings("lossy", False, options)
    assert combine_flags("lami_go", options, None, None, None, None, False) == SendSettings(None, True, options)
    settings = combine_flags("lami_go", options, None, None, 4, 0.01, False)
    assert (settings.channel, settings.interleave) == ("bit_flip:rate=0.01,damage=deliver", False)
    assert settings.options == {"mask_ratio": "0.1", "coding": "fixed"} and options == {"mask_ratio": "0.1"}
    words = "noise setup 4: bit_flip:rate=0.01,damage=deliver, interleaver off, coding fixed"
    assert settings.summary == words
    assert combine_flags("jpeg", {}, None, None, 4, 0.01, False).options == {}


@pytest.mark.parametrize(
    ("channel", "interleave", "options", "flag"),
    [
        ("clean", None, {}, "--channel"),
        (None, True, {}, "--interleave"),
        (None, False, {}, "--no-interleave"),
        (None, None, {"coding": "range"}, "--option coding"),
    ],
)
def test_flags_that_contradict_a_setup_are_named(channel, interleave, options, flag):
    with pytest.raises(InvalidInput, match=f"^noise-setup: sets what {flag} sets; give one of the two$"):
        combine_flags("lami_go", options, channel, interleave, 1, None, False)
