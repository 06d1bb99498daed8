"""How many pictures and seeds each part takes: what decides how long the study runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Pictures of each set that a part uses (fewer where a set has fewer), and channel seeds where there is loss."""

    imputing_spatial: int = 160
    imputing_others: int = 40
    imputing_seeds: int = 5
    orders: int = 40
    orders_seeds: int = 3
    power: int = 60
    power_seeds: int = 2
    steps: int = 24
    steps_seeds: int = 2
    invention: int = 48
    invention_seeds: int = 2
    invention_draws: int = 4
    tasks: int = 80
    tasks_seeds: int = 3
    coding: int = 24
    coding_seeds: int = 3
    peers: int = 80
    peers_seeds: int = 3
    protection: int = 60
    protection_seeds: int = 3


COUNTS = Counts()
