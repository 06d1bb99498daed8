"""Tasks without nets for tests of the services."""

import threading

from gocom.common.errors import NotReady
from gocom.common.tasks import LabelConfidence, TaskResult
from gocom.receiver.tasks import TASKS

LABELS = ("nothing", "something", "anything")


class LitTask:
    """The share of pixels that are not black; of the toy codec's ramp 15/16 if no patch is missing."""

    label_names = LABELS

    def __init__(self, device):
        self.device = device

    def run(self, image, labels=()):
        share = float((image > 0).mean())
        found = sorted(((1, share), (0, 1 - share)), key=lambda entry: -entry[1])
        return TaskResult("lit", tuple(LabelConfidence(i, LABELS[i], c) for i, c in found), share)


class BrokenTask(LitTask):
    def run(self, image, labels=()):
        raise RuntimeError("the toy task fell over")


class SlowTask(LitTask):
    """Takes as long to load as a test lets it: until `proceed` is set. `loading` is set when that begins."""

    loading, proceed = threading.Event(), threading.Event()

    def __init__(self, device):
        self.loading.set()
        assert self.proceed.wait(100)


class MissingTask(LitTask):
    def __init__(self, device):
        raise NotReady("task missing: its net is not installed")


if "lit" not in TASKS:
    TASKS.add("lit", LitTask)
    TASKS.add("broken", BrokenTask)
    TASKS.add("missing", MissingTask)
    TASKS.add("slow", SlowTask)
