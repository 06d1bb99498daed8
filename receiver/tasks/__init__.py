"""Tasks of the consumer, one file each. A file registers its task with TASKS when the registry is first asked for it.

Importing a file must not import its net: the names of all tasks are listed where no net is installed, too.
"""

from __future__ import annotations

from collections.abc import Callable

from gocom.common.errors import InvalidInput, UnknownName
from gocom.common.registry import Registry
from gocom.common.tasks import Task
from gocom.common.zoo import Zoo

TASKS: Registry[Callable[[Zoo], Task]] = Registry("task", "gocom.receiver.tasks")
"""Registry of task names and task factories, which take the zoo and raise NotReady if a net is missing.
"""


class LoadedTasks:
    """The tasks of a receiver, each of which is loaded at its first use and kept.

    Args:
        zoo: the nets of the process.
    """

    def __init__(self, zoo: Zoo) -> None:
        self._zoo = zoo
        self._tasks: dict[str, Task] = {}

    def loaded(self, name: str) -> Task | None:
        """Return a task if it is loaded, else None."""
        return self._tasks.get(name)

    def get(self, name: str) -> Task:
        """Return a task. Call it only in the thread that runs the nets.

        Raises:
            InvalidInput: no task of that name is registered; the message lists the choices.
            NotReady: a net of the task is missing.
        """
        if name not in self._tasks:
            try:
                make = TASKS.get(name)
            except UnknownName as error:
                raise InvalidInput(str(error)) from None
            self._tasks[name] = make(self._zoo)
        return self._tasks[name]
