"""Each service killed again and again while pictures flow: none may be lost, and none may come twice.

GOCOM_KILL_IMAGES and GOCOM_KILLS say how many pictures, and how many kills of each service.
"""

import io
import os
import random
import threading

import numpy as np
import pytest
from PIL import Image

from gocom.client.local_stack import SERVICES, LocalStack

IMAGES = int(os.environ.get("GOCOM_KILL_IMAGES", "1000"))
KILLS = int(os.environ.get("GOCOM_KILLS", "20"))
SEED = 4


def pictures(count):
    """Different tiny pictures, so that one in the place of another would show."""
    for index in range(count):
        pixels = np.full((64, 64, 3), (index % 256, index // 256 * 16, 128), np.uint8)
        out = io.BytesIO()
        Image.fromarray(pixels).save(out, "PNG")
        yield out.getvalue()


def plan(images, kills):
    """Result number -> the service that is killed when it is there."""
    draw = random.Random(SEED)
    points = draw.sample(range(5, images - 5), kills * len(SERVICES))
    names = list(SERVICES) * kills
    draw.shuffle(names)
    return dict(zip(points, names, strict=True))


class Killer(threading.Thread):
    """Kills and starts services one after the other, while the pictures go on."""

    def __init__(self, stack, how="kill"):
        super().__init__(daemon=True)
        self.end = getattr(stack, how)
        self.stack, self.todo, self.seconds = stack, [], {name: [] for name in SERVICES}
        self.ends, self.errors = [], []
        self._wake, self._done = threading.Condition(), False

    def kill(self, name):
        with self._wake:
            self.todo.append(name)
            self._wake.notify()

    def finish(self):
        with self._wake:
            self._done = True
            self._wake.notify()
        self.join(120)

    def run(self):
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self.todo or self._done)
                if not self.todo:
                    return
                name = self.todo.pop(0)
            try:
                self.ends.append(self.end(name))
                self.seconds[name].append(self.stack.start_one(name))
            except Exception as error:
                self.errors.append(error)


def stream_and_kill(client, killer, kills, images, **options):
    """Results of a stream during which services are killed as planned."""
    results = []
    for result in client.send(pictures(images), codec="jpeg", options={"quality": 90}, timeout_s=120, **options):
        results.append(result)
        if name := kills.get(len(results)):
            killer.kill(name)
    return results


@pytest.mark.timeout(1800)
def test_nothing_is_lost_and_nothing_comes_twice(tmp_path):
    with LocalStack(codecs=("jpeg",), log_folder=tmp_path / "logs") as stack, stack.client() as client:
        killer = Killer(stack)
        killer.start()
        results = stream_and_kill(client, killer, plan(IMAGES, KILLS), IMAGES)
        killer.finish()
    assert not killer.errors and {n: len(s) for n, s in killer.seconds.items()} == dict.fromkeys(SERVICES, KILLS)
    assert [r.frame_index for r in results] == list(range(IMAGES)), "each once, in order"
    assert [(r.frame_index, r.reason) for r in results if r.outcome != "reconstructed"] == []
    assert all(r.psnr_db is not None and r.psnr_db > 30 for r in results), "each is its own picture"
    cut = [r for r in results if r.bytes_resent]
    starts = {name: f"{sum(s) / len(s):.1f} s" for name, s in killer.seconds.items()}
    print(f"{IMAGES} pictures, {KILLS} kills a service; {len(cut)} began again; mean restart {starts}")


@pytest.mark.timeout(600)
def test_services_that_are_told_to_stop_finish_what_they_have(tmp_path):
    images, stops = 240, 5
    with LocalStack(codecs=("jpeg",), log_folder=tmp_path / "logs") as stack, stack.client() as client:
        killer = Killer(stack, "terminate")
        killer.start()
        results = stream_and_kill(client, killer, plan(images, stops), images)
        killer.finish()
    assert not killer.errors
    assert [(r.frame_index, r.outcome) for r in results] == [(i, "reconstructed") for i in range(images)]
    assert max(killer.ends) < 3, "none waits for its grace to run out"


@pytest.mark.timeout(600)
def test_kills_do_not_change_a_result(tmp_path):
    """Losses are drawn from frame and packet numbers, so a frame that begins again meets the same ones."""
    images, kills = 120, 3
    options = {"max_rounds": 3, "size": None, "seed": 1}

    def run(folder, planned):
        spec = "packet_erasure:rate=0.15"
        with LocalStack(spec, codecs=("jpeg",), log_folder=folder) as stack, stack.client() as client:
            killer = Killer(stack)
            killer.start()
            results = stream_and_kill(client, killer, planned, images, **options)
            killer.finish()
        assert not killer.errors
        return results

    calm, rough = run(tmp_path / "calm", {}), run(tmp_path / "rough", plan(images, kills))
    assert any(r.rounds > 1 for r in calm) and any(r.bytes_resent for r in rough)
    for one, other in zip(calm, rough, strict=True):
        assert one.outcome == other.outcome and one.psnr_db == other.psnr_db
        assert one.packets_received == other.packets_received
