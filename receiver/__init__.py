"""The receiver: decoders, link streams, records of the pictures of each session, and the service."""
