"""Entropy coding with integer tables that ship with the models. Each packet is coded on its own."""
