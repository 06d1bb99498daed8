"""How many pictures and seeds each part takes: what decides how long the study runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Counts:
    """Pictures of each set that a part uses (fewer where a set has fewer), and channel seeds where there is loss."""

    clean: int = 24
    imputing_least: int = 500
    imputing_spatial: int = 90
    imputing_others: int = 16
    imputing_seeds: int = 5
    imputing_drawn_seeds: int = 1
    orders: int = 16
    orders_seeds: int = 2
    power: int = 40
    power_seeds: int = 2
    steps: int = 16
    steps_seeds: int = 1
    invention: int = 16
    invention_seeds: int = 1
    invention_draws: int = 4
    tasks: int = 28
    tasks_seeds: int = 2
    coding: int = 12
    coding_seeds: int = 2
    peers: int = 28
    peers_seeds: int = 3
    protection: int = 28
    protection_seeds: int = 2


COUNTS = Counts()
