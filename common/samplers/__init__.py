"""Samplers: how a net's predictions become a picture's tokens or latents. Nets are in common/nets."""
