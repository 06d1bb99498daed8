"""The two-state Markov chain of Gilbert (1960) and Elliott (1963) in closed form, in netem's letters.

              p
        .---------->.
      GOOD         BAD       a trial (a packet, a bit) is an event with probability event_good or event_bad
        '<----------'
              r

Formulas: Hasslinger and Hohlfeld, "The Gilbert-Elliott model for packet loss in real time services on the Internet",
MMB 2008. All of them hold for a chain that starts stationary.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gocom.channel_emulator.fault_bases.fault import check_range
from gocom.common.errors import InvalidInput

_FEW = 1e-6
"""Below this expected number of moves in a run, two trials of the run are in the same state."""


@dataclass(frozen=True, slots=True)
class TwoStateChain:
    """A chain and what its states do.

    Attributes:
        p: probability of going from good to bad, above 0, to 1.
        r: probability of going from bad to good, above 0, to 1; the bad state lasts 1/r trials in the mean.
        event_bad: probability of an event in the bad state, 0 to 1.
        event_good: probability of an event in the good state, 0 to 1.

    Raises:
        InvalidInput: p or r out of range, or p + r above 1.
    """

    p: float
    r: float
    event_bad: float
    event_good: float

    def __post_init__(self) -> None:
        check_range("p", self.p, 0, 1, above=True)
        check_range("r", self.r, 0, 1, above=True)
        # Beyond 1 the states alternate instead of lasting, and no burst is as long as 1/r says.
        if self.p + self.r > 1:
            raise InvalidInput(f"p: p + r may not exceed 1, got {self.p:g} + {self.r:g}")

    @property
    def bad_share(self) -> float:
        """Long-run share of trials in the bad state."""
        return self.p / (self.p + self.r)

    @property
    def rate(self) -> float:
        """Long-run share of trials that are events."""
        return self.bad_share * self.event_bad + (1 - self.bad_share) * self.event_good

    @property
    def pair_rate(self) -> float:
        """Probability that two trials in a row are both events."""
        bad, e_b, e_g = self.bad_share, self.event_bad, self.event_good
        after_bad = (1 - self.r) * e_b + self.r * e_g
        after_good = (1 - self.p) * e_g + self.p * e_b
        return bad * e_b * after_bad + (1 - bad) * e_g * after_good

    def count_variance(self, trials: int) -> float:
        """Variance of the number of events in a run of n trials, exact for any n.

        n e (1-e) + 2 pi_G pi_B (e_B-e_G)^2 sum_{k=1}^{n-1} (n-k) lambda^k, with e the rate and lambda = 1-p-r.
        """
        n, moves, rate, bad = trials, self.p + self.r, self.rate, self.bad_share
        if n * moves < _FEW:  # the other form is a difference of two large numbers here
            pairs = n * (n - 1) / 2
        else:
            left = -math.expm1(n * math.log1p(-moves)) if moves < 1 else 1.0
            pairs = (1 - moves) * (n - left / moves) / moves
        return n * rate * (1 - rate) + 2 * bad * (1 - bad) * (self.event_bad - self.event_good) ** 2 * pairs

    def quiet_probability(self, trials: int) -> float:
        """Probability that none of n trials in a row is an event: pi (D P)^n 1, D the probabilities of no event."""
        moves = np.array([[1 - self.p, self.p], [self.r, 1 - self.r]])
        quiet = np.array([1 - self.event_good, 1 - self.event_bad])
        start = np.array([1 - self.bad_share, self.bad_share])
        return float(start @ np.linalg.matrix_power(quiet[:, None] * moves, trials) @ np.ones(2))
