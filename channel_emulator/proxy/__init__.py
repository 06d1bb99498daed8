"""Bytes in, bytes out: the two services that the emulator forwards."""
