"""What kind of channel a SPEC is, and where it lies on the axis of its kind."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gocom.common.channel_spec import format_spec, parse_spec
from gocom.common.errors import InvalidInput


class Kind(str, Enum):
    """What is varied."""

    ERASURE = "erasure"
    BURSTS = "bursts"
    BIT_FLIPS = "bit flips"
    FADING = "fading"
    OTHER = "other"


_AXES = {
    "bit_flip": (Kind.BIT_FLIPS, "rate"),
    "block_fading": (Kind.FADING, "snr_db"),
    "coded_fading": (Kind.FADING, "snr_db"),
}


@dataclass(frozen=True, slots=True)
class Axis:
    """A channel's place.

    Attributes:
        kind: OTHER: more than one fault, or one that has no axis here.
        family: the fault with its other parameters; channels of one family make one curve.
        x: packet erasure rate, bit error rate or SNR in dB; None: it has no place on an axis.
        label: for tables and figures.
    """

    kind: Kind
    family: str
    x: float | None
    label: str

    @property
    def short(self) -> str:
        """The label without what a whole family has in common."""
        return self.label.partition(" (")[0]


def axis_of(spec: str, packet_erasure_rate: float | None = None) -> Axis:
    """SPEC, with the loss it comes to where that is known (of bursts only the rows know it) -> its place.

    A SPEC that cannot be read any more, such as a file that is gone, is OTHER.
    """
    try:
        profile = parse_spec(spec)
    except InvalidInput:
        return Axis(Kind.OTHER, spec, None, spec)
    if not profile.impairments:
        return Axis(Kind.ERASURE, "packet_erasure", 0.0, "0 %")
    (fault, *more) = profile.impairments
    name = fault.WhichOneof("kind")
    if more or name is None:
        return Axis(Kind.OTHER, spec, None, spec)
    if name == "packet_erasure" and not fault.packet_erasure.HasField("segment"):
        rate = fault.packet_erasure.rate
        return Axis(Kind.ERASURE, name, rate, percent(rate))
    if name == "gilbert_elliott":
        bursts = fault.gilbert_elliott
        lost = "" if packet_erasure_rate is None else f"{percent(round(packet_erasure_rate, 3))}, "
        mean = f"bursts of {1 / bursts.r:.3g} packets" if bursts.r else "a burst without end"
        return Axis(Kind.BURSTS, name, packet_erasure_rate, f"{lost}{mean} (p={bursts.p:g}, r={bursts.r:g})")
    if name not in _AXES or not (words := _without(format_spec(profile), _AXES[name][1])):
        return Axis(Kind.OTHER, spec, None, spec)
    kind, parameter = _AXES[name]
    x = getattr(getattr(fault, name), parameter)
    label = f"bit error rate {x:g}" if kind is Kind.BIT_FLIPS else f"SNR {x:g} dB"
    others = words.partition(":")[2]
    return Axis(
        kind, words, x, f"{label} ({name}{', ' + others if others else ''})".replace(",", ", ").replace("  ", " ")
    )


def percent(share: float) -> str:
    """0.05 -> "5 %"."""
    return f"{100 * share:g} %"


def _without(chain: str, parameter: str) -> str:
    """ "bit_flip:rate=0.1,damage=deliver" without rate -> "bit_flip:damage=deliver"; "": it is not given."""
    name, _, words = chain.partition(":")
    parts = words.split(",")
    left = [part for part in parts if not part.startswith(f"{parameter}=")]
    if len(left) == len(parts):
        return ""
    return f"{name}:{','.join(left)}" if left else name
