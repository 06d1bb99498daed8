"""Images in, GO-messages out: encoders, the session of a client, and the service."""
