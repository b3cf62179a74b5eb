"""Put HearthTune into the start menu: `python shortcut.py PYTHON [ARGS...]`, called by `python launch.py shortcut`.

PYTHON is the one that runs `launch.py`, and ARGS are passed to the app at each start. The entry starts in a terminal,
which shows what is installed, and why something fails. Uses only the standard library.
"""

import base64
import os
import plistlib
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ICONS = ROOT / "ui" / "icons"
COMMENT = "Fine-tune a Llama at home"


def main(python: str, *args: str) -> int:
    """Makes or replaces the entry and prints its path. Returns the exit code."""
    command = [python, str(ROOT / "launch.py"), "from-shortcut", *args]
    try:
        if sys.platform == "win32":
            print(f"HearthTune is now in the start menu: {on_windows(command)}")
        elif sys.platform == "darwin":
            print(f"HearthTune is now an app: {on_macos(command)}")
        else:
            print(f"HearthTune is now in the start menu: {on_linux(command)}")
    except (OSError, subprocess.SubprocessError) as error:
        print(f"The shortcut cannot be made: {error}; start with `python launch.py --window` instead.", file=sys.stderr)
        return 1
    return 0


def on_linux(command: list[str]) -> Path:
    """Writes a desktop entry (freedesktop.org's Desktop Entry Specification). Raises OSError."""
    home = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
    entry = {
        "Type": "Application",
        "Name": "HearthTune",
        "Comment": COMMENT,
        "Exec": " ".join(map(exec_quoted, command)),
        "Path": str(ROOT),
        "Icon": str(ICONS / "favicon.svg"),
        "Terminal": "true",
        "Categories": "Science;ArtificialIntelligence;",
    }
    lines = [f"{key}={value.replace(chr(92), chr(92) * 2)}" for key, value in entry.items()]
    file = home / "applications" / "hearthtune.desktop"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(["[Desktop Entry]", *lines, ""]), encoding="utf-8")
    return file


def exec_quoted(argument: str) -> str:
    """One argument of the key Exec, before backslashes are doubled as in every value."""
    return '"' + re.sub(r'(["`$\\])', r"\\\1", argument).replace("%", "%%") + '"'


def on_windows(command: list[str]) -> str:
    """Makes a .lnk file in the person's Start menu. Raises OSError and SubprocessError."""
    # In base64, the script needs no quoting on its way through the command line.
    script = base64.b64encode(windows_script(command).encode("utf-16-le")).decode("ascii")
    shell = ["powershell.exe", "-NoProfile", "-NonInteractive", "-EncodedCommand", script]
    done = subprocess.run(shell, capture_output=True, encoding="utf-8", errors="replace")
    if done.returncode:
        raise OSError(f"PowerShell says {(done.stderr.strip().splitlines() or ['nothing'])[0].rstrip('.')}")
    return done.stdout.strip()


def windows_script(command: list[str]) -> str:
    """The PowerShell script that makes the .lnk file and prints its path."""
    program, *arguments = command
    values = {
        "TargetPath": program,
        "Arguments": subprocess.list2cmdline(arguments),
        "WorkingDirectory": str(ROOT),
        "IconLocation": f"{ICONS / 'hearthtune.ico'},0",
        "Description": COMMENT,
    }
    return "\n".join(
        [
            "$ErrorActionPreference = 'Stop'",
            "[Console]::OutputEncoding = [Text.Encoding]::UTF8",
            "try {",
            "$file = Join-Path ([Environment]::GetFolderPath('Programs')) 'HearthTune.lnk'",
            "$link = (New-Object -ComObject WScript.Shell).CreateShortcut($file)",
            *(f"$link.{name} = {powershell_quoted(value)}" for name, value in values.items()),
            "$link.Save()",
            "$file",
            "} catch { [Console]::Error.WriteLine($_.Exception.Message); exit 1 }",
        ]
    )


def powershell_quoted(text: str) -> str:
    """A literal of PowerShell, to which curly quotes are quotes too."""
    return "'" + re.sub("(['\u2018\u2019\u201a\u201b])", r"\1\1", text) + "'"


def on_macos(command: list[str]) -> Path:
    """Writes an app bundle that opens a terminal, in ~/Applications. Raises OSError."""
    bundle = Path.home() / "Applications" / "HearthTune.app"
    contents = bundle / "Contents"
    about = {
        "CFBundleName": "HearthTune",
        "CFBundleIdentifier": "local.hearthtune",
        "CFBundleExecutable": "HearthTune",
        "CFBundleIconFile": "hearthtune.icns",
        "CFBundlePackageType": "APPL",
        "CFBundleShortVersionString": "1.0",
    }
    in_terminal = contents / "Resources" / "HearthTune.command"
    scripts = {
        contents / "MacOS" / "HearthTune": f"exec open -a Terminal {shlex.quote(str(in_terminal))}",
        in_terminal: f"cd {shlex.quote(str(ROOT))} && exec {shlex.join(command)}",
    }
    for file, line in scripts.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"#!/bin/sh\n{line}\n", encoding="utf-8")
        file.chmod(0o755)
    (contents / "Resources" / "hearthtune.icns").write_bytes((ICONS / "hearthtune.icns").read_bytes())
    (contents / "Info.plist").write_bytes(plistlib.dumps(about))
    return bundle


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
