"""Why the page cannot be served at an address."""

import os
import socket

from core.disk.tolerant_reading import in_words


def why_not_listening(host: str, port: int) -> str:
    """What the system says about listening there, such as "address already in use"; empty if it allows it."""
    try:
        # Gradio tries 127.0.0.1 first, also for another address.
        for name in ("127.0.0.1", host.strip("[]") or None):
            places = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, kind, protocol, _, address in places:
                with socket.socket(family, kind, protocol) as listener:
                    if os.name == "posix":  # Windows would then allow a port that is in use
                        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    listener.bind(address)
                    listener.listen()
    except OSError as error:
        return in_words(error)
    return ""
