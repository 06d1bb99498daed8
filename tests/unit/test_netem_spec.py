"""Lines of netem: what they become, and what is refused."""

from __future__ import annotations

import pytest

from gocom.common.channel_spec import MAX_IMPAIRMENTS, format_spec, parse_spec
from gocom.common.errors import InvalidInput
from gocom.v1 import channel_pb2


@pytest.mark.parametrize(
    ("line", "spec"),
    [
        ("loss 5%", "packet_erasure:rate=0.05"),
        ("loss random 0.3", "packet_erasure:rate=0.003"),
        ("drop 100%", "packet_erasure:rate=1.0"),
        ("loss gemodel 1%", "gilbert_elliott:p=0.01,r=0.99"),
        ("loss gemodel 1% 10%", "gilbert_elliott:p=0.01,r=0.1"),
        ("loss gemodel 1% 10% 70%", "gilbert_elliott:p=0.01,r=0.1,loss_bad=0.7"),
        ("loss gemodel 1% 10% 70% 0.1%", "gilbert_elliott:p=0.01,r=0.1,loss_bad=0.7,loss_good=0.001"),
        ("duplicate 1%", "duplicate:rate=0.01"),
        ("delay 100ms", "delay:delay_ms=100.0"),
        ("delay 100ms 10ms", "delay:delay_ms=100.0,jitter_ms=10.0"),
        ("latency .1s 500us", "delay:delay_ms=100.0,jitter_ms=0.5"),
        ("delay 2000", "delay:delay_ms=2.0"),
        ("delay 100ms 10ms distribution normal", "delay:delay_ms=100.0,jitter_ms=10.0,distribution=normal"),
        ("delay 20ms loss 1%", "packet_erasure:rate=0.01+delay:delay_ms=20.0"),
        ("tc qdisc add dev eth0 root netem loss 5%", "packet_erasure:rate=0.05"),
    ],
)
def test_lines_become_impairments(line: str, spec: str) -> None:
    assert parse_spec(f"netem:{line}", 4) == parse_spec(spec, 4)
    assert format_spec(parse_spec(f"netem: {line} ")) == spec
    around = parse_spec(f"bit_flip:rate=0.1+netem:{line}+netem:loss 1%")
    assert around == parse_spec(f"bit_flip:rate=0.1+{spec}+packet_erasure:rate=0.01")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", r"impairments\[1\].netem: says nothing; there are loss, delay, duplicate"),
        ("loss", r"impairments\[1\].netem: the line ends where loss should be"),
        ("loss lots", "'lots': loss must be a percentage in 0% to 100%"),
        ("loss 101%", "'101%': loss must be a percentage"),
        ("loss -1%", "'-1%': loss must be a percentage"),
        ("loss 5% 25%", "'25%': a correlation is not emulated"),
        ("loss state 1%", "'state': the model of four states is not emulated"),
        ("loss gemodel", "the line ends where p of gemodel should be"),
        ("loss gemodel 1% 1% 1% 1% 1%", "'1%': no such option of netem; there are loss, delay, duplicate"),
        ("loss 5% ecn", "'ecn': is not emulated"),
        ("delay 10ms reorder 25%", "'reorder': netem sends these at once and holds all others back"),
        ("corrupt 1%", "'corrupt': netem damages headers too"),
        ("rate 1mbit", "'rate': see the fault rate_limit"),
        ("limit 1000", "'limit': is not emulated"),
        ("seed 1", "'seed': give the channel's own --seed"),
        ("delay 5 parsecs", "'parsecs': no such option"),
        ("delay 5parsecs", "'5parsecs': delay must be a time, such as 100ms"),
        ("delay 100ms 10ms 25%", "'25%': a correlation is not emulated"),
        ("delay 100ms 10ms distribution pareto", "'pareto': is not emulated; distributions are uniform, normal"),
        ("delay 100ms distribution normal", "'distribution normal': needs a jitter"),
        (
            "loss 5% duplicate 1%",
            r"'duplicate': netem draws loss and delay anew for each copy, .*`netem:loss 5%\+netem:dup",
        ),
        ("loss 5% loss 5%", "'loss': given twice"),
        ("loss=5%", "'loss=5%': no such option of netem"),
    ],
)
def test_what_cannot_be_mapped_is_named(line: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse_spec(f"bit_flip:rate=0.1+netem:{line}")


def test_a_line_counts_as_what_it_becomes() -> None:
    full = "+".join(["bit_flip:rate=0.1"] * (MAX_IMPAIRMENTS - 1))
    assert len(parse_spec(f"{full}+netem:loss 1%").impairments) == MAX_IMPAIRMENTS
    with pytest.raises(InvalidInput, match="more than 32"):
        parse_spec(f"{full}+netem:loss 1% delay 1ms")


def test_percentages_are_what_they_would_be_as_numbers() -> None:
    for tenths in range(1001):
        rate = parse_spec(f"netem:loss {tenths / 10}%").impairments[0].packet_erasure.rate
        assert rate == pytest.approx(tenths / 1000, rel=1e-15)
    model = parse_spec("netem:loss gemodel 33.3%").impairments[0].gilbert_elliott
    assert model.p + model.r <= 1 and isinstance(model, channel_pb2.GilbertElliott)
