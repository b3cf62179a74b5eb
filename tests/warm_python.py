"""Stands in for `python` in tests of programs that start Python: `-m module`, `-c code` or a file, in a warm process.

`tests.warm_process.warm_python` makes an executable of this file. It asks the test process to fork a child, waits for
it, passes on what the child printed, and exits with its exit code.
"""

import json
import os
import signal
import socket
import sys
import time
from pathlib import Path

ADDRESS = ""  # of the test process; set in the executable

with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(ADDRESS)
    request = {"argv": sys.argv[1:], "environment": dict(os.environ)}
    connection.sendall(json.dumps(request).encode() + b"\n")
    answer = json.loads(connection.makefile().readline())
signal.signal(signal.SIGTERM, lambda *_: os.kill(answer["pid"], signal.SIGTERM))
folder = Path(answer["folder"])
while not (folder / "exit").exists():
    time.sleep(0.01)
sys.stdout.write((folder / "stdout").read_text(errors="replace"))
sys.stderr.write((folder / "stderr").read_text(errors="replace"))
sys.exit(int((folder / "exit").read_text()) & 255)
