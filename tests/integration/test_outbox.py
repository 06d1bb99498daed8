"""The outbox on its own, and a transmitter that finds its frames there."""

import asyncio
import os
import sqlite3
import stat

import pytest

from gocom.common.errors import GoComError, NotReady
from gocom.common.logs import configure
from gocom.transmitter import outbox as module
from gocom.transmitter.outbox import Outbox, outbox_path
from gocom.v1 import transmitter_pb2

DONE = [
    transmitter_pb2.TransmitResponse(frame_index=1, accepted=transmitter_pb2.FrameAccepted(width_px=64)),
    transmitter_pb2.TransmitResponse(frame_index=1, completed=transmitter_pb2.FrameCompleted(rounds=2)),
]


def request(index, size=100):
    return transmitter_pb2.TransmitRequest(session_id="s", frame_index=index, image=b"x" * size)


@pytest.fixture
async def opened(tmp_path):
    boxes = []

    async def make(path=tmp_path / "deep" / "outbox.sqlite", max_bytes=1 << 20):
        box = Outbox(path, max_bytes)
        await box.open()
        boxes.append(box)
        return box

    yield make
    for box in boxes:
        await box.close()


async def test_what_was_accepted_is_there_after_a_restart(opened, tmp_path):
    box = await opened()
    for index in (3, 1, 2):
        await box.accept("s", index, request(index))
    await box.accept("other", 1, request(1))
    box.end("s", 1, DONE)
    await box.close()
    again = await opened()
    assert await again.pending() == {"s": {3: 0, 2: 0}, "other": {1: 0}}
    assert await again.request("s", 3) == request(3)
    assert await again.ended("s", 1) == DONE
    assert await again.ended("s", 3) is None and await again.ended("s", 9) is None
    with pytest.raises(GoComError, match="frame 1 of session s"):
        await again.request("s", 1)
    assert stat.S_IMODE(os.stat(tmp_path / "deep" / "outbox.sqlite").st_mode) == 0o600


async def test_how_often_a_frame_was_begun_is_kept(opened):
    box = await opened()
    await box.accept("s", 1, request(1))
    await box.record_start("s", 1, 3)
    await box.close()
    again = await opened()
    assert await again.pending() == {"s": {1: 3}}


@pytest.mark.parametrize("version", [1, 2])
async def test_a_file_of_a_format_before_is_refused_by_name_and_left_alone(opened, tmp_path, version):
    """Its requests are those of another protocol."""
    path = tmp_path / "old.sqlite"
    with sqlite3.connect(path) as database:
        database.execute(
            "CREATE TABLE frames (number INTEGER PRIMARY KEY, session TEXT NOT NULL, frame INTEGER NOT NULL,"
            " request BLOB, events BLOB, UNIQUE (session, frame))"
        )
        data = request(4).SerializeToString()
        database.execute("INSERT INTO frames (session, frame, request) VALUES ('s', 4, ?)", (data,))
        database.execute(f"PRAGMA user_version = {version}")
    database.close()
    words = (
        rf"old\.sqlite: format {version}, written by an earlier version of gocom; this one reads format 3\. Let that"
    )
    with pytest.raises(NotReady, match=words):
        await opened(path)
    with sqlite3.connect(path) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (version,)
        assert database.execute("SELECT session, frame, request FROM frames").fetchall() == [("s", 4, data)]
    database.close()


async def test_a_refused_frame_is_known_as_ended(opened):
    box = await opened(None)
    box.end("s", 1, DONE)
    assert await box.ended("s", 1) == DONE and await box.pending() == {}


async def test_an_ended_frame_may_begin_anew_or_be_forgotten(opened):
    box = await opened(None)
    await box.accept("s", 1, request(1))
    box.end("s", 1, DONE)
    await box.accept("s", 1, request(1, 7))
    assert await box.pending() == {"s": {1: 0}} and await box.ended("s", 1) is None
    await box.accept("s", 2, request(2))
    box.end("s", 2, DONE)
    box.forget("s")
    assert await box.ended("s", 2) is None and await box.pending() == {"s": {1: 0}}
    box.forget("s", 1)
    assert await box.pending() == {}


async def test_a_full_outbox_makes_room_when_a_frame_ends(opened):
    box = await opened(None, 150)
    await box.accept("s", 1, request(1))
    await asyncio.wait_for(box.wait_for_room(), 1)
    await box.accept("s", 2, request(2))
    waiting = asyncio.create_task(box.wait_for_room())
    await asyncio.sleep(0.05)
    assert not waiting.done()
    box.end("s", 1, DONE)
    await asyncio.wait_for(waiting, 1)


async def test_events_of_the_oldest_are_forgotten(opened, monkeypatch):
    monkeypatch.setattr(module, "KEPT_ENDED", 10)
    monkeypatch.setattr(module, "_PRUNE_EVERY", 5)
    box = await opened(None)
    await box.accept("s", 99, request(99))
    for index in range(20):
        await box.accept("s", index, request(index))
        box.end("s", index, DONE)
    known = [index for index in range(20) if await box.ended("s", index)]
    assert known == list(range(10, 20)) and await box.pending() == {"s": {99: 0}}


async def test_two_transmitters_do_not_share_a_file(opened):
    await opened()
    with pytest.raises(NotReady, match="another transmitter uses it"):
        await opened()


async def test_a_file_that_is_none_of_ours_is_named(opened, tmp_path):
    path = tmp_path / "x.sqlite"
    path.write_bytes(b"a letter to my aunt, " * 100)
    with pytest.raises(NotReady, match=r"x\.sqlite: file is not a database"):
        await opened(path)
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("PRAGMA user_version = 7")
    database.close()
    with pytest.raises(NotReady, match="format 7, written by a later version of gocom; this one reads format 3"):
        await opened(path)


def test_where_it_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert outbox_path("off", 50051) is None and outbox_path("auto", 0) is None
    assert outbox_path("auto", 50051) == tmp_path / "gocom" / "transmitter-50051.sqlite"
    assert str(outbox_path("/a/b", 0)) == "/a/b"


async def test_a_full_disk_fails_the_frame_and_is_one_line_in_the_log(opened, capsys):
    configure(json=False)
    box = await opened()
    await box._run(lambda: box._database.execute("PRAGMA max_page_count = 1"))  # as a disk without room
    with pytest.raises(GoComError, match="outbox: the frame cannot be kept: database or disk is full"):
        await box.accept("s", 0, request(0, 1 << 20))
    box.end("s", 0, DONE * 4000)
    await box.pending()  # after what is written in the background
    (said,) = capsys.readouterr().err.splitlines()
    assert "outbox not written" in said and "error='database or disk is full'" in said and "outbox.sqlite" in said
