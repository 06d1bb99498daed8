"""The transmitter: encoders that turn images into GO-messages, client sessions, and the service."""
