"""Packets under a good channel code over block fading: lost or whole, by the theory in physical/coded.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gocom.channel_emulator.fault_bases.fading_fault import RAYLEIGH, Doubles, FadingFault, check_fading, fading_of
from gocom.channel_emulator.fault_bases.fault import PacketFault, check_range
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.channel_emulator.physical.coded import normal_approximation, outage, packet_error_rate
from gocom.channel_emulator.physical.fading import Fading
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools, Ints

NORMAL, OUTAGE = "normal", "outage"
_STEP = 0.01
"""A code of 10,000 symbols fails or not within some hundredths of ln SNR."""
_MAX_LENGTH = 10_000


@IMPAIRMENTS.register("coded_fading")
@dataclass(frozen=True, slots=True)
class CodedFading(FadingFault, PacketFault):
    """Coded packets over block fading.

    Attributes:
        snr_db, coherence, fading, k_factor_db: see FadingFault.
        code_rate: bits a complex symbol, above 0, to 12.
        code_length: symbols of a code block, 50 to 10,000.
        limit: "normal": block error rates by the normal approximation; "outage": a packet is lost when the rate is
            above capacity, which codes of any length tend to.
    """

    snr_db: float
    code_rate: float
    coherence: int = 1
    fading: str = RAYLEIGH
    k_factor_db: float | None = None
    code_length: int = 500
    limit: str = NORMAL

    def __post_init__(self) -> None:
        check_fading(self)
        check_range("code_rate", self.code_rate, 0, 12, above=True)
        check_range("code_length", self.code_length, 50, _MAX_LENGTH)
        if not float(self.code_length).is_integer():
            raise InvalidInput(f"code_length: {self.code_length!r} is not a whole number of symbols")
        least = 0.5 * np.log2(self.code_length) / self.code_length
        if self.limit == NORMAL and self.code_rate <= least:
            # The approximation then loses nothing where there is no signal.
            raise InvalidInput(
                f"code_rate: {self.code_rate:g} is not above {least:.4g}, below which the normal approximation of "
                f"{self.code_length} symbols means nothing; take longer blocks, or limit=outage"
            )
        if self.limit not in (NORMAL, OUTAGE):
            raise UnknownName("limit", str(self.limit)[:80], (NORMAL, OUTAGE))

    @property
    def link(self) -> Fading:
        return fading_of(self.fading, self.k_factor_db, _STEP)

    @property
    def expected_rate(self) -> float:
        """Of packets of power 1 that fit one code block."""
        return self.packet_erasure_rate(1)

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Bools:
        return self.losses(batch, rng, self._loss)

    def work(self, batch: PacketBatch) -> float:
        return 2 * len(batch)

    def given_gain(self, bits: int, power: float, gain: Doubles) -> tuple[Doubles, Doubles]:
        lost = self._loss(np.array([bits]), gain * power * self.snr)
        return lost, lost * (1 - lost)

    def packet_error_rate(self, bits: int, snr: Doubles) -> Doubles:
        return self._loss(np.array([bits]), snr)

    def nodes(self, bits: Ints, power: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        if self.limit == NORMAL or self.fading == "none":
            return FadingFault.nodes(self, bits, power)
        # Between the gains at which one kind or another begins to be lost nothing changes: exact.
        with np.errstate(divide="ignore"):
            least = np.expm1(self.code_rate * np.log(2)) / (power * self.snr)
        edges = np.unique(least)
        weights = np.diff(self.link.below(edges), prepend=0.0, append=1.0)
        means = (np.arange(len(edges) + 1) <= np.searchsorted(edges, least)[:, None]).astype(float)
        return weights, means, np.zeros_like(means)

    def _loss(self, bits: Ints, snr: Doubles) -> Doubles:
        """float64 [P]: bits int64 [P], snr float64 [P], broadcast together."""
        if self.limit == OUTAGE:
            return outage(snr, self.code_rate) + np.zeros(bits.shape)
        blocks = np.ceil(bits / (self.code_rate * self.code_length))
        return packet_error_rate(normal_approximation(snr, self.code_rate, self.code_length), blocks)
