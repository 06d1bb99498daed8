"""A work over processes: what is done is kept, and a run goes on where another one ended."""

import sys

import pytest
from toy_work import Qualities

from gocom.common.errors import InvalidInput, NotReady, UnknownName
from gocom.evaluation.run.measure import measure


def rows(store, work):
    return [row for task in work.tasks() for row in store.read(task).rows]


@pytest.mark.slow
def test_a_run_whose_process_died_goes_on(tmp_path):
    (tmp_path / "once").touch()
    work = Qualities(6, 3, "once", tmp_path)
    with pytest.raises(NotReady, match="workers: a process died"):
        measure(work, tmp_path / "out", workers=2, device="cpu")
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "parts").glob("*.json")}
    assert 0 < len(kept) < 6
    found = measure(work, tmp_path / "out", workers=2, device="cpu")
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    alone = measure(work, tmp_path / "alone", device="cpu")
    assert len(rows(found, work)) == 18 and rows(found, work) == rows(alone, work)


def test_what_is_done_is_not_done_again(tmp_path):
    with pytest.raises(InvalidInput, match="not to this worker's taste"):
        measure(Qualities(4, 2, "refuses"), tmp_path, device="cpu")
    store = measure(Qualities(4, 2), tmp_path, device="cpu")
    assert store.record == {"device": "cpu", "tasks": 4, "seeds": 2} and not store.missing(Qualities(4, 2).tasks())
    # Nothing is left to do: a fault has no chance.
    assert len(rows(measure(Qualities(4, 2, "refuses"), tmp_path, device="cpu"), Qualities(4, 2))) == 8
    assert store.read(Qualities(4, 2).tasks()[3]).arrays["seeds"].tolist() == [0, 1]
    with pytest.raises(InvalidInput, match="has an evaluation with other seeds; choose another"):
        measure(Qualities(4, 3), tmp_path, device="cpu")


def test_two_processes_do_not_measure_in_one_folder(tmp_path):
    work = Qualities(2, 1)
    store = measure(work, tmp_path, device="cpu")
    with store.alone(), pytest.raises(InvalidInput, match="out: another process is measuring in"):
        measure(work, tmp_path, device="cpu")
    measure(work, tmp_path, device="cpu")


def test_an_engine_that_there_is_not(tmp_path, monkeypatch):
    with pytest.raises(UnknownName, match="engine: no 'dask'; there are processes, ray"):
        measure(Qualities(), tmp_path, pool="dask")
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "gocom.evaluation.run.ray_pool", raising=False)
    with pytest.raises(NotReady, match=r"engine: ray is not installed; pip install 'gocom\[ray\]'"):
        measure(Qualities(), tmp_path, device="cpu", pool="ray")
