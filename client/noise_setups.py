"""The four noise setups of the LaMI-GO paper (section III-C), as settings of this system's channel, link and codec.

| setup | noise         | interleaver | coding of tokens |
|-------|---------------|-------------|------------------|
| 1     | packets lost  | on          | Huffman          |
| 2     | bits flipped  | on          | fixed length     |
| 3     | packets lost  | off         | Huffman          |
| 4     | bits flipped  | off         | fixed length     |

A lost packet loses its tokens whatever the coding, so the shorter coding, Huffman, is used. A flipped bit would
desynchronize a Huffman decoder for the rest of its packet; against bit flips tokens therefore have a fixed length, and
damaged packets are delivered. The bursty variants have the same average rate. Under independent flips setups 2 and 4
nearly agree.

(Section V of the paper, which reports results, swaps the numbers 3 and 4.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gocom.common.errors import InvalidInput
from gocom.common.systems import SYSTEMS
from gocom.common.types import ElementCoding

SETUPS = (1, 2, 3, 4)
PACKET_ERASURE_RATE, BIT_ERROR_RATE = 0.1, 1e-3
"""Default noise levels of setups 1 and 3 (packets), and of setups 2 and 4 (bits)."""
BURST_PACKETS, BURST_BITS = 5, 50
"""Mean length of a burst in a bursty setup, in packets and in bits."""
RATE_IN_BURST = 0.5
"""Probability that a bit in a burst is flipped; at 0.5 the burst carries no information."""
CODING = "coding"


@dataclass(frozen=True, slots=True)
class NoiseSetup:
    """The channel, link and codec settings of a noise setup.

    Attributes:
        channel: SPEC of the channel, as gocom.common.channel_spec.parse_spec reads it.
        interleave: whether elements are interleaved; goes into LinkSettings.
        options: codec options by name; `options_for` keeps those that a codec has.
    """

    channel: str
    interleave: bool
    options: Mapping[str, str] = field(default_factory=dict)

    def options_for(self, codec: str) -> dict[str, Any]:
        """Return the options that this codec has. Raises UnknownName for an unknown codec."""
        return {name: value for name, value in self.options.items() if name in SYSTEMS.get(codec).options.model_fields}


def noise_setup(number: int, level: float | None = None, bursty: bool = False) -> NoiseSetup:
    """Return a noise setup of the paper.

    Args:
        number: 1 to 4, as in the table above.
        level: for setups 1 and 3 the packet erasure rate, 0 to 1 (bursty: 0 to 0.8), default 0.1; for setups 2 and 4
            the bit error rate, 0 to 0.5 (bursty: 0 to 0.49), default 1e-3.
        bursty: whether the noise, at the same average rate, comes in bursts. Their mean length is 5 packets, or 50 bits
            of which each is flipped with probability 0.5.

    Raises:
        InvalidInput: the number or the level is out of range.
    """
    if number not in SETUPS:
        raise InvalidInput(f"noise-setup: {number} is none of {', '.join(map(str, SETUPS))}")
    if number in (1, 3):
        channel = _packet_loss(PACKET_ERASURE_RATE if level is None else level, bursty)
        coding = ElementCoding.HUFFMAN
    else:
        channel = _bit_flips(BIT_ERROR_RATE if level is None else level, bursty)
        coding = ElementCoding.FIXED
    return NoiseSetup(channel, number in (1, 2), {CODING: coding.value})


def _packet_loss(rate: float, bursty: bool) -> str:
    # A stay in the good state lasts one packet at least: with bursts of 5 packets at most 5 in 6 are lost.
    _check_level(rate, 0.8 if bursty else 1.0, bursty)
    if not bursty or rate == 0:
        return f"packet_erasure:rate={rate:.12g}"
    return f"gilbert_elliott:{_bursts(rate, BURST_PACKETS)}"


def _bit_flips(rate: float, bursty: bool) -> str:
    _check_level(rate, 0.49 if bursty else 0.5, bursty)
    if not bursty or rate == 0:
        return f"bit_flip:rate={rate:.12g},damage=deliver"
    words = _bursts(rate / RATE_IN_BURST, BURST_BITS)
    return f"burst_bit_flip:{words},rate_bad={RATE_IN_BURST:g},damage=deliver"


def _bursts(bad_share: float, mean_length: int) -> str:
    """Return p and r of a two-state chain: its share of bad time is p / (p + r), its mean burst length 1 / r."""
    r = 1 / mean_length
    # The largest levels need p + r = 1, which rounding must not exceed.
    p = min(r * bad_share / (1 - bad_share), 1 - r)
    return f"p={p:.12g},r={r:g}"


def _check_level(level: float, high: float, bursty: bool) -> None:
    if not 0 <= level <= high:
        raise InvalidInput(f"noise-level: {level:g} is not in 0 to {high:g}{' with --bursty' if bursty else ''}")


@dataclass(frozen=True, slots=True)
class SendSettings:
    """The channel, link and codec settings that the flags of a command add up to.

    Attributes:
        channel: SPEC of the channel; None: the channel stays as it is.
        interleave: whether elements are interleaved; goes into LinkSettings.
        options: codec options by name.
        summary: one line that says what the noise setup has set; "" without a noise setup.
    """

    channel: str | None
    interleave: bool
    options: dict[str, Any]
    summary: str = ""


def combine_flags(
    codec: str, options: dict[str, Any], channel: str | None, interleave: bool | None,
    number: int | None, level: float | None, bursty: bool,
) -> SendSettings:  # fmt: skip
    """Combine the flags of a command with those of a noise setup.

    Args:
        codec: name of the codec.
        options: codec options by name, from --option.
        channel: SPEC from --channel; None: not given.
        interleave: from --interleave or --no-interleave; None: not given, which means yes without a noise setup.
        number, level, bursty: from --noise-setup, --noise-level, --bursty; see `noise_setup`.

    Raises:
        InvalidInput: two flags set the same thing, or a flag needs --noise-setup.
        UnknownName: there is no such codec.
    """
    if number is None:
        for flag, given in (("noise-level", level is not None), ("bursty", bursty)):
            if given:
                raise InvalidInput(f"{flag}: goes with --noise-setup only; choose {', '.join(map(str, SETUPS))}")
        return SendSettings(channel, interleave is not False, options)
    flags = {
        "--channel": channel is not None,
        "--interleave" if interleave else "--no-interleave": interleave is not None,
        f"--option {CODING}": CODING in options,
    }
    for flag, given in flags.items():
        if given:
            raise InvalidInput(f"noise-setup: sets what {flag} sets; give one of the two")
    setup = noise_setup(number, level, bursty)
    own = setup.options_for(codec)
    parts = [setup.channel, f"interleaver {'on' if setup.interleave else 'off'}", *(f"{k} {v}" for k, v in own.items())]
    return SendSettings(
        setup.channel, setup.interleave, {**options, **own}, f"noise setup {number}: {', '.join(parts)}"
    )
