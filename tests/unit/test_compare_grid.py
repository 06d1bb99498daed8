"""What `gocom eval` is asked for: specs taken apart, rates, methods, sets; and errors that name the choices."""

import io
import json
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import gocom.common.image_files
from gocom.common.errors import BudgetTooSmall, GoComError, InvalidInput, UnknownName
from gocom.common.image_files import png_bytes
from gocom.common.types import LinkSettings
from gocom.evaluation.compare.grid import Grid, chosen, erasure_rate, make_grid, parse_rates, picture_set
from gocom.evaluation.compare.methods import Method, Protection, parse_methods, split_specs
from gocom.evaluation.compare.rows import COLUMNS, read_csv
from gocom.evaluation.compare.worker import Comparison
from gocom.evaluation.run.store import Store, write_csv


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in "fedcba":
        Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(tmp_path / f"{name}.png")
    return tmp_path


def test_specs_are_split_where_one_begins() -> None:
    text = "lami_go:masking=none,caption=x, jpeg ,clean,gilbert_elliott:p=0.02,r=0.25+bit_flip:rate=1e-4,webp"
    assert split_specs(text) == [
        "lami_go:masking=none,caption=x", "jpeg", "clean", "gilbert_elliott:p=0.02,r=0.25+bit_flip:rate=1e-4", "webp",
    ]  # fmt: skip


def test_a_classical_codec_is_compared_in_three_ways() -> None:
    names = [m.name for m in parse_methods(["lami_go:mask_ratio=0.3", "jpeg", "webp+fec", "avif:quality=20+none"])]
    assert names == ["lami_go:mask_ratio=0.3", "jpeg", "jpeg+fec", "jpeg+arq", "webp+fec", "avif:quality=20"]
    assert Method("jpeg", (), Protection.ARQ).classical and not Method("lami_go").classical


@pytest.mark.parametrize(
    ("specs", "kind", "words"),
    [
        (["jpg"], UnknownName, "no 'jpg'; there are avif, "),
        (["jpeg:qualty=3"], InvalidInput, "qualty: no such option; there are quality"),
        (["jpeg:quality=300"], InvalidInput, "quality: "),
        (["jpeg:quality"], InvalidInput, "option 'quality' is not KEY=VALUE"),
        (["jpeg+raid"], UnknownName, "no 'raid'; there are arq, fec, none"),
        (["lami_go+fec"], InvalidInput, "fec is for jpeg, jpeg2000, webp, avif"),
        (["jpeg", "jpeg+arq"], InvalidInput, "jpeg\\+arq given twice"),
    ],
)
def test_methods_that_there_are_not(specs: list[str], kind: type[GoComError], words: str) -> None:
    with pytest.raises(kind, match=words):
        parse_methods(specs)


def test_rates() -> None:
    assert parse_rates("0.06, 0.1,own") == (0.06, 0.1, None)
    for text in ("x", "0", "-1", "nan", "inf", "25", "", "0.1,0.10"):
        with pytest.raises(InvalidInput, match="rates: "):
            parse_rates(text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"channels": "clean,clean"}, "channels: one is given twice"),
        ({"channels": ""}, "channels: none given for images"),
        ({"channels": "packet_erasure:rate=2"}, "rate: "),
        ({"channels": "wormhole:rate=2"}, "no 'wormhole'"),
        ({"codecs": "jpeg:repair_overhead=1"}, "repair_overhead is chosen here; quality, scale may be given"),
        ({"first_seed": (1 << 32) - 1}, "seed: .* is not below"),
        ({"size": 32}, "size: 32 is not in 64 to 1024"),
        ({"codecs": ""}, "codecs: none given"),
    ],
)
def test_grids_that_cannot_be(folder: Path, changes: dict[str, object], words: str) -> None:
    made = {"rates": "own", "channels": "clean", "first_seed": 0, "size": 256, "codecs": "jpeg"} | changes
    with pytest.raises(GoComError, match=words):
        pictures = picture_set("images", folder, None, made["rates"], made["channels"], made["first_seed"], 2)
        make_grid([pictures], made["codecs"], made["size"], LinkSettings())
    with pytest.raises(InvalidInput, match="give --images, --labelled or both"):
        Grid((), (Method("jpeg"),))


def test_tasks_are_in_order_and_clean_channels_take_one_seed(folder: Path) -> None:
    pictures = picture_set("images", folder, 3, "0.1,own", "clean,packet_erasure:rate=0.2", 7, 5)
    grid = make_grid([pictures], "lami_go,jpeg+none", 256, LinkSettings())
    assert chosen(pictures) == [(0, "a"), (2, "c"), (4, "e")]
    assert pictures.seeds == (7, 8, 9, 10, 11) and pictures.seeds_of("clean") == (7,)
    tasks = list(grid.tasks())
    assert [(t.picture, t.method.name) for t in tasks[:3]] == [("a", "lami_go"), ("a", "jpeg"), ("c", "lami_go")]
    assert pictures.cases == 12 and grid.cases == 3 * 2 * 12 and grid.anchor == Method("lami_go")
    assert len({task.name for task in tasks}) == 6
    assert json.loads(json.dumps(grid.as_record()))["methods"] == ["lami_go", "jpeg"]


def test_two_pictures_of_one_name(folder: Path) -> None:
    Image.fromarray(np.zeros((64, 64, 3), np.uint8)).save(folder / "a.jpg")
    with pytest.raises(InvalidInput, match="two pictures are called 'a'"):
        chosen(picture_set("images", folder, None, "own", "clean", 0, 1))


def test_pictures_that_cannot_be_read_are_left_out_and_counted(folder: Path) -> None:
    (folder / "b.png").write_bytes(b"")
    pictures = picture_set("images", folder, None, "own", "clean", 0, 1)
    grid = make_grid([pictures], "jpeg", 256, LinkSettings())
    assert [name for _, name in chosen(pictures)] == ["a", "c", "d", "e", "f"]
    assert [index for index, _ in chosen(pictures)] == [0, 1, 2, 3, 4]
    assert (
        len(grid.unreadable) == 1
        and "b.png: not a readable image: the file is empty" in grid.unreadable[0]
        and grid.listed == 6
    )


def test_a_folder_in_which_nothing_can_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"junk")
    with pytest.raises(InvalidInput, match="images: none of 1 pictures can be read; .*a.png: not a readable image"):
        chosen(picture_set("images", tmp_path, None, "own", "clean", 0, 1))


def test_erasure_rate_of_channels() -> None:
    assert erasure_rate("clean", 105) == 0 and erasure_rate("packet_erasure:rate=0.2", 105) == pytest.approx(0.2)
    assert erasure_rate("bit_flip:rate=1e-3", 105) == pytest.approx(1 - 0.999**840)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    texts = {name: 'a, "b"\nc' for name, kind in COLUMNS.items() if kind is str}
    full = texts | {name: kind(7) / 3 if kind is float else 7 for name, kind in COLUMNS.items() if kind is not str}
    empty = full | {name: None for name, kind in COLUMNS.items() if kind is not str} | {"psnr_db": float("inf")}
    write_csv(tmp_path / "rows.csv", [full, empty], COLUMNS)
    assert read_csv(tmp_path / "rows.csv") == [full, empty]


def test_methods_that_look_alike_have_files_of_their_own(folder: Path) -> None:
    pictures = picture_set("images", folder, 1, "own", "clean", 0, 1)
    long = "x" * 255
    grid = make_grid([pictures], f"lami_go:caption=a?,lami_go:caption=a!,lami_go:caption={long}", 256, LinkSettings())
    names = [task.name for task in grid.tasks()]
    assert len(set(names)) == 3 and max(map(len, names)) < 100


@pytest.mark.parametrize(("label", "fits"), [("3", True), ("12", False), ("-1", False), (None, False)])
def test_labels_are_imagenettes_where_they_count(tmp_path: Path, label: str | None, fits: bool) -> None:
    tar = tmp_path / "pictures.tar"
    with tarfile.open(tar, "w") as archive:
        for name, data in (("a.png", png_bytes(np.zeros((64, 64, 3), np.uint8))), ("a.cls", (label or "").encode())):
            if data:
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    assert chosen(picture_set("images", tar, None, "own", "clean", 0, 1)) == [(0, "a")]
    if fits:
        assert chosen(picture_set("labelled", tar, None, "own", "clean", 0, 1)) == [(0, "a")]
    else:
        with pytest.raises(InvalidInput, match="labelled: 'a' has class .*; it must be 0 to 9"):
            chosen(picture_set("labelled", tar, None, "own", "clean", 0, 1))


def test_names_that_are_no_line_of_text(folder: Path) -> None:
    (folder / "a.png").rename(folder / "x\ny.png")
    with pytest.raises(InvalidInput, match="cannot be a picture's name"):
        chosen(picture_set("images", folder, None, "own", "clean", 0, 1))


def test_a_folder_takes_one_evaluation(folder: Path, tmp_path: Path) -> None:
    grid = make_grid([picture_set("images", folder, None, "own", "clean", 0, 1)], "jpeg", 64, LinkSettings())
    out = tmp_path / "out"
    work = Comparison(grid)
    Store(out, work.record())
    Store(out, work.record() | {"commit": "another"})
    with pytest.raises(InvalidInput, match="other engine; choose another"):
        Store(out, work.record() | {"engine": "services"})
    Image.fromarray(np.full((64, 64, 3), 9, np.uint8)).save(folder / "c.png")
    with pytest.raises(InvalidInput, match="other pictures; choose another"):
        Store(out, work.record())
    with pytest.raises(InvalidInput, match="cannot be made"):
        Store(folder / "a.png" / "out", work.record())


def test_another_tar_is_other_pictures_however_large_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write_tar(value: int) -> None:
        with tarfile.open(tmp_path / "some.tar", "w") as archive:
            data = png_bytes(np.full((64, 64, 3), value, np.uint8))
            info = tarfile.TarInfo("a.png")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

    write_tar(1)
    monkeypatch.setattr(gocom.common.image_files, "MAX_FILE_BYTES", 5000)
    sets = [picture_set("images", tmp_path / "some.tar", None, "own", "clean", 0, 1)]
    work = Comparison(make_grid(sets, "jpeg", 64, LinkSettings()))
    Store(tmp_path / "out", work.record())
    write_tar(2)
    with pytest.raises(InvalidInput, match="other pictures; choose another"):
        Store(tmp_path / "out", work.record())


def test_errors_come_whole_out_of_another_process() -> None:
    for error in (BudgetTooSmall("jpeg", 10, 400), UnknownName("codec", "jpg", ["webp", "jpeg"])):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error) and str(again) == str(error)
