"""Which files a path names, and one sentence for each that holds no rows."""

import bz2
import gzip
import io
import os
import pickle
import tarfile
import zipfile

import pytest

from core.data.files.open_files import open_files
from core.problems import DataError

ROWS = b"q,a\nhi,ho\nyou,me\n"
VALUES = [{"q": "hi", "a": "ho"}, {"q": "you", "a": "me"}]


def refusal(path) -> str:
    """The sentence with which a file is refused, at opening or while its rows are read."""
    with pytest.raises(DataError) as error:
        list(open_files(str(path)))
    message = str(error.value)
    assert "\n" not in message
    assert message.endswith(".")
    return message


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
    ("a.csv", zipped("xl/workbook.xml"), "is an Excel file; save the sheet as CSV UTF-8 there, and choose that"),
    ("a.xlsx", b"PK\x03\x04 cut off", "is an Excel file; save the sheet as CSV UTF-8 there, and choose that"),
    ("a.XLS", b"anything", "is an Excel file; save the sheet as CSV UTF-8 there, and choose that"),
    ("a.json", zipped("a.csv"), "is a zip file; unpack it and choose the files in it"),
    ("a.csv", b"PK\x03\x04 cut off", "is a zip file; unpack it and choose the files in it"),
    ("a.zip", zipped("a.csv"), "is a zip file; unpack it and choose the files in it"),
    ("a.txt", zipped("word/document.xml"), "is a document, not plain text; save its text as .txt, and choose that"),
    ("a.pdf", b"%PDF-1.7", "is a document, not plain text; save its text as .txt, and choose that"),
    ("a.txt", b"%PDF-1.7 ...", "is a document, not plain text; save its text as .txt, and choose that"),
    ("a.csv", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(999),
     "is an old Excel or Word file; save it as CSV UTF-8 there, and choose that"),
    ("a.parquet", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
     "is a pointer of git-lfs, not the file itself; fetch it with git lfs pull"),
    ("a.csv", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n",
     "is a pointer of git-lfs, not the file itself; fetch it with git lfs pull"),
    ("a.json", b"\n<!DOCTYPE html><html><head>",
     "is a page of the web, not the file itself; download the file again, by its raw or download link"),
    ("a.tar.gz", gzip.compress(tarred(), mtime=0), "is a packed archive; unpack it and choose the files in it"),
    ("a.csv.gz", gzip.compress(tarred(), mtime=0), "is a packed archive; unpack it and choose the files in it"),
    ("a.csv", tarred(), "is a packed archive; unpack it and choose the files in it"),
    ("a.jsonl.xz", b"\xfd7zXZ\x00", "is a packed archive; unpack it and choose the files in it"),
    ("a.pkl", pickle.dumps({}),
     "is a pickle, which could run any code when it is opened and so is never read; save its rows as JSONL or CSV"),
    ("a.csv", pickle.dumps([{"q": "a" * 99}]),
     "is a pickle, which could run any code when it is opened and so is never read; save its rows as JSONL or CSV"),
    ("model.safetensors", b"xyz", "holds numbers of a program, such as weights, not rows; choose the file with the rows"),
    ("a.arrow", b"ARROW1", "is an Arrow or NumPy file; save its rows as Parquet or JSONL, and choose that"),
    ("a.csv", b"ARROW1\x00\x00" + bytes(99), "is an Arrow or NumPy file; save its rows as Parquet or JSONL, and choose that"),
    ("a.sqlite", b"SQLite format 3\x00", "is a database; export the table as CSV, and choose that"),
    ("a.csv", bytes(range(256)) * 9, "is not text; choose a file that is CSV, TSV, JSON, JSONL, Parquet or text"),
    ("a.txt", b"\x89PNG\r\n\x1a\n" + bytes(99), "is not text; choose a file that is CSV, TSV, JSON, JSONL, Parquet or text"),
    ("a.dat", b"some words", "is no CSV, TSV, JSON, JSONL, Parquet or text file by its name; give it the ending of its kind"),
    ("a.csv", b"", "is empty, with nothing on line 1 or below; choose a file with rows in it"),
    ("a.csv", b" \r\n\t\n", "is empty, with nothing on line 1 or below; choose a file with rows in it"),
    ("a.json", b"\xef\xbb\xbf", "is empty, with nothing on line 1 or below; choose a file with rows in it"),
    ("a.csv", b"\xff\xfe\n\x00", "is empty, with nothing on line 1 or below; choose a file with rows in it"),
    ("a.csv.gz", b"", "is empty, with nothing on line 1 or below; choose a file with rows in it"),
    ("a.csv.gz", gzip.compress(b"", mtime=0), "is empty, with nothing on line 1 or below; choose a file with rows in it"),
    ("a.csv.gz", gzip.compress(ROWS, mtime=0)[:-9], "is damaged or cut off, so it cannot be unpacked; download or pack it again"),
    ("a.csv.gz", gzip.compress(ROWS, mtime=0)[:12] + b"\xff\xff\xff\xff",
     "is damaged or cut off, so it cannot be unpacked; download or pack it again"),
    ("a.csv.bz2", bz2.compress(ROWS)[:-9], "is damaged or cut off, so it cannot be unpacked; download or pack it again"),
])  # fmt: skip
def test_what_holds_no_rows_is_refused_by_name(tmp_path, name, content, reason):
    path = tmp_path / name
    path.write_bytes(content)
    assert refusal(path) == f"{name} {reason}."


def test_a_packed_file_that_breaks_off_far_in_is_refused_while_it_is_read(tmp_path):
    content = gzip.compress(b"q,a\n" + os.urandom(3_000_000).hex().encode() + b",1\n" + ROWS * 9, 1)
    (tmp_path / "a.csv.gz").write_bytes(content[:-30])
    opened = open_files(str(tmp_path / "a.csv.gz"))
    with pytest.raises(DataError) as error:
        list(opened)
    assert str(error.value) == "a.csv.gz is damaged or cut off, so it cannot be unpacked; download or pack it again."


@pytest.mark.parametrize(("name", "pack", "notes"), [
    ("a.csv", bytes, ()),
    ("a.CSV", bytes, ()),
    ("a.csv.gz", gzip.compress, ()),
    ("a.Csv.GZ", gzip.compress, ()),
    ("a.csv.bz2", bz2.compress, ()),
    ("a.csv", gzip.compress, ("packed as gz, though its name does not say so",)),
    ("a.csv.gz", bytes, ("not packed, whatever its name says",)),
])  # fmt: skip
def test_packed_or_not(tmp_path, name, pack, notes):
    (tmp_path / name).write_bytes(pack(ROWS))
    rows = open_files(str(tmp_path / name))
    assert [row.values for row in rows] == VALUES
    assert rows.files[0].notes == (*notes, "the first row is taken for the names of the columns")


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
    left = f"left aside in the folder {tmp_path.name}: README.md, photo.png, none.jsonl (empty)"
    assert rows.files[0].notes[0] == left
    assert rows.notes[:2] == ("3 files: a/B.CSV, a/c.csv, b.csv", f"a/B.CSV: {left}")
    assert rows.share == 1.0


def test_a_folder_of_texts_alone_keeps_them_all(tmp_path):
    (tmp_path / "readme.md").write_text("one")
    assert values_of(tmp_path) == [{"text": "one"}]


def test_a_folder_without_rows_is_refused(tmp_path):
    assert refusal(tmp_path) == (
        f"The folder {tmp_path.name} holds no files; "
        "choose one with CSV, TSV, JSON, JSONL, Parquet or text files that have rows."
    )
    for n in range(7):
        (tmp_path / f"{n}.png").write_bytes(b"x")
    assert "holds only 0.png, 1.png, 2.png, 3.png, 4.png and 2 more; choose" in refusal(tmp_path)


def test_a_folder_with_a_file_that_is_not_what_it_says_is_refused(tmp_path):
    (tmp_path / "a.csv").write_bytes(ROWS)
    (tmp_path / "b.csv").write_bytes(zipped("xl/workbook.xml"))
    assert refusal(tmp_path).startswith("b.csv is an Excel file;")


def test_a_folder_says_which_files_were_read_and_which_look_like_rows_to_check_with(tmp_path):
    for name in ("a.jsonl", "contest.jsonl", "test.jsonl"):
        (tmp_path / name).write_bytes(b'{"q": 1}\n')
    rows = open_files(str(tmp_path))
    assert rows.notes == (
        "3 files: a.jsonl, contest.jsonl, test.jsonl",
        "among them test.jsonl, which looks like rows to check with: give it as validation file instead",
    )
    for name in ("dev/1.jsonl", "valid-00000-of-00001.jsonl", "z.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b'{"q": 1}\n')
    assert open_files(str(tmp_path)).notes == (
        "6 files: a.jsonl, contest.jsonl, dev/1.jsonl, test.jsonl, valid-00000-of-00001.jsonl and 1 more",
        (
            "among them dev/1.jsonl, test.jsonl, valid-00000-of-00001.jsonl, which look like rows to check with: "
            "give one as validation file instead"
        ),
    )


def test_a_folder_of_one_file_or_of_tests_alone_needs_no_words(tmp_path):
    (tmp_path / "test1.jsonl").write_bytes(b'{"q": 1}\n')
    assert open_files(str(tmp_path)).notes == ()
    (tmp_path / "dev.jsonl").write_bytes(b'{"q": 1}\n')
    (tmp_path / "test1.jsonl").rename(tmp_path / "test.jsonl")
    assert open_files(str(tmp_path)).notes == ("2 files: dev.jsonl, test.jsonl",)


def test_what_libraries_keep_beside_rows_and_blank_files_are_left_aside(tmp_path):
    for name in ("dataset_info.json", "dataset_infos.json", "state.json", "a.jsonl.lock"):
        (tmp_path / name).write_text('{"a": 1}')
    kept = "a.jsonl.lock, dataset_info.json, dataset_infos.json, state.json"
    assert refusal(tmp_path).startswith(f"The folder {tmp_path.name} holds only {kept}; choose one with ")
    (tmp_path / "b.jsonl").write_text('{"q": 1}')
    (tmp_path / "c.jsonl").write_bytes(b" \n" * 100_000)
    (tmp_path / "d.csv").write_bytes("\n \n".encode("utf-16"))
    rows = open_files(str(tmp_path))
    assert [row.values for row in rows] == [{"q": 1}]
    assert rows.notes == (f"left aside in the folder {tmp_path.name}: {kept}, c.jsonl (empty) and 1 more",)


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
    with pytest.raises(DataError, match="is no CSV"):  # its ending is .csv'
        open_files("'a.csv'")
    assert refusal('"nowhere.csv') == 'There is no file "nowhere.csv; check the path, or drop the file on the Data tab.'


@pytest.mark.parametrize("pattern", ["*.jsonl", "data/*", '"/x/**/a.csv"'])
def test_patterns_are_not_read(pattern):
    assert refusal(pattern) == "Patterns such as *.jsonl are not read; name the folder instead."


def test_files_of_the_same_name_are_told_apart_by_their_folders(tmp_path):
    for name in ("x/same.csv", "y/same.csv", "x/deep/same.csv", "y/deep/same.csv", "y/other.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"q,a\nhi,ho\n")
    rows = open_files(f"{tmp_path}/x/same.csv\n{tmp_path}/y/same.csv\n{tmp_path}/y/other.csv")
    assert [row.place for row in rows] == [
        "row 1 of x/same.csv (line 2)", "row 1 of y/same.csv (line 2)", "row 1 of other.csv (line 2)",
    ]  # fmt: skip
    header = "the first row is taken for the names of the columns"
    assert rows.notes == (f"x/same.csv: {header}", f"y/same.csv: {header}", f"other.csv: {header}")
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


def test_names_that_are_no_files(tmp_path):
    assert refusal(" \n ") == "Choose a file or a folder with rows in it."
    assert refusal(tmp_path / "a.csv") == (
        f"There is no file {tmp_path}/a.csv; check the path, or drop the file on the Data tab."
    )
    assert refusal("a\0b.csv") == "There is no file a?b.csv; check the path, or drop the file on the Data tab."
    assert refusal("x" * 5000) == (
        f"There is no file {'x' * 60}…{'x' * 30}; check the path, or drop the file on the Data tab."
    )


def test_devices_and_pipes_are_refused_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.csv")
    reason = "is a device or a pipe, not a file; save the rows in a file and choose that."
    assert refusal(tmp_path / "a.csv") == f"a.csv {reason}"
    assert refusal("/dev/zero") == f"zero {reason}"


def test_a_file_that_may_not_be_read(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(ROWS)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert refusal(path) == "a.csv may not be read by this program; allow it in the file's permissions."


def test_a_file_that_vanishes_is_told_in_a_sentence(tmp_path):
    path = tmp_path / "a.csv"
    path.write_bytes(ROWS)
    rows = open_files(str(path))
    path.unlink()
    with pytest.raises(DataError, match=r"^a\.csv cannot be read: No such file or directory\.$"):
        list(rows)


def test_a_name_with_a_line_end_stays_on_one_line(tmp_path):
    (tmp_path / "a\nb.csv").write_bytes(ROWS)
    assert [row.place for row in open_files(str(tmp_path))] == [
        "row 1 of a?b.csv (line 2)",
        "row 2 of a?b.csv (line 3)",
    ]
