"""The channel emulator service: what happens to packets between transmitter and receiver. It does not use torch."""
