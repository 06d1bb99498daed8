"""What is certified by default, and how a model is made a little wrong."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace

from gocom.channel_emulator.chain import Chain, NamedFault
from gocom.channel_emulator.fault_bases.fading_fault import FadingFault
from gocom.channel_emulator.fault_bases.fault import Fault
from gocom.common.channel_spec import parse_spec
from gocom.common.errors import InvalidInput

ERROR = 0.02
"""By how much a parameter of a wrong model is off."""
PAYLOAD_BYTES = 105
"""Of the packets a spec is certified with, the link's default."""


@dataclass(frozen=True, slots=True)
class Case:
    """A channel to certify with packets of one size."""

    spec: str
    payload_bytes: int = PAYLOAD_BYTES


CASES = (
    Case("packet_erasure:rate=0.01", 1),
    Case("packet_erasure:rate=0.3,segment=0", 1),
    Case("gilbert_elliott:p=0.02,r=0.25", 1),
    Case("gilbert_elliott:p=0.05,r=0.2,loss_bad=0.8,loss_good=0.1", 1),
    Case("bit_flip:rate=1e-3"),
    Case("bit_flip:rate=2e-2,damage=deliver"),
    Case("burst_bit_flip:p=1e-3,r=0.02"),
    Case("burst_bit_flip:p=5e-3,r=0.05,rate_bad=0.3,rate_good=2e-2,damage=deliver"),
    Case("block_fading:snr_db=20"),
    Case("block_fading:snr_db=20,coherence=8,modulation=qam16"),
    Case("block_fading:snr_db=24,fading=rician,k_factor_db=3,modulation=qam64"),
    Case("block_fading:snr_db=9,fading=none,modulation=qpsk"),
    Case("block_fading:snr_db=5,damage=deliver,modulation=qpsk"),
    Case("block_fading:snr_db=12,fading=none,damage=deliver,modulation=qam16"),
    Case("block_fading:snr_db=16,fading=none,damage=deliver,modulation=qam64,noise=symbols"),
    Case("coded_fading:snr_db=10,code_rate=1,coherence=4"),
    Case("coded_fading:snr_db=0.6,code_rate=1,fading=none,code_length=420"),
    Case("coded_fading:snr_db=8,code_rate=1,fading=rician,k_factor_db=2,limit=outage"),
    Case("block_fading:snr_db=20,modulation=qpsk,symbols_per_round=25000000"),
    Case("coded_fading:snr_db=10,code_rate=1.5,coherence=4,limit=outage,symbols_per_round=35000000"),
    Case("coded_fading:snr_db=10,code_rate=auto,coherence=4,limit=outage,symbols_per_round=50000000"),
    Case("coded_fading:snr_db=3,code_rate=auto,fading=none,code_length=272,symbols_per_round=36000000"),
    Case("reorder:rate=0.1,distance=3", 1),
    Case("duplicate:rate=0.1", 1),
    Case("delay:delay_ms=50,jitter_ms=20,deadline_ms=65", 1),
    Case("delay:delay_ms=50,jitter_ms=20,distribution=normal,deadline_ms=70", 1),
    Case("delay:delay_ms=20,jitter_ms=30,distribution=exponential,deadline_ms=90", 1),
    Case("rate_limit:rate_kbps=2000,queue_ms=5000"),
    Case("periodic_outage:period=150,length=50", 1),
)

_DECIBELS = ("snr_db", "k_factor_db")
_WHOLE = ("coherence", "segment", "distance", "copies")
"""Counts, of which 2 % is no number; how gains hang together in blocks shows in the variance, see test_scores."""
_ROUNDED = ("code_length", "period", "length", "overhead_bytes", "symbols_per_round")
"""Counts of which 2 % is one or more."""


def chain_of(spec: str, seed: int) -> Chain:
    """Raises InvalidInput, UnknownName, as parse_spec and Chain.from_profile do, and for a channel without faults."""
    chain = Chain.from_profile(parse_spec(spec, seed))
    if not chain.faults:
        raise InvalidInput(f"spec: {spec!r} has no impairment to certify")
    return chain


def wrong_models(chain: Chain) -> Iterator[tuple[str, Chain]]:
    """The chain with one parameter of one fault off by 2 %: "name.parameter", and the chain."""
    for position, named in enumerate(chain.faults):
        for parameter in _parameters(named.fault):
            fault = off(named.fault, parameter)
            if fault is not None:
                faults = [*chain.faults]
                faults[position] = NamedFault(named.name, fault)
                yield f"{named.name}.{parameter}", Chain(faults, chain.seed)


def off(fault: Fault, parameter: str) -> Fault | None:
    """The fault with that parameter off by 2 %: up, or down where up is not allowed; None where neither is."""
    value = getattr(fault, parameter)
    for factor in (1 + ERROR, 1 - ERROR):
        # 2 % of a ratio in decibels is 2 % of the ratio.
        shift = value + 10 * math.log10(factor) if parameter in _DECIBELS else value * factor
        try:
            changed: Fault = replace(fault, **{parameter: round(shift) if parameter in _ROUNDED else shift})  # type: ignore[type-var]
        except InvalidInput:
            continue
        return changed
    return None


def _parameters(fault: Fault) -> list[str]:
    """Numbers that the closed form depends on."""
    names = [f.name for f in fields(fault)]  # type: ignore[arg-type]
    numbers = [name for name in names if isinstance(getattr(fault, name), float | int) and name not in _WHOLE]
    unused = {"code_length"} if isinstance(fault, FadingFault) and getattr(fault, "limit", "") == "outage" else set()
    return [name for name in numbers if getattr(fault, name) != 0 and name not in unused]
