"""Packets in, pictures out: decoders, samplers, the record of a session, and the service."""
