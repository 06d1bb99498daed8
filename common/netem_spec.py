"""Parser of netem options in the syntax of tc: `netem:loss gemodel 1% 10% 70% 0.1%` becomes impairments.

An option is accepted only if this channel behaves as the kernel does (tc-netem(8), net/sched/sch_netem.c); any other is
refused with the reason. As in tc, the percent sign may be left out, and a time without a unit is in microseconds.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from gocom.common.errors import InvalidInput
from gocom.v1 import channel_pb2

NETEM = "netem"
_NUMBER = r"(\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+)"
_PERCENT = re.compile(_NUMBER + "%?")
_TIME = re.compile(_NUMBER + "([a-z]*)", re.IGNORECASE)
_MS = {"s": 1e3, "sec": 1e3, "secs": 1e3, "ms": 1.0, "msec": 1.0, "msecs": 1.0}
_MS |= {"us": 1e-3, "usec": 1e-3, "usecs": 1e-3, "": 1e-3, "ns": 1e-6, "nsec": 1e-6, "nsecs": 1e-6}

_CORRELATION = "a correlation is not emulated: netem's own gives another rate than it is asked for; see loss gemodel"
_NOT_EMULATED = {
    "reorder": "netem sends these at once and holds all others back, which is not emulated; see the fault reorder",
    "corrupt": "netem damages headers too, which is not emulated; see the fault bit_flip",
    "rate": "see the fault rate_limit, which counts other headers",
    "slot": "is not emulated",
    "limit": "is not emulated; the queue is endless",
    "gap": "goes with reorder, which is not emulated",
    "ecn": "is not emulated; packets here are erased, not marked",
    "seed": "give the channel's own --seed",
}


class _Words:
    """The words of a line, which are consumed from left to right."""

    def __init__(self, text: str) -> None:
        self._remaining = text.split()
        if self._remaining[:1] == ["tc"] and NETEM in self._remaining:
            del self._remaining[: self._remaining.index(NETEM) + 1]

    def __bool__(self) -> bool:
        return bool(self._remaining)

    def next(self, what: str) -> str:
        """Consume and return the next word. Raise InvalidInput at the end of the line, where `what` is missing."""
        if not self._remaining:
            raise InvalidInput(f"the line ends where {what} should be")
        return self._remaining.pop(0)

    def consume(self, word: str) -> bool:
        """Return whether the next word is `word`, and consume it if so."""
        return self._remaining[:1] == [word] and bool(self._remaining.pop(0))

    def number_follows(self) -> bool:
        """Return whether the next word begins like a number."""
        return bool(self._remaining) and re.match(r"[\d.]", self._remaining[0]) is not None

    def fraction(self, what: str) -> float:
        """Consume a percentage and return it as a fraction in [0, 1]. Raise InvalidInput for any other word."""
        word = self.next(what)
        match = _PERCENT.fullmatch(word)
        if match is None or not 0 <= float(match[1]) <= 100:
            raise InvalidInput(f"{word[:40]!r}: {what} must be a percentage in 0% to 100%, such as 1.5%")
        # "30%" must give exactly 0.3, as float("30e-2") does; 30 / 100 rounds to the same number.
        return float(match[1]) / 100

    def milliseconds(self, what: str) -> float:
        """Consume a time and return it in milliseconds. Raise InvalidInput for any other word."""
        word = self.next(what)
        match = _TIME.fullmatch(word)
        if match is None or match[2].lower() not in _MS:
            raise InvalidInput(f"{word[:40]!r}: {what} must be a time, such as 100ms, 0.1s or 500us")
        unit = _MS[match[2].lower()]
        return float(match[1]) * unit if unit >= 1 else float(match[1]) / round(1 / unit)


def parse_netem(text: str) -> list[channel_pb2.Impairment]:
    """Parse the options that follow `netem`, or a whole tc command, into one impairment or more.

    Raises:
        InvalidInput: an option is unknown, malformed or not emulated; the message names the word.
    """
    words = _Words(text)
    found: dict[str, channel_pb2.Impairment] = {}
    while words:
        word = words.next("an option")
        option = {"drop": "loss", "latency": "delay"}.get(word, word)
        if option not in _OPTIONS:
            unknown = f"no such option of netem; there are {', '.join(_OPTIONS)}"
            raise InvalidInput(f"{word[:40]!r}: {_NOT_EMULATED.get(option, unknown)}")
        if option in found:
            raise InvalidInput(f"{word!r}: given twice")
        found[option] = _OPTIONS[option](words)
    if not found:
        raise InvalidInput(f"says nothing; there are {', '.join(_OPTIONS)}, such as `netem:loss 5%`")
    if len(found) > 1 and "duplicate" in found:
        others = "netem draws loss and delay anew for each copy, which is not emulated; give it a netem of its own"
        raise InvalidInput(f"'duplicate': {others}: `netem:loss 5%+netem:duplicate 1%`")
    # netem decides on the loss of a packet before it delays the packet, in whatever order the options are given.
    return [found[option] for option in _OPTIONS if option in found]


def _loss(words: _Words) -> channel_pb2.Impairment:
    if words.consume("gemodel"):
        p = words.fraction("p of gemodel")
        model = channel_pb2.GilbertElliott(p=p, r=words.fraction("r of gemodel") if words.number_follows() else 1 - p)
        if words.number_follows():
            model.loss_bad = words.fraction("1-h of gemodel")
        if words.number_follows():
            model.loss_good = words.fraction("1-k of gemodel")
        return channel_pb2.Impairment(gilbert_elliott=model)
    if words.consume("state"):
        raise InvalidInput("'state': the model of four states is not emulated; see loss gemodel")
    words.consume("random")
    return channel_pb2.Impairment(packet_erasure=channel_pb2.PacketErasure(rate=_uncorrelated_fraction(words, "loss")))


def _duplicate(words: _Words) -> channel_pb2.Impairment:
    return channel_pb2.Impairment(duplicate=channel_pb2.Duplicate(rate=_uncorrelated_fraction(words, "duplicate")))


def _delay(words: _Words) -> channel_pb2.Impairment:
    delay = channel_pb2.Delay(delay_ms=words.milliseconds("delay"))
    if words.number_follows():
        delay.jitter_ms = words.milliseconds("the jitter of delay")
        _refuse_correlation(words)
    if words.consume("distribution"):
        word = words.next("the distribution of delay")
        if word not in _DISTRIBUTIONS:
            raise InvalidInput(f"{word[:40]!r}: is not emulated; distributions are {', '.join(_DISTRIBUTIONS)}")
        if not delay.HasField("jitter_ms"):
            raise InvalidInput(f"'distribution {word}': needs a jitter, as in `delay 100ms 10ms distribution {word}`")
        delay.distribution = _DISTRIBUTIONS[word]
    return channel_pb2.Impairment(delay=delay)


def _uncorrelated_fraction(words: _Words, what: str) -> float:
    fraction = words.fraction(what)
    _refuse_correlation(words)
    return fraction


def _refuse_correlation(words: _Words) -> None:
    if words.number_follows():
        raise InvalidInput(f"{words.next('')[:40]!r}: {_CORRELATION}")


_DISTRIBUTIONS = {
    "uniform": channel_pb2.DELAY_DISTRIBUTION_UNIFORM,
    "normal": channel_pb2.DELAY_DISTRIBUTION_NORMAL,
}
_OPTIONS: dict[str, Callable[[_Words], channel_pb2.Impairment]] = {
    "loss": _loss,
    "delay": _delay,
    "duplicate": _duplicate,
}
