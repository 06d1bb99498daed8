"""Exit statuses of the `gocom` command; one that a signal ended has 128 plus the number of the signal."""

FAILURE = 1
"""A service or a picture failed."""
USAGE_ERROR = 2
"""The input is wrong."""
