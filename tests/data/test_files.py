"""Which files a path names, and one error for each file that has no rows."""

import bz2
import gzip
import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest

from core.data.display import for_display
from core.data.files import file_kinds
from core.data.files.open_files import open_files
from core.problems import DataError

ROWS = b"q,a\nhi,ho\nyou,me\n"
HEADER = "the first row is read as the column names"
VALUES = [{"q": "hi", "a": "ho"}, {"q": "you", "a": "me"}]


def refusal(path) -> DataError:
    """The error with which a file is refused, when it is opened or while its rows are read; always one sentence."""
    with pytest.raises(DataError) as caught:
        list(open_files(str(path)))
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    return caught.value


def values_of(path) -> list[dict]:
    return [row.values for row in open_files(str(path))]


def zipped(*names: str) -> bytes:
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w") as archive:
        for name in names:
            archive.writestr(name, "x")
    return held.getvalue()


def tarred() -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("a.csv"))
    return held.getvalue()


@pytest.mark.parametrize(("name", "content", "reason"), [
    ("a.csv", zipped("xl/workbook.xml"), file_kinds.EXCEL),
    ("a.xlsx", b"PK\x03\x04 cut off", file_kinds.EXCEL),
    ("a.XLS", b"anything", file_kinds.EXCEL),
    ("a.json", zipped("a.csv"), file_kinds.ZIP),
    ("a.csv", b"PK\x03\x04 cut off", file_kinds.ZIP),
    ("a.zip", zipped("a.csv"), file_kinds.ZIP),
    ("a.txt", zipped("word/document.xml"), file_kinds.DOCUMENT),
    ("a.pdf", b"%PDF-1.7", file_kinds.DOCUMENT),
    ("a.txt", b"%PDF-1.7 ...", file_kinds.DOCUMENT),
    ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(999),
     file_kinds.OLD_OFFICE),
    ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
     file_kinds.GIT_LFS),
    ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
     file_kinds.GIT_LFS),
    ("a.json", b"\n<!DOCTYPE html><html><head>",
     file_kinds.WEB_PAGE),
    ("a.tar.gz", gzip.compress(tarred(), mtime=0), file_kinds.ARCHIVE),
    ("a.csv.gz", gzip.compress(tarred(), mtime=0), file_kinds.ARCHIVE),
    ("a.csv", tarred(), file_kinds.ARCHIVE),
    ("a.jsonl.xz", b"\xfd7zXZ\x00", file_kinds.ARCHIVE),
    ("a.pkl", pickle.dumps({}),
     file_kinds.PICKLE),
    ("a.csv", pickle.dumps([{"q": "a" * 99}]),
     file_kinds.PICKLE),
    ("model.safetensors", b"xyz", file_kinds.WEIGHTS),
    ("a.arrow", b"ARROW1", file_kinds.ARROW),
    ("a.csv", b"ARROW1\x00\x00" + bytes(99), file_kinds.ARROW),
    ("a.sqlite", b"SQLite format 3\x00", file_kinds.DATABASE),
    ("a.csv", bytes(range(256)) * 9, file_kinds.NOT_TEXT),
    ("a.txt", b"\x89PNG\r\n\x1a\n" + bytes(99), file_kinds.NOT_TEXT),
    ("a.csv", b"", file_kinds.EMPTY),
    ("a.csv", b" \r\n\t\n", file_kinds.EMPTY),
    ("a.json", b"\xef\xbb\xbf", file_kinds.EMPTY),
    ("a.csv", b"\xff\xfe\n\x00", file_kinds.EMPTY),
    ("a.csv.gz", b"", file_kinds.EMPTY),
    ("a.csv.gz", gzip.compress(b"", mtime=0), file_kinds.EMPTY),
])  # fmt: skip
def test_files_without_rows_are_refused_by_name(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    error = refusal(path)
    assert (error.template, error.values) == (reason, {"file": name})


def test_a_name_that_does_not_say_the_kind(tmp_path):
    (tmp_path / "a.dat").write_bytes(b"some words")
    error = refusal(tmp_path / "a.dat")
    assert error.values == {"file": "a.dat"} and "name" in str(error)


@pytest.mark.parametrize(("name", "content"), [
    ("a.csv.gz", gzip.compress(ROWS, mtime=0)[:-9]),
    ("a.csv.gz", gzip.compress(ROWS, mtime=0)[:12] + b"\xff\xff\xff\xff"),
    ("a.csv.bz2", bz2.compress(ROWS)[:-9]),
])  # fmt: skip
def test_compressed_files_that_are_damaged(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    error = refusal(tmp_path / name)
    assert error.values == {"file": name} and "damaged" in str(error)


def test_a_compressed_file_that_ends_too_early_is_refused_while_it_is_read(tmp_path):
    content = gzip.compress(b"q,a\n" + os.urandom(3_000_000).hex().encode() + b",1\n" + ROWS * 9, 1)
    (tmp_path / "a.csv.gz").write_bytes(content[:-30])
    opened = open_files(str(tmp_path / "a.csv.gz"))
    with pytest.raises(DataError, match="damaged") as caught:
        list(opened)
    assert caught.value.values == {"file": "a.csv.gz"}


@pytest.mark.parametrize(("name", "compress", "notes"), [
    ("a.csv", bytes, ()),
    ("a.CSV", bytes, ()),
    ("a.csv.gz", gzip.compress, ()),
    ("a.Csv.GZ", gzip.compress, ()),
    ("a.csv.bz2", bz2.compress, ()),
    ("a.csv", gzip.compress, ("compressed as gz, although its name does not say so",)),
    ("a.csv.gz", bytes, ("not compressed, although its name says so",)),
])  # fmt: skip
def test_compressed_or_not(tmp_path, name, compress, notes):
    (tmp_path / name).write_bytes(compress(ROWS))
    rows = open_files(str(tmp_path / name))
    assert [row.values for row in rows] == VALUES
    assert rows.files[0].notes == (*notes, HEADER)


def test_a_folder_is_read_by_name_with_what_is_below_it(tmp_path):
    for name in ("b.csv", "a/c.csv", "a/B.CSV", ".hidden.csv", ".git/d.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"q,a\n%s,x\n" % name.encode())
    (tmp_path / "photo.png").write_bytes(b"x")
    (tmp_path / "none.jsonl").write_bytes(b"")
    (tmp_path / "README.md").write_text("About the data.")
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "gone.csv").symlink_to(tmp_path / "nowhere.csv")
    os.mkfifo(tmp_path / "pipe.csv")
    rows = open_files(str(tmp_path))
    assert [(row.number, row.place, row.values["q"]) for row in rows] == [
        (1, "row 1 of a/B.CSV (line 2)", "a/B.CSV"),
        (2, "row 1 of a/c.csv (line 2)", "a/c.csv"),
        (3, "row 1 of b.csv (line 2)", "b.csv"),
    ]
    skipped = f"skipped in the folder {tmp_path.name}: README.md, photo.png, none.jsonl (empty)"
    assert rows.files[0].notes[0] == skipped
    assert rows.notes[:2] == ("3 files: a/B.CSV, a/c.csv, b.csv", f"a/B.CSV: {skipped}")
    assert rows.share == 1.0


def test_a_folder_of_texts_alone_keeps_them_all(tmp_path):
    (tmp_path / "readme.md").write_text("one")
    assert values_of(tmp_path) == [{"text": "one"}]


def test_a_folder_without_rows_is_refused(tmp_path):
    assert refusal(tmp_path).values == {"folder": tmp_path.name}
    for n in range(7):
        (tmp_path / f"{n}.png").write_bytes(b"x")
    files = "0.png, 1.png, 2.png, 3.png, 4.png and 2 more"
    assert refusal(tmp_path).values == {"folder": tmp_path.name, "files": files}


def test_a_folder_with_a_file_that_is_not_what_it_says_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(ROWS)
    (tmp_path / "b.csv").write_bytes(zipped("xl/workbook.xml"))
    error = refusal(tmp_path)
    assert (error.template, error.values) == (file_kinds.EXCEL, {"file": "b.csv"})


def test_a_folder_says_which_files_were_read_and_which_look_like_validation_rows(tmp_path):
    for name in ("a.jsonl", "contest.jsonl", "test.jsonl"):
        (tmp_path / name).write_bytes(b'{"q": 1}\n')
    rows = open_files(str(tmp_path))
    assert rows.notes == (
        "3 files: a.jsonl, contest.jsonl, test.jsonl",
        "test.jsonl looks like validation rows; choose the folder's other files, and this as validation file",
    )
    for name in ("dev/1.jsonl", "valid-00000-of-00001.jsonl", "z.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'{"q": 1}\n')
    assert open_files(str(tmp_path)).notes == (
        "6 files: a.jsonl, contest.jsonl, dev/1.jsonl, test.jsonl, valid-00000-of-00001.jsonl and 1 more",
        (
            "dev/1.jsonl, test.jsonl, valid-00000-of-00001.jsonl look like validation rows; choose the folder's other "
            "files, and this as validation file"
        ),
    )


def test_a_folder_of_one_file_or_of_tests_only_has_no_such_note(tmp_path):
    (tmp_path / "test1.jsonl").write_bytes(b'{"q": 1}\n')
    assert open_files(str(tmp_path)).notes == ()
    (tmp_path / "dev.jsonl").write_bytes(b'{"q": 1}\n')
    (tmp_path / "test1.jsonl").rename(tmp_path / "test.jsonl")
    assert open_files(str(tmp_path)).notes == ("2 files: dev.jsonl, test.jsonl",)


def test_files_of_libraries_and_blank_files_are_skipped(tmp_path):
    for name in ("dataset_info.json", "dataset_infos.json", "state.json", "a.jsonl.lock"):
        (tmp_path / name).write_text('{"a": 1}')
    skipped = "a.jsonl.lock, dataset_info.json, dataset_infos.json, state.json"
    assert refusal(tmp_path).values == {"folder": tmp_path.name, "files": skipped}
    (tmp_path / "b.jsonl").write_text('{"q": 1}')
    (tmp_path / "c.jsonl").write_bytes(b" \n" * 100_000)
    (tmp_path / "d.csv").write_bytes("\n \n".encode("utf-16"))
    rows = open_files(str(tmp_path))
    assert [row.values for row in rows] == [{"q": 1}]
    assert rows.notes == (f"skipped in the folder {tmp_path.name}: {skipped}, c.jsonl (empty) and 1 more",)


@pytest.mark.parametrize(
    "form", ['"{}"', "'{}'", ' "{}" ', "file://{}", "file://localhost{}", '"file://{}"', "FILE://{}"]
)
def test_a_path_as_it_was_copied(tmp_path, form):
    path = tmp_path / "my rows.csv"
    path.write_bytes(ROWS)
    assert values_of(form.format(str(path).replace(" ", "%20") if "://" in form.lower() else path)) == VALUES


def test_quotes_that_are_part_of_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "'a.csv'").write_bytes(ROWS)
    assert refusal("'a.csv'").values == {"file": "'a.csv'"}  # found, but its suffix is .csv'
    assert refusal('"nowhere.csv').values == {"file": '"nowhere.csv'}


@pytest.mark.parametrize("pattern", ["*.jsonl", "data/*", '"/x/**/a.csv"'])
def test_patterns_are_refused(pattern):
    error = refusal(pattern)
    assert error.values == {} and "folder" in str(error)


def test_files_with_the_same_name_are_named_with_their_folders(tmp_path):
    for name in ("x/same.csv", "y/same.csv", "x/deep/same.csv", "y/deep/same.csv", "y/other.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"q,a\nhi,ho\n")
    rows = open_files(f"{tmp_path}/x/same.csv\n{tmp_path}/y/same.csv\n{tmp_path}/y/other.csv")
    assert [row.place for row in rows] == [
        "row 1 of x/same.csv (line 2)", "row 1 of y/same.csv (line 2)", "row 1 of other.csv (line 2)",
    ]  # fmt: skip
    assert rows.notes == (f"x/same.csv: {HEADER}", f"y/same.csv: {HEADER}", f"other.csv: {HEADER}")
    rows = open_files(f"{tmp_path}/x\n{tmp_path}/y")
    assert rows.notes[:2] == (
        "2 files: x/deep/same.csv, x/same.csv", "3 files: y/deep/same.csv, other.csv, y/same.csv",
    )  # fmt: skip


def test_several_at_once(tmp_path):
    (tmp_path / "a.csv").write_bytes(ROWS)
    (tmp_path / "b.jsonl").write_bytes(b'{"q": "x"}\n')
    rows = open_files(f" {tmp_path}/b.jsonl\n\n{tmp_path}/a.csv \n{tmp_path}/b.jsonl")
    assert [(row.number, row.place) for row in rows] == [
        (1, "line 1 of b.jsonl"), (2, "row 1 of a.csv (line 2)"), (3, "row 2 of a.csv (line 3)"),
    ]  # fmt: skip
    assert [about.kind for about in rows.files] == ["jsonl", "csv"]
    assert rows.files[0].notes == ("named more than once, read once",)
    assert [row.number for row in rows] == [1, 2, 3]


def test_paths_that_do_not_exist(tmp_path):
    assert refusal(" \n ").values == {}
    assert refusal(tmp_path / "a.csv").values == {"file": for_display(str(tmp_path / "a.csv"))}
    assert refusal("a\0b.csv").values == {"file": "a?b.csv"}
    assert refusal("x" * 5000).values == {"file": f"{'x' * 60}…{'x' * 30}"}


def test_devices_and_pipes_are_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    for path in (tmp_path / "a.csv", "/dev/zero"):
        error = refusal(path)
        assert error.values == {"file": Path(path).name} and "device" in str(error)


def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(ROWS)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    error = refusal(path)
    assert error.values == {"file": "a.csv"} and "permission" in str(error)


def test_a_file_that_vanishes_is_refused(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(ROWS)
    rows = open_files(str(path))
    path.unlink()
    with pytest.raises(DataError) as caught:
        list(rows)
    assert caught.value.values == {"file": "a.csv", "reason": "No such file or directory"}


def test_a_name_with_a_line_end_stays_on_one_line(tmp_path):
    (tmp_path / "a\nb.csv").write_bytes(ROWS)
    assert [row.place for row in open_files(str(tmp_path))] == [
        "row 1 of a?b.csv (line 2)",
        "row 2 of a?b.csv (line 3)",
    ]
