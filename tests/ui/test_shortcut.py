"""The entry in the start menu of each system: its files and scripts, read as the system reads them."""

import os
import plistlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import PROJECT
from ui.desktop.shortcut import on_linux, on_macos, windows_script

ODD = "a \"b\" 'c' $HOME `d` 100% \\e\\ \u2019f"
COMMAND = ["/usr/bin/py thon", "/home/ada/launch.py", "from-shortcut", "--runs-dir", ODD]


def arguments_of(value: str) -> list[str]:
    """Splits the value of Exec as the Desktop Entry Specification says."""
    value = re.sub(r"\\(.)", lambda found: {"s": " ", "n": "\n", "t": "\t"}.get(found[1], found[1]), value)
    quoted = re.findall(r'"((?:[^"`$\\]|\\["`$\\])*)"(?: |$)', value)
    assert " ".join(f'"{one}"' for one in quoted) == value, "nothing is left between the arguments"
    assert not any("%" in one.replace("%%", "") for one in quoted), "a single % would be a field code"
    return [re.sub(r"\\(.)", r"\1", one).replace("%%", "%") for one in quoted]


def test_the_desktop_entry(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    file = on_linux(["/usr/bin/python3", "before"])
    assert on_linux(COMMAND) == file == tmp_path / "applications" / "hearthtune.desktop", "it is replaced"
    head, *lines = file.read_text(encoding="utf-8").splitlines()
    entry = dict(line.split("=", 1) for line in lines)
    assert head == "[Desktop Entry]" and arguments_of(entry.pop("Exec")) == COMMAND
    assert entry == {
        "Type": "Application",
        "Name": "HearthTune",
        "Comment": "Fine-tune a Llama at home",
        "Path": str(PROJECT),
        "Icon": str(PROJECT / "ui" / "icons" / "favicon.svg"),
        "Terminal": "true",
        "Categories": "Science;ArtificialIntelligence;",
    }
    assert Path(entry["Icon"]).is_file()


def test_without_a_data_folder_of_its_own_the_usual_one_is_used(tmp_path, monkeypatch):
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert on_linux(COMMAND) == tmp_path / ".local" / "share" / "applications" / "hearthtune.desktop"


def test_the_script_for_windows():
    command = [r"C:\Ada's \Python\python.exe", r"C:\Ada\u2019s folder\launch.py".replace(r"\u2019", "\u2019")]
    script = windows_script([*command, "from-shortcut", "--auth", 'ada:"x"'])
    assert script.splitlines() == [
        "$ErrorActionPreference = 'Stop'",
        "[Console]::OutputEncoding = [Text.Encoding]::UTF8",
        "try {",
        "$file = Join-Path ([Environment]::GetFolderPath('Programs')) 'HearthTune.lnk'",
        "$link = (New-Object -ComObject WScript.Shell).CreateShortcut($file)",
        r"$link.TargetPath = 'C:\Ada''s \Python\python.exe'",
        '$link.Arguments = \'"C:\\Ada\u2019\u2019s folder\\launch.py" from-shortcut --auth ada:\\"x\\"\'',
        f"$link.WorkingDirectory = '{PROJECT}'",
        f"$link.IconLocation = '{PROJECT / 'ui' / 'icons' / 'hearthtune.ico'},0'",
        "$link.Description = 'Fine-tune a Llama at home'",
        "$link.Save()",
        "$file",
        "} catch { [Console]::Error.WriteLine($_.Exception.Message); exit 1 }",
    ]


@pytest.mark.skipif(sys.platform == "win32", reason="runs a shell script")
def test_the_app_bundle(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    show = ["/bin/sh", "-c", 'pwd; printf "%s\\n" "$@"', "-", "from-shortcut", ODD]
    on_macos(["/bin/false"])
    bundle = on_macos(show)
    assert bundle == tmp_path / "Applications" / "HearthTune.app"
    about = plistlib.loads((bundle / "Contents" / "Info.plist").read_bytes())
    starter = bundle / "Contents" / "MacOS" / about["CFBundleExecutable"]
    icon = bundle / "Contents" / "Resources" / about["CFBundleIconFile"]
    in_terminal = bundle / "Contents" / "Resources" / "HearthTune.command"
    assert (about["CFBundleName"], icon.read_bytes()[:4]) == ("HearthTune", b"icns")
    assert os.access(starter, os.X_OK)
    assert starter.read_text() == f"#!/bin/sh\nexec open -a Terminal {in_terminal}\n"
    done = subprocess.run([in_terminal], capture_output=True, encoding="utf-8", check=True, timeout=60)
    assert done.stdout == f"{PROJECT}\nfrom-shortcut\n{ODD}\n"
