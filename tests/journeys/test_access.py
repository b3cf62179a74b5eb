"""Who can access the page: HTTP requests to the real program, as browsers, other sites and strangers send them."""

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import httpx
import pytest

from tests.app_process import run_app, running_app
from ui.access import UPLOAD_LIMIT, is_loopback

pytestmark = pytest.mark.slow  # starts the program many times

SECRET = "the-heron-knows-4711"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
# Gradio's login form and its assets, which are public. startup-events returns only true or false.
OPEN = {
    "/", "/login", "/theme.css", "/gradio_api/theme.css", "/favicon.ico", "/manifest.json", "/robots.txt",
    "/gradio_api/startup-events", "/assets/{path:path}", "/static/{path:path}", "/svelte/{path:path}",
    "/icons/{name}", "/running/{number}",
}  # fmt: skip
# httpx's own five seconds are too few on a busy machine.
get, post, request, http_client = (
    partial(call, timeout=60) for call in (httpx.get, httpx.post, httpx.request, httpx.Client)
)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A page with a password and an uploaded file that needs the password."""
    with running_app(tmp_path_factory.mktemp("guarded"), "--auth", "ada:secret") as app, logged_in(app.url) as ada:
        uploaded = ada.post("/gradio_api/upload", files={"files": (f"{SECRET}.txt", SECRET)})
        assert uploaded.status_code == 200
        yield app, uploaded.json()[0]


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A page started without options, where the environment names proxies that do not answer."""
    proxies = {"HTTP_PROXY": "http://127.0.0.1:9", "all_proxy": "socks://127.0.0.1:9/", "no_proxy": "[::1],a.example"}
    with running_app(tmp_path_factory.mktemp("plain"), environment=proxies) as app:
        yield app


@contextmanager
def logged_in(url: str) -> Iterator[httpx.Client]:
    with http_client(base_url=url) as client:
        assert client.post("/login", data={"username": "ada", "password": "secret"}).status_code == 200
        yield client


@pytest.fixture(scope="module")
def routes(tmp_path_factory):
    """The path of every route that Gradio creates for our page."""
    from gradio.routes import App

    from core.workbench.workbench import Workbench
    from ui.desktop.routes import routes
    from ui.page import build_page

    runs_dir = tmp_path_factory.mktemp("routes")
    page, live = build_page(Workbench(runs_dir))
    server = App.create_app(page, app_kwargs={"routes": [live.route(), *routes(runs_dir)]})
    paths, queue = set(), list(server.routes)
    while queue:
        route = queue.pop()
        queue += getattr(getattr(route, "original_router", None), "routes", [])
        if hasattr(route, "path"):
            assert hasattr(route, "methods") or type(route).__name__ == "Mount", f"{route} is not an HTTP route"
            paths.add(route.path)
    return paths


def fill_path(path: str, uploaded: str) -> str:
    """The path with its parameters replaced by existing values."""
    values = {"path": uploaded.lstrip("/"), "path_or_url": uploaded, "api_name": "snapshot", "component_id": "1"}
    return re.sub(r"\{(\w+)(?::\w+)?\}", lambda match: values.get(match[1], "x1"), path)


def test_no_route_answers_without_the_password(guarded, routes):
    app, uploaded = guarded
    assert len(routes) > 40 and {"/config", "/gradio_api/upload", "/gradio_api/queue/join"} <= routes
    answered, leaked = set(), []
    with http_client(base_url=app.url) as stranger:
        for route in sorted(routes):
            for method in METHODS:
                with stranger.stream(method, fill_path(route, uploaded)) as answer:
                    if answer.status_code in (401, 403):
                        continue
                    answered.add((method, route))
                    if route in OPEN:  # others fail below, and their response may never end
                        body = answer.read().decode(errors="replace")
                        leaked += [
                            (method, route) for word in (SECRET, "load_model", str(app.runs_dir)) if word in body
                        ]
    assert leaked == []
    assert answered == {("POST", "/login")} | {(m, route) for m in ("GET", "HEAD") for route in OPEN - {"/login"}}


def test_the_public_routes_contain_no_private_data(guarded):
    app, uploaded = guarded
    with http_client(base_url=app.url) as stranger:
        page = stranger.get("/")
        assert page.status_code == 200 and '"auth_required":true' in page.text
        for path in ("/?deep_link=x", "/?__theme=dark", "/?page=x", "/?all_endpoints=1"):
            answer = stranger.get(path).text
            assert '"auth_required":true' in answer and "window.gradio_api_info = {};" in answer
        for prefix in ("/assets", "/static", "/svelte"):
            for path in (
                uploaded,
                f"/../../../../../../../../{uploaded}",
                f"/..%2f..%2f..%2f..%2f..%2f..%2f..{uploaded}",
            ):
                assert SECRET not in stranger.get(f"{prefix}/{path.lstrip('/')}").text


def test_a_browser_gets_the_manifest_and_the_icons_wherever_it_gets_the_page(plain, guarded):
    """Browsers request a manifest without cookies, so it is public where only the login form is."""
    sent = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "manifest"}
    for url in (plain.url, guarded[0].url):
        manifest = get(f"{url}/manifest.json", headers=sent)
        assert manifest.headers["content-type"] == "application/manifest+json"
        assert (manifest.json()["name"], manifest.json()["theme_color"]) == ("HearthTune", "#ffffff")
        for icon in manifest.json()["icons"]:
            answer = get(f"{url}/{icon['src']}", headers=sent | {"Sec-Fetch-Mode": "no-cors"})
            assert (answer.status_code, answer.headers["content-type"]) == (200, icon["type"])
            assert get(f"{url}/{icon['src']}", headers={"Host": "evil.example"}).status_code == (
                403 if url == plain.url else 200
            )
        assert get(f"{url}/favicon.ico").headers["content-type"] == "image/svg+xml"
        assert get(f"{url}/icons/render.py").status_code == 404


def test_a_second_start_is_recognised_only_with_the_same_runs(plain, guarded, tmp_path):
    from ui.desktop.second_start import make_key, page_of_another

    make_key(tmp_path)
    for app in (plain, guarded[0]):
        port = int(app.url.rpartition(":")[2])
        key = app.runs_dir / "page.key"
        assert key.stat().st_mode & 0o777 == 0o600
        for host in ("127.0.0.1", "localhost", "0.0.0.0", ""):
            name = "127.0.0.1" if host in ("0.0.0.0", "") else host
            assert page_of_another(host, port, app.runs_dir) == f"http://{name}:{port}/"
        assert page_of_another("127.0.0.1", port, tmp_path) == "", "other runs"
        assert page_of_another("127.0.0.1", port, tmp_path / "nowhere") == ""
        answers = {get(f"{app.url}/running/{digit * 64}").text for digit in "01"}
        assert len(answers) == 2 and key.read_text() not in answers, "each number has its own answer"
        assert get(f"{app.url}/running/..%2fpage.key").status_code == 404


def test_a_second_start_says_so_and_ends(plain):
    port = plain.url.rpartition(":")[2]
    done = run_app("--no-browser", "--port", port, "--runs-dir", str(plain.runs_dir))
    sentence = f"HearthTune is already running with these runs, at {plain.url}/; to use other options, end it first.\n"
    assert (done.returncode, done.stdout) == (0, sentence), done.stderr


def test_a_wrong_password_or_cookie_is_rejected(guarded):
    app, _ = guarded
    with http_client(base_url=app.url) as stranger:
        assert stranger.post("/login", data={"username": "ada", "password": "Secret"}).status_code == 400
        assert stranger.get("/config").status_code == 401
    with logged_in(app.url) as ada:
        assert ada.get("/config").status_code == 200
        name = next(name for name in ada.cookies if name.startswith("access-token-unsecure-"))
    for cookies in ({name: ""}, {name: "x"}, {"access-token-unsecure-x": "x"}):
        with http_client(base_url=app.url, cookies=cookies) as stranger:
            assert stranger.get("/config").status_code == 401


def test_the_password_gives_access_to_the_page_its_files_and_its_api(guarded):
    from gradio_client import Client

    app, uploaded = guarded
    with logged_in(app.url) as ada:
        assert SECRET in ada.get(f"/gradio_api/file={uploaded}").text
    client = Client(app.url, auth=("ada", "secret"), verbose=False)
    assert client.predict(api_name="/snapshot")["run"] is None
    assert SECRET not in app.printed() and "secret" not in app.printed()


@pytest.mark.parametrize(
    ("host", "is_local"),
    [("127.0.0.1", True), ("127.8.9.1", True), ("::1", True), ("[::1]", True), ("localhost", True), ("LOCALHOST", True),
     ("0.0.0.0", False), ("::", False), ("", False), ("192.168.1.5", False), ("127.0.0.1.evil.example", False),
     ("localhost.evil.example", False), ("127.1", False)],
)  # fmt: skip
def test_which_hosts_are_loopback(host, is_local):
    assert is_loopback(host) is is_local


@pytest.mark.parametrize("arguments", [["--host", "0.0.0.0"], ["--host", "192.168.1.5"], ["--host", ""], ["--share"]])
def test_a_public_page_needs_a_password_or_consent(arguments, tmp_path):
    done = run_app("--no-browser", "--runs-dir", str(tmp_path / "runs"), *arguments, timeout=60)
    assert (done.returncode, done.stdout) == (2, "")
    (sentence,) = done.stderr.splitlines()
    assert "--auth NAME:PASSWORD" in sentence and "--i-know" in sentence
    assert not (tmp_path / "runs").exists()


def test_on_a_space_the_error_names_the_variables_to_set(tmp_path):
    """A Space sets its address with a variable and cannot pass options."""
    space = {"GRADIO_SERVER_NAME": "0.0.0.0"}
    done = run_app("--no-browser", "--runs-dir", str(tmp_path / "runs"), environment=space)
    assert done.returncode == 2
    assert "a secret HEARTHTUNE_AUTH" in done.stderr and "a variable HEARTHTUNE_I_KNOW=1" in done.stderr


@pytest.mark.parametrize(
    ("variable", "value", "status"), [("HEARTHTUNE_AUTH", "ada:secret", 401), ("HEARTHTUNE_I_KNOW", "1", 200)]
)
def test_a_space_runs_with_a_secret_or_with_consent(tmp_path, variable, value, status):
    # In Korean, because the program is started cold here anyway.
    language = {"HEARTHTUNE_LANGUAGE": "ko"}
    space = {"GRADIO_SERVER_NAME": "0.0.0.0", "SPACE_ID": "ada/hearth", variable: value} | language
    headers = {"Host": "ada-hearth.hf.space", "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    with running_app(tmp_path, environment=space) as app:
        page = get(app.url, headers=headers)
        assert page.status_code == 200 and "content-security-policy" not in page.headers, "the hub shows it in a frame"
        assert get(f"{app.url}/config").status_code == status
        cookies = [cookie for cookie in page.headers.get_list("set-cookie") if cookie.startswith("hearthtune-visitor=")]
        assert len(cookies) == (variable == "HEARTHTUNE_I_KNOW")
        assert all(cookie.endswith("HttpOnly; SameSite=None; Secure; Partitioned") for cookie in cookies)
        assert re.findall('<html\\s+lang="(..)"', page.text) == ["ko"]
        assert ('"label":"내보내기"' in page.text) == (status == 200), "the tabs are for those who may come in"


def test_only_this_machine_can_connect(plain):
    """The socket listens only on loopback, so the machine's other addresses refuse connections."""
    import psutil

    port = int(plain.url.rpartition(":")[2])
    listening = {
        c.laddr.ip
        for c in psutil.Process(plain.process.pid).net_connections()
        if c.status == "LISTEN" and c.laddr.port == port
    }
    assert listening == {"127.0.0.1"}


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "192.168.1.5", "", "[", "a@b"]
)
def test_requests_for_another_host_name_are_refused(plain, host):
    for path in ("/", "/config", "/gradio_api/info", "/login"):
        answer = get(f"{plain.url}{path}", headers={"Host": host})
        assert answer.status_code in (400, 403), path  # 400: the server itself rejects the name
        assert "HearthTune" not in answer.text


def test_local_host_names_are_accepted(plain):
    port = plain.url.rpartition(":")[2]
    for host in (f"127.0.0.1:{port}", f"localhost:{port}", f"[::1]:{port}", "localhost"):
        assert get(plain.url, headers={"Host": host}).status_code == 200


FOREIGN = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://localhost:3000"},  # another program on this machine
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors", "Origin": "https://evil.example"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},  # same site, from an image or a script
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Origin": "https://evil.example"},  # a form
]


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_another_site_cannot_use_the_page(plain, guarded, headers):
    """Neither a page without a password nor one where the user is logged in."""
    for opened in (http_client(base_url=plain.url), logged_in(guarded[0].url)):
        with opened as client:
            for path, sent in {
                "/gradio_api/call/stop": {"json": {"data": []}},
                "/gradio_api/run/stop": {"json": {"data": []}},
                "/gradio_api/queue/join": {
                    "content": '{"data":[],"fn_index":0,"session_hash":"x"}',
                    "headers": {"Content-Type": "text/plain"},
                },
                "/gradio_api/upload": {"files": {"files": ("a.txt", "text")}},
                "/gradio_api/cancel": {"json": {"session_hash": "x", "fn_index": 0, "event_id": "x"}},
                "/login": {"data": {"username": "ada", "password": "secret"}},
            }.items():
                answer = client.post(path, **sent | {"headers": sent.get("headers", {}) | headers})
                assert answer.status_code == 403, path
                assert "Another site" in answer.json()["detail"]
            if headers.get("Sec-Fetch-Mode") != "navigate":
                assert client.get("/config", headers=headers).status_code == 403


def test_a_link_from_another_site_opens_the_page_but_a_frame_does_not(plain):
    linked = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    answer = get(plain.url, headers=linked)
    assert answer.status_code == 200
    assert answer.headers["content-security-policy"] == "frame-ancestors 'self'"


def test_the_page_can_send_its_own_requests(plain):
    own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Origin": plain.url}
    answer = post(f"{plain.url}/gradio_api/call/stop", json={"data": []}, headers=own)
    assert answer.status_code == 200 and answer.json()["event_id"]
    old_browser = post(f"{plain.url}/gradio_api/call/stop", json={"data": []}, headers={"Origin": plain.url})
    assert old_browser.status_code == 200


@pytest.mark.parametrize(
    ("host", "origin", "passed_on"),
    [
        ("hearth.example", "http://hearth.example", {}),  # nginx: proxy_set_header Host $http_host
        ("OWN", "http://hearth.example", {"X-Forwarded-Host": "hearth.example"}),
        ("OWN", "http://hearth.example:8080", {"X-Forwarded-Host": "hearth.example:8080"}),
        ("OWN", "https://hearth.example", {"X-Forwarded-Host": "hearth.example", "X-Forwarded-Proto": "https"}),
        ("hearth.example:443", "https://hearth.example", {"X-Forwarded-Proto": "https"}),
        ("OWN", "https://hearth.example", {"X-Forwarded-Host": "hearth.example, inner.example"}),
        ("OWN", "https://hearth.example", {"Forwarded": 'for=192.0.2.1;host="hearth.example";proto=https'}),
    ],
)
def test_a_proxy_can_stand_before_the_page(guarded, host, origin, passed_on):
    """Without Sec-Fetch headers: browsers leave them out where a page is served by http."""
    app, _ = guarded
    own = app.url.removeprefix("http://")
    sent = {"Host": own if host == "OWN" else host, "Origin": origin, **passed_on}
    with logged_in(app.url) as ada:
        assert ada.post("/gradio_api/call/stop", json={"data": []}, headers=sent).status_code == 200


@pytest.mark.parametrize(
    "passed_on",
    [
        {},  # nginx without proxy_set_header
        {"X-Forwarded-Host": "other.example"},
        {"X-Forwarded-Host": "hearth.example:8080"},
        {"X-Forwarded-Host": "hearth.example.evil.example, ["},
        {"Forwarded": "for=192.0.2.1;by=hearth.example"},
    ],
    ids=str,
)
def test_a_proxy_that_hides_the_name_is_told_what_to_set(guarded, passed_on):
    app, _ = guarded
    with logged_in(app.url) as ada:
        headers = {"Origin": "http://hearth.example", **passed_on}
        answer = ada.post("/gradio_api/call/stop", json={"data": []}, headers=headers)
        ada.post("/gradio_api/call/stop", json={"data": []}, headers=headers)
    sentence = answer.json()["detail"]
    assert answer.status_code == 403
    assert [word for word in ("http://hearth.example", "X-Forwarded-Host $http_host") if word not in sentence] == []
    assert app.printed().count(f"Refused: {sentence}") == 1, "and once in the terminal"


@pytest.mark.parametrize(
    "path",
    [
        "deep_link?session_hash=x",
        "component_server",
        "process_recording",
        "proxy=https://a.hf.space/x",
        "custom_component/a/client/b/c",
        "file=https://example.org/x",
        "file=http://127.0.0.1/x",
        "file/https://example.org/x",
        "run-history/buckets",
        "vibe-code",
    ],
)
def test_unused_gradio_routes_are_closed(plain, path):
    for method in ("GET", "POST"):
        answer = request(method, f"{plain.url}/gradio_api/{path}")
        assert (answer.status_code, answer.text) == (404, '{"detail": "Not found."}')


def test_gradio_does_not_store_inputs(plain):
    assert get(f"{plain.url}/config").json()["run_history"] is False


@pytest.mark.parametrize(
    ("path", "length", "status"),
    [
        ("/gradio_api/upload", UPLOAD_LIMIT + 1, 413),
        ("/login", 65 * 1024, 413),
        ("/gradio_api/queue/join", 65 << 20, 413),
    ],
)
def test_a_request_that_is_too_large_is_refused_before_it_is_read(plain, path, length, status):
    answer = post_head(plain.url, path, f"Content-Length: {length}")
    assert answer.startswith(f"HTTP/1.1 {status} ")
    if path.endswith("upload"):
        assert "4 GiB" in answer and "path" in answer


def test_a_request_without_a_length_is_refused(plain):
    assert post_head(plain.url, "/gradio_api/upload", "Transfer-Encoding: chunked").startswith("HTTP/1.1 411 ")


def post_head(url: str, path: str, header: str) -> str:
    """Send only the head of a POST request; returns the response."""
    name, _, port = url.removeprefix("http://").partition(":")
    with socket.create_connection((name, int(port)), timeout=60) as connection:
        lines = [
            f"POST {path} HTTP/1.1",
            f"Host: {name}:{port}",
            "Content-Type: multipart/form-data; boundary=x",
            header,
            "",
            "",
        ]
        connection.sendall("\r\n".join(lines).encode())
        answer = b""
        while b"}" not in answer and (piece := connection.recv(4096)):
            answer += piece
    return answer.decode()
