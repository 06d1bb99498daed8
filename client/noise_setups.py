"""The four noise setups of the LaMI-GO paper (section III-C), as settings of this system's channel, link and codec.

| setup | noise         | interleaver | coding of tokens |
|-------|---------------|-------------|------------------|
| 1     | packets lost  | on          | Huffman          |
| 2     | bits flipped  | on          | fixed length     |
| 3     | packets lost  | off         | Huffman          |
| 4     | bits flipped  | off         | fixed length     |

A lost packet is a hole whatever the coding, so the shorter one is used. A flipped bit would derail a Huffman decoder
for the rest of its packet, so tokens then have a fixed length, and packets are delivered damaged. The bursty forms
have the same average rate; under independent flips setups 2 and 4 nearly agree.

(Section V of the paper, which reports results, has the numbers 3 and 4 the other way round.)
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
"""Levels where none is given."""
BURST_PACKETS, BURST_BITS = 5, 50
"""Mean length of a bursty setup's stay in the bad state."""
RATE_IN_BURST = 0.5
"""Probability that a bit of a burst is flipped: nothing of it gets through."""
CODING = "coding"


@dataclass(frozen=True, slots=True)
class NoiseSetup:
    """What a noise setup comes to.

    Attributes:
        channel: SPEC of the channel, as gocom.common.channel_spec.parse_spec reads it.
        interleave: of LinkSettings.
        options: of the codec, by name; `options_for` leaves out what a codec does not have.
    """

    channel: str
    interleave: bool
    options: Mapping[str, str] = field(default_factory=dict)

    def options_for(self, codec: str) -> dict[str, Any]:
        """Those options that this codec has. Raises UnknownName for a codec that there is not."""
        return {name: value for name, value in self.options.items() if name in SYSTEMS.get(codec).options.model_fields}


def noise_setup(number: int, level: float | None = None, bursty: bool = False) -> NoiseSetup:
    """A noise setup of the paper.

    Args:
        number: 1 to 4, see above.
        level: packet erasure rate (1 and 3: 0 to 1, bursty to 0.8; default 0.1) or bit error rate (2 and 4: 0 to 0.5,
            bursty to 0.49; default 1e-3).
        bursty: the same rate in bursts: 5 packets, or 50 bits that are flipped with probability 0.5, in the mean.

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
    # In bursts of 5 one packet in 6 must be good at the least.
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
    """p and r of a chain that is bad for this share of the time and for so long at a time: share = p / (p + r)."""
    r = 1 / mean_length
    # The largest levels need p + r = 1, which rounding must not exceed.
    p = min(r * bad_share / (1 - bad_share), 1 - r)
    return f"p={p:.12g},r={r:g}"


def _check_level(level: float, high: float, bursty: bool) -> None:
    if not 0 <= level <= high:
        raise InvalidInput(f"noise-level: {level:g} is not in 0 to {high:g}{' with --bursty' if bursty else ''}")


@dataclass(frozen=True, slots=True)
class Settings:
    """What a command sends with, after its flags were put together.

    Attributes:
        channel: SPEC; None: the channel stays as it is.
        interleave: of LinkSettings.
        options: of the codec.
        words: what the noise setup did, in a line; "" without one.
    """

    channel: str | None
    interleave: bool
    options: dict[str, Any]
    words: str = ""


def settle(
    codec: str, options: dict[str, Any], channel: str | None, interleave: bool | None,
    number: int | None, level: float | None, bursty: bool,
) -> Settings:  # fmt: skip
    """A command's flags put together; interleave None: not said. Raises InvalidInput for two that contradict."""
    if number is None:
        for flag, given in (("noise-level", level is not None), ("bursty", bursty)):
            if given:
                raise InvalidInput(f"{flag}: goes with --noise-setup only; choose {', '.join(map(str, SETUPS))}")
        return Settings(channel, interleave is not False, options)
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
    return Settings(setup.channel, setup.interleave, {**options, **own}, f"noise setup {number}: {', '.join(parts)}")
