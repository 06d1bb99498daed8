"""What is compared: a codec with its options, and how its packets are protected.

A codec that degrades goes as it is. One whose file must arrive whole ("jpeg" and its like) goes in three ways at the
same total bytes: without protection, with the best RaptorQ redundancy for that loss, and with retransmissions.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.systems import SYSTEMS
from gocom.common.systems.classical import CLASSICAL_CODECS
from gocom.common.wire.frame_messages import make_parameters

PLANNED_BY_USER = ("quality", "scale")
"""Options of a classical codec that may be fixed; all else of it is an operating point."""


class Protection(str, Enum):
    """How a file that must arrive whole is kept whole."""

    NONE = "none"
    FEC = "fec"
    ARQ = "arq"


@dataclass(frozen=True, slots=True)
class Method:
    """One line of every table.

    Attributes:
        codec: as registered.
        options: of the codec, key and value as text, in the order they were given.
        protection: NONE for a codec that degrades.

    Raises:
        InvalidInput: an option of a classical codec that is an operating point.
    """

    codec: str
    options: tuple[tuple[str, str], ...] = ()
    protection: Protection = Protection.NONE

    def __post_init__(self) -> None:
        if self.classical and (chosen := [key for key, _ in self.options if key not in PLANNED_BY_USER]):
            raise InvalidInput(
                f"codecs: {self.name}: {chosen[0]} is chosen here; {', '.join(PLANNED_BY_USER)} may be given"
            )

    @property
    def name(self) -> str:
        """As it is written: "lami_go:masking=none", "jpeg+fec"."""
        options = ",".join(f"{key}={value}" for key, value in self.options)
        protection = "" if self.protection is Protection.NONE else f"+{self.protection.value}"
        return self.codec + (f":{options}" if options else "") + protection

    @property
    def classical(self) -> bool:
        """Its file must arrive whole."""
        return self.codec in CLASSICAL_CODECS


def split_specs(text: str) -> list[str]:
    """ "a:x=1,y=2,b" -> ["a:x=1,y=2", "b"]: a part with "=" and no ":" before it belongs to the one before."""
    found: list[str] = []
    for part in (p.strip() for p in text.split(",")):
        if found and "=" in part and ":" not in part.partition("=")[0]:
            found[-1] += f",{part}"
        elif part:
            found.append(part)
    return found


def parse_methods(texts: Iterable[str], protections: Sequence[Protection] = tuple(Protection)) -> list[Method]:
    """Specs "CODEC[:KEY=VALUE,...][+PROTECTION]" -> methods; a classical one that names no protection becomes several.

    Raises:
        UnknownName: a codec or protection that there is not.
        InvalidInput: an option that the codec does not have or that is given twice, or protection for a codec that
            degrades.
    """
    found: list[Method] = []
    for text in texts:
        named, _, wanted = text.partition("+")
        codec, _, rest = named.partition(":")
        options = tuple(_option(part) for part in rest.split(",") if part)
        if twice := [key for key in dict(options) if sum(key == other for other, _ in options) > 1]:
            raise InvalidInput(f"codecs: {text}: {twice[0]} is given twice; give one value")
        make_parameters(SYSTEMS.get(codec).options, dict(options))  # says what is wrong with them
        method = Method(codec, options)
        found += [Method(codec, options, protection) for protection in _chosen(method, wanted, protections)]
    if doubled := sorted({m.name for m in found if found.count(m) > 1}):
        raise InvalidInput(f"codecs: {', '.join(doubled)} given twice")
    return found


def _chosen(method: Method, wanted: str, protections: Sequence[Protection]) -> Sequence[Protection]:
    if wanted:
        if wanted not in [p.value for p in Protection]:
            raise UnknownName("codecs: protection", wanted, [p.value for p in Protection])
        if not method.classical and wanted != Protection.NONE.value:
            raise InvalidInput(f"codecs: {method.name}: {wanted} is for {', '.join(CLASSICAL_CODECS)}")
        return (Protection(wanted),)
    return protections if method.classical else (Protection.NONE,)


def _option(part: str) -> tuple[str, str]:
    key, equals, value = part.partition("=")
    if not equals:
        raise InvalidInput(f"codecs: option {part!r} is not KEY=VALUE")
    return key.strip(), value.strip()
