"""Proxies of the environment: for the hub, never for this page's requests to itself.

Gradio asks its own page whether it answers, and already its import fails on settings that httpx cannot read.
"""

import os
import sys
from urllib.request import getproxies, getproxies_environment

from core.problems import tr

OWN_ADDRESSES = ("127.0.0.1", "localhost", "::1")


def go_past_proxies(host: str) -> None:
    """Adds this machine, and `host`, the address to listen on, to what is reached without the proxy.

    Settings that httpx cannot read are left out, each with a sentence in the terminal.
    """
    proxies = getproxies()  # also from the settings of Windows and macOS
    if not any(address for scheme, address in proxies.items() if scheme != "no"):
        return
    if not getproxies_environment():  # those settings count only while the environment has none, no_proxy included
        os.environ.update({f"{scheme}_proxy": address for scheme, address in proxies.items()})
    for name in [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]:
        # GNOME writes socks:// for the protocol that others call socks5://.
        os.environ[name] = address = os.environ[name].strip().replace("socks://", "socks5://", 1)
        address = address if "://" in address or not address else f"http://{address}"
        if address and (trouble := _trouble(proxy=address, trust_env=False)):
            _leave_out(name, trouble)
            del os.environ[name]
    kept = []
    for entry in [*_entries("no_proxy"), *_entries("NO_PROXY"), *OWN_ADDRESSES, host]:
        entry = entry.strip("[]")  # of an IPv6 address, which httpx expects bare
        os.environ["no_proxy"] = os.environ["NO_PROXY"] = entry
        if trouble := _trouble():
            _leave_out(tr("{entry!r} in NO_PROXY", entry=entry), trouble)
        elif entry and entry not in kept:
            kept.append(entry)
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "*" if "*" in kept else ",".join(kept)


def _entries(name: str) -> list[str]:
    return [entry.strip() for entry in os.environ.get(name, "").split(",")]


def _trouble(**options) -> str:
    """Why httpx cannot use the environment with these options; empty if it can."""
    import httpx  # takes a fifth of a second, and most environments have no proxy

    try:
        httpx.Client(verify=False, **options).close()
    except (ValueError, ImportError, httpx.InvalidURL) as error:
        return str(error).rstrip(".")
    return ""


def _leave_out(what: str, trouble: str) -> None:
    sentence = tr(
        "The proxy setting {name} is left out, because it cannot be used: {reason}.", name=what, reason=trouble
    )
    print(sentence, file=sys.stderr)
