"""The process that an object belongs to: in a fork gRPC has lost its threads, and a call would never end."""

from __future__ import annotations

import os

from gocom.common.errors import InvalidInput


class OwnProcess:
    """Record of the process in which an object was made.

    Args:
        what: name of the object, for messages.

    Attributes:
        closed: whether the object was closed; set by the object.
    """

    def __init__(self, what: str) -> None:
        self.closed = False
        self._what, self._pid = what, os.getpid()

    @property
    def is_this(self) -> bool:
        """Whether this is the process in which the object was made, and not a fork of it."""
        return os.getpid() == self._pid

    def check(self) -> None:
        """Raise InvalidInput in a fork of the process in which the object was made, or if the object was closed."""
        if self.closed:
            raise InvalidInput(f"{self._what}: is closed")
        if not self.is_this:
            raise InvalidInput(
                f"{self._what}: belongs to process {self._pid}, of which this one is a fork, where gRPC does not work; "
                'start processes with multiprocessing.get_context("spawn"), and make a client in each'
            )


_users: list[OwnProcess] = []
"""The process in which gRPC was first used, once it was."""


def note_use() -> None:
    """Note that this process uses gRPC. Raises InvalidInput in a fork of a process that had used it before."""
    if not _users:
        _users.append(OwnProcess("gRPC"))
    check_use()


def check_use() -> None:
    """Raise InvalidInput in a fork of a process that had used gRPC before, even if all its channels were closed."""
    for user in _users:
        user.check()
