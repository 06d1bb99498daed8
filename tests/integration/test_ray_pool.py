"""A work over a Ray cluster whose machines die comes to the rows of one machine."""

import os
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from toy_work import Qualities

from gocom.common.errors import InvalidInput, NotReady
from gocom.evaluation.run.measure import measure

ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'gocom[ray]'")
from ray.cluster_utils import Cluster  # noqa: E402 - of what may be missing

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
NODE = {"num_cpus": 1, "object_store_memory": 80 << 20, "include_dashboard": False}


@pytest.fixture(scope="module")
def cluster():
    """One machine with one CPU, where actors find what tests import."""
    with pytest.MonkeyPatch.context() as patch:
        paths = [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        cluster = Cluster(initialize_head=True, head_node_args=NODE)
        yield cluster
        cluster.shutdown()


def rows(store, work):
    return [row for task in work.tasks() for row in store.read(task).rows]


def over_ray(work, out, address, workers=None):
    return measure(work, out, workers=workers, device="cpu", pool="ray", ray_address=address)


def test_a_machine_that_dies_changes_no_row(cluster, tmp_path):
    work, doomed = Qualities(), cluster.add_node(**NODE)
    cluster.wait_for_nodes()
    parts, killed = tmp_path / "ray" / "parts", list[int]()

    def kill() -> None:
        while len(list(parts.glob("*.json"))) < 30:
            time.sleep(0.02)
        killed.append(len(list(parts.glob("*.json"))))
        cluster.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    found = over_ray(work, tmp_path / "ray", cluster.address)
    killer.join()
    assert 30 <= killed[0] < 90
    by_process = Counter(found.read(task).timings[0]["process"] for task in work.tasks())
    assert len(by_process) == 2 and sum(by_process.values()) == 100  # the other one did the rest
    wanted = measure(work, tmp_path / "processes", workers=2, device="cpu")
    assert len(rows(found, work)) == 2000 and rows(found, work) == rows(wanted, work)
    assert len(list(parts.iterdir())) == 2 * len(work.tasks())
    assert all((found.read(task).arrays["seeds"] == wanted.read(task).arrays["seeds"]).all() for task in work.tasks())


def test_a_task_whose_actor_dies_is_done_by_another(cluster, tmp_path):
    (tmp_path / "once").touch()
    work = Qualities(5, 2, "once", tmp_path)
    found = over_ray(work, tmp_path / "out", cluster.address)
    by_process = Counter(found.read(task).timings[0]["process"] for task in work.tasks())
    assert sorted(by_process.values()) == [2, 3] and len(rows(found, work)) == 10
    assert not (tmp_path / "once").exists()


def test_a_task_that_kills_all_ends_the_run(cluster, tmp_path):
    with pytest.raises(NotReady, match="3 died at quality-002 .*; the same command goes on"):
        over_ray(Qualities(5, 2, "always"), tmp_path, cluster.address)
    assert len(list((tmp_path / "parts").glob("*.json"))) == 2


def test_errors_of_the_work_come_as_they_are(cluster, tmp_path):
    with pytest.raises(InvalidInput, match="^quality: 2 is not to this worker's taste$"):
        over_ray(Qualities(5, 2, "refuses"), tmp_path, cluster.address)


def test_a_machine_with_other_nets_is_named(cluster, tmp_path):
    with pytest.raises(InvalidInput, match="ray: the machine .* has other process$"):
        over_ray(Qualities(5, 2, "differs"), tmp_path, cluster.address)


def test_no_cluster_at_the_address(tmp_path):
    with pytest.raises(NotReady, match="ray_address: no cluster at 127.0.0.1:1"):
        over_ray(Qualities(5, 2), tmp_path, "127.0.0.1:1")
