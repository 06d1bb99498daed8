"""Packets under a good channel code over block fading: lost or intact, by the theory in physical/coded.py."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gocom.channel_emulator.fault_bases.fading_fault import RAYLEIGH, Doubles, FadingFault, check_fading, make_fading
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
"""Distance between quadrature nodes; the error rate of a code of 10,000 symbols falls within some 0.01 of ln SNR."""
_MAX_LENGTH = 10_000


@IMPAIRMENTS.register("coded_fading")
@dataclass(frozen=True, slots=True)
class CodedFading(FadingFault, PacketFault):
    """Coded packets over block fading.

    Attributes:
        snr_db, coherence, fading, k_factor_db: see FadingFault.
        code_rate: bits per complex symbol, above 0, to 12.
        code_length: symbols per code block, 50 to 10,000.
        limit: "normal": block error rates by the normal approximation; "outage": a packet is lost if the rate is above
            capacity, the limit for long codes.
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
        min_code_rate = 0.5 * np.log2(self.code_length) / self.code_length
        if self.limit == NORMAL and self.code_rate <= min_code_rate:
            # At such rates the approximation has no losses even without a signal.
            raise InvalidInput(
                f"code_rate: {self.code_rate:g} is not above {min_code_rate:.4g}, below which the normal approximation "
                f"of {self.code_length} symbols means nothing; take longer blocks, or limit=outage"
            )
        if self.limit not in (NORMAL, OUTAGE):
            raise UnknownName("limit", str(self.limit)[:80], (NORMAL, OUTAGE))

    @property
    def gain_distribution(self) -> Fading:
        return make_fading(self.fading, self.k_factor_db, _STEP)

    @property
    def expected_rate(self) -> float:
        """Share of packets of power 1 that are lost if they fit in one code block."""
        return self.packet_erasure_rate(1)

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Bools:
        return self.draw_losses(batch, rng, self._loss)

    def work(self, batch: PacketBatch) -> float:
        return 2 * len(batch)

    def conditional_moments(self, bits: int, power: float, gain: Doubles) -> tuple[Doubles, Doubles]:
        lost = self._loss(np.array([bits]), gain * power * self.snr)
        return lost, lost * (1 - lost)

    def packet_error_rate(self, bits: int, snr: Doubles) -> Doubles:
        return self._loss(np.array([bits]), snr)

    def moments_over_gain(self, bits: Ints, power: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        if self.limit == NORMAL or self.fading == "none":
            return FadingFault.moments_over_gain(self, bits, power)
        # The losses only change at the outage threshold of each kind of packet, so a sum over intervals is exact.
        with np.errstate(divide="ignore"):
            thresholds = np.expm1(self.code_rate * np.log(2)) / (power * self.snr)
        edges = np.unique(thresholds)
        weights = np.diff(self.gain_distribution.cdf(edges), prepend=0.0, append=1.0)
        means = (np.arange(len(edges) + 1) <= np.searchsorted(edges, thresholds)[:, None]).astype(float)
        return weights, means, np.zeros_like(means)

    def _loss(self, bits: Ints, snr: Doubles) -> Doubles:
        """Return the loss probability, float64 [P], for bits int64 [P] and snr float64 [P], broadcast together."""
        if self.limit == OUTAGE:
            return outage(snr, self.code_rate) + np.zeros(bits.shape)
        blocks = np.ceil(bits / (self.code_rate * self.code_length))
        return packet_error_rate(normal_approximation(snr, self.code_rate, self.code_length), blocks)
