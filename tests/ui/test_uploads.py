"""What can be uploaded and fetched: real requests to the real page, with names that were made to escape from it."""

import json
import os
import time
from functools import partial
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from core.runs.uploads import sweep_uploads
from tests.app_process import running_app

SECRET = "the-heron-knows-4711"
HOSTILE = [
    "../escaped", "../../escaped", "../../../../../../../../tmp/escaped", "..", ".", "", "/", "/etc/escaped",
    "//etc/escaped", "/../escaped", "a/../../escaped", "..\\escaped", "..\\..\\escaped", "C:\\Windows\\escaped",
    "C:escaped", "\\\\host\\share\\escaped", "....//....//escaped", "%2e%2e%2fescaped", "..%2f..%2fescaped",
    "..%5cescaped", "a\x00b", "../escaped\x00.txt", "CON", "nul.txt", "COM1.csv", "lpt9", "x" * 300,
    "x" * 300 + ".jsonl", "~/escaped", "$HOME/escaped", "`touch escaped`", "$(touch escaped)", "| touch escaped",
    "a\nb", "a\r\nX-Escaped: 1", "\u202egnp.escaped", "..\u2215escaped", "..\uff0fescaped", "é" * 200, "-rf",
    ".bashrc", "<img src=x onerror=alert(1)>.csv", "run.json", "../20260101-000000-x/run.json", " . ", "...",
    "a.txt.", "a:stream",
]  # fmt: skip
# httpx's own five seconds are too few on a busy machine.
get, post = partial(httpx.get, timeout=60), partial(httpx.post, timeout=60)


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    """A page whose runs folder holds a run and stands beside a file of the person's."""
    folder = tmp_path_factory.mktemp("uploads")
    run = folder / "runs" / "20260101-000000-x"
    run.mkdir(parents=True)
    (run / "run.json").write_text(json.dumps({"name": "x", "note": SECRET}))
    (folder / "private.txt").write_text(SECRET)
    with running_app(folder) as app:
        yield app


def files_below(folder: Path) -> dict[Path, tuple[int, int]]:
    found = (path for path in folder.rglob("*") if path.is_file() and path.name != "app.log")
    return {path: (path.stat().st_size, path.stat().st_mtime_ns) for path in found}


def send(app, name: str, content: bytes = b"rows") -> httpx.Response:
    """The name as it stands, by hand: a client library would tidy it up."""
    head = b'--b\r\nContent-Disposition: form-data; name="files"; filename="' + name.encode() + b'"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return post(f"{app.url}/gradio_api/upload", content=head + content + b"\r\n--b--\r\n", headers=headers)


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:40])
def test_a_hostile_name_stays_in_the_uploads(app, name):
    folder, uploads = app.runs_dir.parent, app.runs_dir / "uploads"
    before, in_tmp = files_below(folder), set(os.listdir("/tmp")) if os.name == "posix" else set()
    content = f"rows of {name!a}".encode()
    answer = send(app, name, content)
    assert answer.status_code in (200, 400)
    new = {path for path, state in files_below(folder).items() if before.get(path) != state}
    if answer.status_code == 200:
        (kept,) = map(Path, answer.json())
        assert new == {kept} and kept.read_bytes() == content
        assert kept.resolve().parent.parent == uploads.resolve() and len(kept.name.encode()) <= 255
        assert get(f"{app.url}/gradio_api/file={quote(str(kept))}").content == content
    assert all(path.is_relative_to(uploads) for path in new)
    if os.name == "posix":
        assert not {name for name in set(os.listdir("/tmp")) - in_tmp if "escaped" in name}
    assert not Path("/etc/escaped").exists() and not (Path.home() / "escaped").exists()


def test_uploads_go_nowhere_near_the_system_s_temporary_folder(app):
    import psutil

    (kept,) = send(app, "a.txt", b"x" * 3_000_000).json()
    assert Path(kept).is_relative_to(app.runs_dir / "uploads")
    assert not [
        file.path for file in psutil.Process(app.process.pid).open_files() if file.path.startswith("/tmp/gradio")
    ]
    assert not Path("/tmp/gradio", Path(kept).parent.name).exists()


def ways_to(path: Path) -> list[str]:
    """Of naming a file that must not be served."""
    plain, climbing = str(path), "../" * 12 + str(path).lstrip("/")
    return [
        plain, f"/{plain}", f"//{plain}", plain.lstrip("/"), climbing, climbing.replace("/", "%2f"),
        climbing.replace("/", "%252f"), climbing.replace("..", "%2e%2e"), climbing.replace("/", "\\"),
        f"file://{plain}", f"{plain}%00", f"{plain}%00.txt", f"{path.parent}/./{path.name}",
        f"{path.parent}//{path.name}", f"~{plain}", f"/proc/self/root{plain}", f"/proc/self/cwd/{climbing}",
    ]  # fmt: skip


def test_no_route_serves_a_file_from_elsewhere(app):
    uploads, prepared = app.runs_dir / "uploads", app.runs_dir / "prepared"
    (kept,) = send(app, "a.txt").json()
    prepared.mkdir(exist_ok=True)
    secrets = [app.runs_dir.parent / "private.txt", app.runs_dir / "20260101-000000-x" / "run.json"]
    links = [Path(kept).with_name("link.txt"), prepared / "link.txt", uploads / "linked"]
    links[0].symlink_to(secrets[0])
    links[1].symlink_to(secrets[0])
    links[2].symlink_to(app.runs_dir.parent)
    ways = [way for secret in secrets for way in ways_to(secret)]
    ways += [
        f"{kept}/../../../../private.txt",
        f"{prepared}/../../private.txt",
        f"{prepared}/%2e%2e/%2e%2e/private.txt",
    ]
    ways += [*map(str, links[:2]), f"{links[2]}/private.txt"]
    for way in ways:
        for route in ("gradio_api/file=", "gradio_api/file/", "assets/", "static/", "svelte/", "file=", ""):
            target = httpx.URL(app.url).copy_with(raw_path=f"/{route}{way}".encode())
            answer = get(target, follow_redirects=False)
            assert SECRET not in answer.text, f"{route}{way}"
            assert answer.status_code != 200 or "HearthTune" in answer.text, f"{route}{way}"
    for link in links:
        link.unlink()


@pytest.mark.parametrize("path", ["/etc/hostname", "../private.txt", "private.txt", "20260101-000000-x/run.json"])
def test_a_path_in_place_of_an_upload_is_not_taken(app, path):
    """The page's own requests name the file that was uploaded before; another client can name any."""
    config = get(f"{app.url}/config").json()
    upload = next(c["id"] for c in config["components"] if c["props"].get("elem_id") == "upload")
    actions = [d for d in config["dependencies"] if upload in d["inputs"]]
    assert actions
    secret = str((app.runs_dir / path).resolve()) if not path.startswith("/") else path
    for action in actions:
        data = [None] * len(action["inputs"])
        data[action["inputs"].index(upload)] = [
            {"path": secret, "meta": {"_type": "gradio.FileData"}, "orig_name": "a.txt"}
        ]
        before = files_below(app.runs_dir / "uploads")
        sent = {"data": data, "fn_index": action["id"], "session_hash": "someone"}
        assert post(f"{app.url}/gradio_api/queue/join", json=sent).status_code == 200
        with httpx.stream(
            "GET", f"{app.url}/gradio_api/queue/data", params={"session_hash": "someone"}, timeout=60
        ) as told:
            messages = [json.loads(line[6:]) for line in told.iter_lines() if line.startswith("data: ")]
        assert [m["success"] for m in messages if m["msg"] == "process_completed"] == [False]
        assert SECRET not in json.dumps(messages)
        assert files_below(app.runs_dir / "uploads") == before


def test_what_an_upload_holds_is_not_shown_as_a_page(app):
    for name in ("a.html", "a.svg", "a.xhtml", "a.js"):
        (kept,) = send(app, name, b"<script>alert(1)</script>").json()
        answer = get(f"{app.url}/gradio_api/file={kept}")
        assert answer.headers["content-disposition"].startswith("attachment"), name


def test_uploads_that_no_run_needs_are_thrown_away_after_a_week(tmp_path):
    runs, week = tmp_path / "runs", time.time() - 8 * 86400
    for name, age in (("needed", week), ("binned", week), ("later", week), ("old", week), ("new", time.time())):
        (runs / "uploads" / name).mkdir(parents=True)
        (runs / "uploads" / name / "rows.json").write_text("[]")
        os.utime(runs / "uploads" / name, (age, age))
    (runs / "uploads" / "tmpbroken").write_text("half")
    os.utime(runs / "uploads" / "tmpbroken", (week, week))
    for run, needs in (("20260101-000000-x", "needed"), ("trash/20260102-000000/20260101-000000-y", "binned")):
        (runs / run).mkdir(parents=True)
        (runs / run / "config.yaml").write_text(f"data:\n  path: {runs}/uploads/{needs}/rows.json\n")
    record = runs / "recipes" / "20260103-000000-z" / "record.json"  # a recipe that has not come to its stage yet
    record.parent.mkdir(parents=True)
    record.write_text(f'{{"recipe": {{"stages": [{{"data": {{"path": "{runs}/uploads/later/rows.json"}}}}]}}}}')
    (tmp_path / "outside").mkdir()
    (runs / "uploads" / "link").symlink_to(tmp_path / "outside")
    os.utime(runs / "uploads" / "link", (week, week), follow_symlinks=False)
    assert {path.name for path in sweep_uploads(runs)} == {"old", "tmpbroken", "link"}
    assert {path.name for path in (runs / "uploads").iterdir()} == {"needed", "binned", "later", "new"}
    assert (tmp_path / "outside").is_dir()
    assert sweep_uploads(tmp_path / "nowhere") == []
