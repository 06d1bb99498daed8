"""The two-state Markov chain of Gilbert (1960) and Elliott (1963) in closed form, with the parameter names of netem.

              p
        .---------->.
      GOOD         BAD       a trial (a packet, a bit) is an event with probability event_good or event_bad
        '<----------'
              r

Formulas: Hasslinger and Hohlfeld, "The Gilbert-Elliott model for packet loss in real time services on the Internet",
MMB 2008. All formulas hold for a chain that starts in its stationary distribution.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from gocom.channel_emulator.fault_bases.fault import check_range
from gocom.common.errors import InvalidInput

_FEW_CHANGES = 1e-6
"""Expected number of state changes in a run below which all its trials are taken to be in the same state."""


@dataclass(frozen=True, slots=True)
class TwoStateChain:
    """A two-state chain and the event probabilities of its states.

    Attributes:
        p: probability of going from good to bad, above 0, to 1.
        r: probability of going from bad to good, above 0, to 1; the bad state lasts 1/r trials on average.
        event_bad: probability of an event in the bad state, 0 to 1.
        event_good: probability of an event in the good state, 0 to 1.

    Raises:
        InvalidInput: p or r is out of range, or p + r is above 1.
    """

    p: float
    r: float
    event_bad: float
    event_good: float

    def __post_init__(self) -> None:
        check_range("p", self.p, 0, 1, above=True)
        check_range("r", self.r, 0, 1, above=True)
        # Above 1 the states would tend to alternate instead of lasting, unlike the bursts that are modelled here.
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
        """Probability that two consecutive trials are both events."""
        bad, e_b, e_g = self.bad_share, self.event_bad, self.event_good
        after_bad = (1 - self.r) * e_b + self.r * e_g
        after_good = (1 - self.p) * e_g + self.p * e_b
        return bad * e_b * after_bad + (1 - bad) * e_g * after_good

    def count_variance(self, trials: int) -> float:
        """Return the variance of the number of events in a run of n trials, exact for any n.

        n e (1-e) + 2 pi_G pi_B (e_B-e_G)^2 sum_{k=1}^{n-1} (n-k) lambda^k, with e the rate and lambda = 1-p-r.
        """
        n, change_rate, rate, bad = trials, self.p + self.r, self.rate, self.bad_share
        if n * change_rate < _FEW_CHANGES:  # the other form would be a difference of two large numbers
            pairs = n * (n - 1) / 2
        else:
            decayed = -math.expm1(n * math.log1p(-change_rate)) if change_rate < 1 else 1.0
            pairs = (1 - change_rate) * (n - decayed / change_rate) / change_rate
        return n * rate * (1 - rate) + 2 * bad * (1 - bad) * (self.event_bad - self.event_good) ** 2 * pairs

    def quiet_probability(self, trials: int) -> float:
        """Return the probability of no event in n consecutive trials: pi (D P)^n 1, where D = diag(1 - event rates)."""
        transitions = np.array([[1 - self.p, self.p], [self.r, 1 - self.r]])
        quiet = np.array([1 - self.event_good, 1 - self.event_bad])
        start = np.array([1 - self.bad_share, self.bad_share])
        return float(start @ np.linalg.matrix_power(quiet[:, None] * transitions, trials) @ np.ones(2))
