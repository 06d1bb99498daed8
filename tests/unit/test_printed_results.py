"""What `gocom send` prints of its results, and what it calls its files: literally, in 80 columns, in linear time."""

import os
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from gocom.client import result_table
from gocom.client.output_files import RECEIVED, unique_names, write_pictures
from gocom.client.result_table import make_row, print_rows, summarize
from gocom.client.results import SendResult
from gocom.common.errors import GoComError
from gocom.common.printable_text import printable

PIXELS = np.full((64, 80, 3), 90, np.uint8)
RESULT = SendResult(
    "s/0", 0, "feature_imputing", 80, 64, 123_456, {}, 3, 200, 0, 12.3456, 1234, 1234, 1, 30.0, 0.9876,
    {"total": 12.34}, "reconstructed", "", "", original=PIXELS, image=PIXELS,
)  # fmt: skip


def printed(capsys, rows, pictures, columns=80):
    result_table.out.width = columns
    try:
        print_rows(rows, pictures)
    finally:
        result_table.out._width = None
    return capsys.readouterr().out


@pytest.mark.parametrize(
    "name", [":smile:", "[red]", "[/red]", "[link=x]", "caf\udce9", "a\nb", "\x1b[31m", "\u202egnp"]
)
def test_a_name_is_shown_literally(capsys, name):
    text = printed(capsys, [make_row(name, RESULT)], 2)
    assert printable(name) in text and "\x1b" not in text and "\u202e" not in text
    assert text.isprintable() or set(text) - {"\n"} == {c for c in text if c.isprintable()}
    assert f"{printable(name)}: no reason" in printed(capsys, [make_row(name, replace(RESULT, reason="no reason"))], 2)


def test_the_table_can_be_read_in_80_columns(capsys):
    rows = [make_row("a_photo_with_a_long_name_" * 4, RESULT), make_row("b", replace(RESULT, failure="undecodable"))]
    text = printed(capsys, rows, 2)
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    for word in ("reconstructed", "undecodable", "1234/1234", "123456", "12.3456", "0.9876", "MS-SSIM"):
        assert word in text, text
    assert text.splitlines()[-1] == "2 pictures: 1 reconstructed, 1 undecodable"


def test_a_narrow_terminal_gets_a_line_for_each_result(capsys):
    text = printed(capsys, [make_row("a", RESULT)], 1, columns=20)
    assert text.startswith("a: reconstructed, bytes 123456, bpp 12.3456, packets 1234/1234")


def test_the_summary_says_how_many_are_missing():
    assert summarize([make_row("a", RESULT)], 9) == "1 of 9 pictures: 1 reconstructed"


def test_rows_keep_no_picture():
    row = make_row("a", RESULT)
    assert not any(isinstance(value, np.ndarray | SendResult) for value in (getattr(row, n) for n in row.__slots__))


def test_two_thousand_names_are_made_unique_at_once():
    began = time.perf_counter()
    names = unique_names([Path(f"{i}/same.png") for i in range(2000)])
    assert time.perf_counter() - began < 1
    assert len(set(names)) == 2000 and names[:3] == ["same", "same-2", "same-3"]


def test_names_stay_unique_where_a_number_is_part_of_one():
    names = unique_names([Path(name) for name in ("a.png", "a-2.png", "a.jpg", "a-2.jpg", "a.bmp", "a-2-2.png")])
    assert len(set(names)) == 6 and names[:2] == ["a", "a-2"]


@pytest.mark.parametrize("letter", ["x", "é", "🦆", "\udce9"])
def test_a_long_name_is_shortened_and_its_pictures_are_written(letter, tmp_path):
    stem = letter * (251 // len(os.fsencode(letter)))
    names = unique_names([Path(f"{stem}.png")] * 3, f".{RESULT.codec}.{RECEIVED}")
    assert len(set(names)) == 3
    for name in names:
        assert os.fsencode(name).startswith(os.fsencode(letter) * 10)
        write_pictures(tmp_path, f"{name}.{RESULT.codec}", RESULT)
    assert len(list(tmp_path.iterdir())) == 6


def test_a_full_disk_is_a_failure_and_not_wrong_input(tmp_path, monkeypatch):
    def full(self, *_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save", full)
    with pytest.raises(GoComError, match="out: cannot write to .*: No space left") as caught:
        write_pictures(tmp_path, "a.jpeg", RESULT)
    assert type(caught.value) is GoComError
