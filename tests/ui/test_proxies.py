"""Proxies in the environment, with a real proxy and a real page: who is asked for what."""

import http.server
import os
import threading

import httpx
import pytest

from ui.proxies import go_past_proxies

NAMES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = self.server.name.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def servers():
    """The address of a page, and of a proxy that answers every request itself."""
    started = []
    for name in ("page", "proxy"):
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        server.name = name
        threading.Thread(target=server.serve_forever, args=[0.01]).start()
        started.append(server)
    yield [f"127.0.0.1:{server.server_port}" for server in started]
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def environment(monkeypatch):
    """No proxies at first, and whatever a test sets is undone, also by the function under test."""
    for name in [*NAMES, *map(str.upper, NAMES)]:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


@pytest.mark.parametrize(
    "settings",
    [
        {"HTTP_PROXY": "http://PROXY"},
        {"http_proxy": "http://PROXY", "HTTPS_PROXY": "http://PROXY"},
        {"http_proxy": "PROXY"},
        {"ALL_PROXY": "http://ada:secret@PROXY/"},
        {"all_proxy": " http://PROXY", "no_proxy": "intern.example, .corp.example,10.0.0.0/8,[fd00::1],a.example:*"},
        {"HTTP_PROXY": "http://PROXY", "ALL_PROXY": "socks4://127.0.0.1:9", "NO_PROXY": "localhost"},
    ],
    ids=str,
)
def test_the_page_is_reached_directly_and_the_hub_through_the_proxy(servers, environment, settings):
    page, proxy = servers
    for name, value in settings.items():
        environment.setenv(name, value.replace("PROXY", proxy))
    go_past_proxies("192.168.1.5")
    assert httpx.get(f"http://{page}", verify=False).text == "page"
    assert httpx.get(f"http://localhost:{page.partition(':')[2]}", verify=False).text == "page"
    assert httpx.get("http://hub.example/api/models", verify=False).text == "proxy"
    excepted = os.environ["no_proxy"].split(",")
    assert os.environ["NO_PROXY"] == os.environ["no_proxy"]
    assert {"127.0.0.1", "localhost", "::1", "192.168.1.5"} <= set(excepted)
    if "no_proxy" in settings:
        assert excepted[:4] == ["intern.example", ".corp.example", "10.0.0.0/8", "fd00::1"]


@pytest.mark.parametrize(
    "address", ["socks://127.0.0.1:9/", "socks5://127.0.0.1:9", "socks5h://127.0.0.1:9", "socks4a://x:1", "foo://x"]
)
@pytest.mark.parametrize("name", ["ALL_PROXY", "http_proxy"])
def test_a_socks_proxy_does_not_stop_the_page(servers, environment, capsys, name, address):
    environment.setenv(name, address)
    with pytest.raises((ValueError, ImportError, httpx.HTTPError)):
        httpx.get(f"http://{servers[0]}", verify=False)
    go_past_proxies("[::1]")
    assert httpx.get(f"http://{servers[0]}", verify=False).text == "page"
    told = capsys.readouterr().err
    if name in os.environ:
        assert told == "" and os.environ[name].startswith(("socks5://", "socks5h://")), "in use for the hub"
    else:
        assert told.startswith(f"The proxy setting {name} is left out, because") and len(told.splitlines()) == 1


@pytest.mark.parametrize("settings", [{}, {"NO_PROXY": "a.example"}, {"HTTP_PROXY": ""}], ids=str)
def test_without_a_proxy_nothing_changes(environment, settings):
    for name, value in settings.items():
        environment.setenv(name, value)
    before = dict(os.environ)
    go_past_proxies("127.0.0.1")
    assert dict(os.environ) == before


def test_a_wish_for_no_proxy_at_all_is_kept(environment):
    environment.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    environment.setenv("NO_PROXY", "a.example,*")
    go_past_proxies("127.0.0.1")
    assert (os.environ["no_proxy"], os.environ["NO_PROXY"]) == ("*", "*")
