"""Transmission resources of a round, power and repair packets, and their allocation to packets."""
