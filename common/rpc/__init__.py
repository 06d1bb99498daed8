"""Common parts of all gRPC servers and clients: statuses, limits, security, health, draining."""
