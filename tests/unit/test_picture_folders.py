"""Folders and tars with bad items among their pictures: those are named, and everything else is used."""

import bz2
import errno
import gzip
import io
import lzma
import os
import tarfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gocom.common.image_files
from gocom.client.picture_input import check_sources, load_picture
from gocom.client.sent_frame import SentFrame
from gocom.common.errors import InvalidInput
from gocom.common.image_decoding import DecodedImage
from gocom.common.image_files import SUFFIXES, list_images, list_skipped, png_bytes, read_samples

GOOD = png_bytes(np.full((64, 64, 3), 90, np.uint8))


@pytest.fixture
def folder(tmp_path):
    """Pictures a.png and z.png, and between them what only looks like one."""
    (tmp_path / "a.png").write_bytes(GOOD)
    (tmp_path / "z.png").write_bytes(GOOD)
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.jpg").write_text("not a picture")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7")
    return tmp_path


def test_a_folder_lists_what_should_be_a_picture(folder):
    names = [path.name for path in list_images([folder])]
    assert names == ["a.png", "empty.png", "link.png", "pipe.png", "text.jpg", "z.png"]


def test_reading_a_folder_leaves_out_bad_pictures_with_their_names(folder):
    reasons = []
    assert [sample.key for sample in read_samples(folder, reasons.append)] == ["a", "z"]
    said = dict(zip(["empty.png", "link.png", "pipe.png", "text.jpg"], reasons, strict=True))
    assert all(name in reason and "\n" not in reason for name, reason in said.items())
    assert "empty" in said["empty.png"] and "No such file" in said["link.png"]
    assert "not a regular file" in said["pipe.png"] and "not a readable image" in said["text.jpg"]


@pytest.mark.parametrize("name", ["empty.png", "link.png", "pipe.png", "text.jpg", "folder.png", "none.png", "a\0.png"])
def test_a_bad_picture_of_its_own_is_refused_by_name(folder, name):
    with pytest.raises(InvalidInput, match="image "):
        load_picture(folder / name)


def test_a_path_of_bytes_is_read_or_refused_by_name(folder):
    with os.scandir(os.fsencode(folder)) as entries:
        frames = {os.fsdecode(entry.name): SentFrame.load(0, entry, None) for entry in entries}
    assert frames["a.png"].picture.pixels.shape == (64, 64, 3)
    assert "text.jpg': not a readable image" in frames["text.jpg"].unreadable


def test_a_disk_that_fails_between_two_readings_is_named(folder, monkeypatch):
    class Failing(io.BytesIO):
        def read(self, size=-1):
            raise OSError(errno.EIO, "Input/output error")

    decoded = DecodedImage(np.full((64, 64, 3), 90, np.uint8), (64, 64))
    monkeypatch.setattr("gocom.client.picture_input.open_image_file", lambda path, name: Failing(GOOD))
    monkeypatch.setattr("gocom.client.picture_input.decode_file", lambda file, field_name: decoded)
    with pytest.raises(InvalidInput, match=r"^image '.*a\.png': Input/output error$"):
        load_picture(folder / "a.png")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_picture_without_permission_is_refused_by_name(folder):
    (folder / "a.png").chmod(0)
    with pytest.raises(InvalidInput, match=r"a\.png': Permission denied"):
        load_picture(folder / "a.png")


def test_the_name_of_a_picture_that_is_left_out_cannot_steer_the_terminal(tmp_path, capsys):
    (tmp_path / "a\x1b[2J\nb.png").write_text("not a picture")
    assert list(read_samples(tmp_path)) == []
    said = capsys.readouterr().err
    assert r"a\x1b[2J\nb.png: not a readable image" in said and "\x1b" not in said and said.count("\n") == 1


def test_a_missing_file_among_others_is_an_item_and_alone_an_error(folder):
    assert list_images([folder / "none.png", folder / "a.png"]) == [folder / "none.png", folder / "a.png"]
    with pytest.raises(InvalidInput, match=r"no file or folder '.*none\.png'"):
        list_images([folder / "none.png"])
    with pytest.raises(InvalidInput, match="no file or folder"):
        list_images([Path("x" * 300 + ".png")])


def test_skipped_files_are_those_that_may_be_pictures(folder):
    for name in ("b.heic", "c.cr2", "noise", "notes.txt", "a.json", ".hidden.heic", "Thumbs.db"):
        (folder / name).touch()
    (folder / "more").mkdir()
    assert [path.name for path in list_skipped([folder])] == ["b.heic", "c.cr2", "folder.png", "more", "noise"]
    assert list_skipped([folder / "b.heic"]) == []  # given by name: it is read, or refused


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_suffix_of_a_folder_is_one_that_is_read(tmp_path, suffix):
    kinds = {".jpe": "JPEG", ".jfif": "JPEG", ".mpo": "JPEG", ".j2c": "JPEG2000", ".dib": "BMP", ".pbm": "PPM"}
    kind = kinds.get(suffix) or Image.registered_extensions()[suffix]
    picture = Image.fromarray(np.full((64, 64, 3), 90, np.uint8))
    picture.convert("1" if suffix == ".pbm" else "RGB").save(tmp_path / f"a{suffix.upper()}", kind)
    (sample,) = read_samples(tmp_path)
    assert sample.pixels.shape == (64, 64, 3)


def test_a_wrong_suffix_does_not_matter(tmp_path):
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png", "JPEG")
    assert [sample.key for sample in read_samples(tmp_path)] == ["a"]


def tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_a_bad_member_of_a_tar_is_left_out_with_its_name(tmp_path):
    members = {
        "._a.png": b"\0\5\x16\7", "a.png": GOOD, "a.cls": b"3", "b.png": b"", "c.txt": b"no picture", "d.png": GOOD,
        "d.cls": b"three", "e.png": GOOD, "e.txt": b"\xff\xfe", "z.png": GOOD, "z.txt": b"a caption",
    }  # fmt: skip
    reasons = []
    samples = list(read_samples(tar(tmp_path / "some.tar", members), reasons.append))
    assert [(sample.key, sample.label, sample.captions) for sample in samples] == [
        ("a", 3, ()), ("z", None, ("a caption",)),
    ]  # fmt: skip
    assert [reason.split(": ")[1].split(".")[0] for reason in reasons] == ["b", "c", "d", "e"]
    assert all("some.tar: " in reason for reason in reasons)


def test_a_tar_that_is_cut_off_gives_what_it_has(tmp_path):
    path, reasons = tar(tmp_path / "some.tar", {"a.png": GOOD, "b.png": GOOD, "c.png": GOOD * 30}), []
    path.write_bytes(path.read_bytes()[:3000])
    assert [sample.key for sample in read_samples(path, reasons.append)] == ["a", "b"]
    assert len(reasons) == 1 and "from sample" in reasons[0]


@pytest.mark.parametrize("pack", [gzip.compress, partial(bz2.compress, compresslevel=1), lzma.compress])
@pytest.mark.parametrize("damaged", [False, True])
def test_a_compressed_tar_that_is_cut_off_or_damaged_gives_what_it_has(tmp_path, pack, damaged):
    noise = png_bytes(np.random.default_rng(3).integers(0, 255, (100, 200, 3), np.uint8))
    path, reasons = tar(tmp_path / "some.tar", {f"{name}.png": noise for name in "abcdef"}), []
    packed = pack(path.read_bytes())
    half = len(packed) // 2
    path.write_bytes(packed[:half] + (bytes(99) + packed[half + 99 :] if damaged else b""))
    keys = [sample.key for sample in read_samples(path, reasons.append)]
    assert set(keys) < set("abcdef")
    assert reasons and all("some.tar: " in reason and "\n" not in reason for reason in reasons)


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_tar_without_a_whole_member_is_refused_by_name(tmp_path, pack):
    path = tar(tmp_path / "some.tar", {"a.png": GOOD})
    path.write_bytes(pack(path.read_bytes())[:40])
    with pytest.raises(InvalidInput, match=r"some\.tar: not a readable tar"):
        list(read_samples(path))


def test_a_tar_may_be_large_but_none_of_its_members(tmp_path, monkeypatch):
    members = {"a.png": GOOD, "b.png": GOOD, "b.mp4": bytes(5000), "b.txt": b"a film", "c.png": GOOD}
    path, reasons = tar(tmp_path / "some.tar", members), []
    monkeypatch.setattr(gocom.common.image_files, "MAX_FILE_BYTES", 4000)
    assert path.stat().st_size > 4000
    assert [sample.key for sample in read_samples(path, reasons.append)] == ["a", "c"]
    assert reasons == [f"{path}: 'b.mp4' has 5000 bytes; a member may have 4000"]


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE])
def test_an_impossible_length_in_a_tar_is_reported_by_name(tmp_path, kind):
    path, reasons = tar(tmp_path / "some.tar", {"a.png": GOOD}), []
    info = tarfile.TarInfo("b.png")
    info.size, info.type = 1 << 70, kind
    whole = path.read_bytes()
    path.write_bytes(whole[: 512 + -(-len(GOOD) // 512) * 512] + info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
    assert len(list(read_samples(path, reasons.append))) <= 1
    assert "some.tar: everything from sample" in reasons[-1]


def test_pictures_of_the_same_name_in_two_folders_of_a_tar_are_two_samples(tmp_path):
    path = tar(tmp_path / "some.tar", {"cat/a.png": GOOD, "cat/a.cls": b"1", "dog/a.png": GOOD, "dog/a.cls": b"2"})
    assert [(sample.key, sample.label) for sample in read_samples(path)] == [("a", 1), ("a", 2)]


@pytest.mark.parametrize("content", [b"", b"no tar", GOOD])
def test_what_is_no_tar_is_refused_by_name(tmp_path, content):
    path = tmp_path / "some.tar"
    path.write_bytes(content)
    with pytest.raises(InvalidInput, match=r"some\.tar"):
        list(read_samples(path))


@pytest.mark.parametrize("bad", [None, 7, bytearray(GOOD), Image.new("RGB", (64, 64)), np.zeros((64, 64)), [GOOD]])
def test_of_a_list_what_is_no_picture_is_told_with_its_position(bad):
    with pytest.raises(InvalidInput, match=r"^images\[1\]: .*uint8 \[H, W, 3\]"):
        check_sources([GOOD, bad, GOOD])
