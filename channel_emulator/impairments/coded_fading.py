"""Packets under a good channel code over block fading: lost or intact, by the theory in physical/coded.py.

With code_rate=auto the payloads of a round share the symbols of the round by length, so all packets have the same rate:

    rate = 8 * payload bytes of the round / symbols_per_round,   symbols of a packet = payload bits / rate

Then more bytes mean a higher rate and more losses, and the capacity of a round is the number of bytes at which these
reach a target. An outage is the event that a packet is lost of those that share a gain: at most `coherence` consecutive
packets of the round.

    P(outage) = E_h[1 - product over those packets of (1 - P(packet lost | h))] = target
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from gocom.channel_emulator.fault_bases.fading_fault import (
    RAYLEIGH,
    Doubles,
    FadingFault,
    SymbolShare,
    check_fading,
    largest_size,
    make_fading,
)
from gocom.channel_emulator.fault_bases.fault import PacketFault, check_range
from gocom.channel_emulator.impairments import IMPAIRMENTS
from gocom.channel_emulator.physical.coded import normal_approximation, outage, packet_error_rate
from gocom.channel_emulator.physical.fading import Fading, blocks_of
from gocom.common.counter_rng import CounterRng
from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.packet_batch import PacketBatch
from gocom.common.types import Bools, Ints

NORMAL, OUTAGE = "normal", "outage"
_STEP = 0.01
"""Distance between quadrature nodes; the error rate of a code of 10,000 symbols falls within some 0.01 of ln SNR."""
_MAX_LENGTH = 10_000
_MIN_BLOCK_BITS = 8
"""Smallest number of payload bits of a block with code_rate=auto. The normal approximation needs more than
0.5 log2(symbols), or it has no losses even without a signal; so it means something up to 65,536 symbols."""


@IMPAIRMENTS.register("coded_fading")
@dataclass(frozen=True, slots=True)
class CodedFading(FadingFault, PacketFault):
    """Coded packets over block fading.

    Attributes:
        snr_db, coherence, fading, k_factor_db, symbols_per_round: see FadingFault. With a code rate, the packets from
            the first one that does not fit the symbols on are lost; a packet takes whole blocks, or with
            limit="outage", where blocks have no length, bits / code_rate symbols.
        code_rate: bits per complex symbol, above 0, to 12; None (`auto` in a SPEC): the rate at which the payloads of a
            round take all of symbols_per_round.
        code_length: symbols per code block, 50 to 10,000. Without a code rate the blocks of a packet are equally long,
            and this is their largest length.
        limit: "normal": block error rates by the normal approximation; "outage": a packet is lost if the rate is above
            capacity, the limit for long codes.
    """

    snr_db: float
    code_rate: float | None = None
    coherence: int = 1
    fading: str = RAYLEIGH
    k_factor_db: float | None = None
    code_length: int = 500
    limit: str = NORMAL
    symbols_per_round: int | None = None

    def __post_init__(self) -> None:
        check_fading(self)
        check_range("code_length", self.code_length, 50, _MAX_LENGTH)
        if not float(self.code_length).is_integer():
            raise InvalidInput(f"code_length: {self.code_length!r} is not a whole number of symbols")
        if self.limit not in (NORMAL, OUTAGE):
            raise UnknownName("limit", str(self.limit)[:80], (NORMAL, OUTAGE))
        if self.code_rate is None:
            if self.symbols_per_round is None:
                raise InvalidInput("code_rate: not set; auto needs symbols_per_round, from which the rate follows")
            return
        check_range("code_rate", self.code_rate, 0, 12, above=True)
        min_code_rate = 0.5 * np.log2(self.code_length) / self.code_length
        if self.limit == NORMAL and self.code_rate <= min_code_rate:
            # At such rates the approximation has no losses even without a signal.
            raise InvalidInput(
                f"code_rate: {self.code_rate:g} is not above {min_code_rate:.4g}, below which the normal approximation "
                f"of {self.code_length} symbols means nothing; take longer blocks, or limit=outage"
            )

    @property
    def gain_distribution(self) -> Fading:
        return make_fading(self.fading, self.k_factor_db, _STEP)

    @property
    def expected_rate(self) -> float:
        """Share of packets of power 1 that are lost if they fit in one code block, and the symbols of the round.

        0 without a code rate: the loss depends on the traffic, so the expected number of events is computed while
        counting.
        """
        return self.packet_erasure_rate(1)

    def packet_erasure_rate(self, payload_bits: int) -> float:
        """Return the long-run share of packets of power 1 that are lost; 0 without a code rate, see `filled_to`."""
        return 0.0 if self.code_rate is None else FadingFault.packet_erasure_rate(self, payload_bits)

    def pair_erasure_rate(self, payload_bits: int) -> float:
        return 0.0 if self.code_rate is None else FadingFault.pair_erasure_rate(self, payload_bits)

    def share_symbols(self, sequence: Ints, length: Ints) -> SymbolShare:
        if self.code_rate is not None:
            return FadingFault.share_symbols(self, sequence, length)
        return SymbolShare(self.filled_to(int(length[np.unique(sequence, return_index=True)[1]].sum())))

    def filled_to(self, size_bytes: int) -> CodedFading:
        """Return the fault with the code rate of a round of so many payload bytes, taken to be 1 or more."""
        if self.code_rate is not None or self.symbols_per_round is None:
            return self
        parameters = {f.name: getattr(self, f.name) for f in fields(self)}
        return _RateOfRound(**parameters | {"code_rate": 8 * max(1, size_bytes) / self.symbols_per_round})

    def capacity_bytes(self, payload_bytes: int, outage_target: float, snr: Doubles | None = None) -> int | None:
        """Return the number of payload bytes that one round can have; see Fault.capacity_bytes.

        Without a code rate it is that at which the probability of an outage reaches the target. If the SNRs are known,
        that is the mean over the gains that the round will meet, with the SNRs taken to be exact.
        """
        if self.code_rate is not None or self.symbols_per_round is None:
            return FadingFault.capacity_bytes(self, payload_bytes, outage_target)
        if snr is None:
            return _statistical_capacity(self, payload_bytes, outage_target)
        known = snr
        return largest_size(
            lambda size: self.filled_to(size).known_outage(size, payload_bytes, known) <= outage_target, payload_bytes
        )

    def mean_outage(self, size_bytes: int, payload_bytes: int) -> float:
        """Return the probability that a packet is lost of those that share a gain, averaged over the gain.

        Args:
            size_bytes: payload bytes of the round, 1 or more.
            payload_bytes: payload size of each packet but the last.
        """
        packets, rest = divmod(size_bytes, payload_bytes)
        counts = np.array([min(packets, self.coherence), int(packets < self.coherence)])
        weights, lost, _ = self.moments_over_gain(8 * np.array([payload_bytes, rest]), np.ones(2))
        return float(weights @ (1 - np.prod((1 - lost) ** counts[:, None], axis=0)))

    def known_outage(self, size_bytes: int, payload_bytes: int, snr: Doubles) -> float:
        """Return the same, averaged over the gains of the round's packets, whose SNRs are known.

        Args:
            size_bytes, payload_bytes: as for `mean_outage`.
            snr: float64 [P], linear, by sequence number. Packets beyond it are left out of the mean.
        """
        packets, rest = divmod(size_bytes, payload_bytes)
        bits = np.full(min(packets + (rest > 0), len(snr)), 8 * payload_bytes)
        if rest and packets < len(bits):
            bits[packets] = 8 * rest
        arrive = 1 - self._loss(bits, snr[: len(bits)])
        gain = blocks_of(np.arange(len(bits)), self.coherence)
        return float(1 - np.multiply.reduceat(arrive, np.flatnonzero(np.diff(gain, prepend=-1))).mean())

    def symbols(self, bits: Ints) -> Doubles:
        if self.limit == OUTAGE:
            return np.asarray(bits / self._rate)
        return self._blocks(bits)[0] * float(self.code_length)

    def draw(self, batch: PacketBatch, rng: CounterRng) -> Bools:
        share = self.symbol_share(batch, rng)
        assert isinstance(share.link, CodedFading)
        lost = share.link.draw_losses(batch, rng, share.link._loss)
        return lost if self.symbols_per_round is None else lost | (batch.sequence >= share.end)

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
        with np.errstate(divide="ignore", over="ignore"):  # of power 0, and of a rate above 1024
            thresholds = np.expm1(self._rate * np.log(2)) / (power * self.snr)
        edges = np.unique(thresholds)
        weights = np.diff(self.gain_distribution.cdf(edges), prepend=0.0, append=1.0)
        means = (np.arange(len(edges) + 1) <= np.searchsorted(edges, thresholds)[:, None]).astype(float)
        return weights, means, np.zeros_like(means)

    @property
    def _rate(self) -> float:
        assert self.code_rate is not None, "without a code rate the fault is used as `filled_to` a size"
        return self.code_rate

    def _loss(self, bits: Ints, snr: Doubles) -> Doubles:
        """Return the loss probability, float64 [P], for bits int64 [P] and snr float64 [P], broadcast together."""
        if self.limit == OUTAGE:
            return outage(snr, self._rate) + np.zeros(bits.shape)
        blocks, length = self._blocks(bits)
        return packet_error_rate(normal_approximation(snr, self._rate, length), blocks)

    def _blocks(self, bits: Ints) -> tuple[Doubles, npt.ArrayLike]:
        """Return the number of blocks of packets, float64 [P], and the number of symbols of each of their blocks."""
        return np.ceil(bits / (self._rate * self.code_length)), self.code_length


@dataclass(frozen=True, slots=True)
class _RateOfRound(CodedFading):
    """coded_fading with code_rate=auto in one round, whose rate may be any above 0.

    A packet is cut into equal blocks of at most `code_length` symbols, so that it takes no more than its share.
    """

    def __post_init__(self) -> None:
        """Check nothing: the parameters are those of a valid fault, and any rate may come about."""

    def share_symbols(self, sequence: Ints, length: Ints) -> SymbolShare:
        return SymbolShare(self)

    def symbols(self, bits: Ints) -> Doubles:
        return np.asarray(bits / self._rate)

    def _blocks(self, bits: Ints) -> tuple[Doubles, npt.ArrayLike]:
        blocks = np.ceil(bits / max(self._rate * self.code_length, _MIN_BLOCK_BITS))
        # An empty packet has no blocks; 1 stands for their length.
        return blocks, np.divide(bits, self._rate * blocks, out=np.ones(bits.shape), where=blocks > 0)


@lru_cache(maxsize=256)
def _statistical_capacity(fault: CodedFading, payload_bytes: int, outage_target: float) -> int:
    return largest_size(
        lambda size: fault.filled_to(size).mean_outage(size, payload_bytes) <= outage_target, payload_bytes
    )
