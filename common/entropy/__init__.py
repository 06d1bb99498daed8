"""Entropy coding with integer tables that ship with the weights; every packet is coded on its own."""
