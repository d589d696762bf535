"""Debian packages that are unpacked together with what they need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from kvproxy.testing.servers import debian
from kvproxy.testing.servers.debian import debian_installation, debian_with_libraries
from kvproxy.testing.servers.programs import ServerError

PROGRAM = "usr/lib/tool/tool"
ARCHIVES = """\
http://else.invalid/ sid main [$(SIGNED_BY)]
http://debian.invalid/debian/ bookworm main [/k.gpg]
http://debian.invalid/debian/ bookworm-backports main [/k.gpg]
http://debian.invalid/security/ bookworm-security main [/k.gpg]
http://debian.invalid/security/ bookworm-security main [/k.gpg]
"""


class Apt:
    """Says which packages a machine lacks, and notes what it is asked."""

    def __init__(self, files: dict[str, list[str]]) -> None:
        self.files = files
        self.commands: list[list[str]] = []
        self.sources = ""

    def run(self, package: str, command: Sequence[str], directory: Path) -> str:
        """In place of starting a program."""
        self.commands.append(list(command))
        if "indextargets" in command:
            return ARCHIVES
        if "install" in command:
            self.sources = (directory / "sources.list").read_text()
            for name in self.files:
                (directory / "cache" / "archives" / f"{name}.deb").touch()
        if "download" in command:
            for name in command[command.index("download") + 1 :]:
                (directory / f"{name}.deb").touch()
        if command[0] == "dpkg-deb":
            for file in self.files[Path(command[2]).stem]:
                made = directory / command[3] / file
                made.parent.mkdir(parents=True, exist_ok=True)
                made.touch()
        return ""


@pytest.fixture
def apt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Apt:
    """A machine that lacks a tool and a library of it."""
    one = Apt({"tool": [PROGRAM], "libtool": [f"{debian._LIBRARIES[0]}/libtool.so.1"]})
    monkeypatch.setattr(debian, "_own_suite", lambda: "bookworm")
    monkeypatch.setattr(debian, "_cache", lambda: tmp_path)
    monkeypatch.setattr(debian, "_run", one.run)
    monkeypatch.setattr(debian.shutil, "which", lambda name: name)
    return one


def test_needed_libraries_come_along(apt: Apt, tmp_path: Path) -> None:
    """And is fetched once; only what this machine lacks, as apt knows what is installed."""
    program, environment = debian_installation("tool", PROGRAM)
    assert program == tmp_path / "tool-bookworm-installed" / PROGRAM
    assert program.exists()
    assert environment == {"LD_LIBRARY_PATH": str(tmp_path / "tool-bookworm-installed" / debian._LIBRARIES[0])}
    assert not [part for command in apt.commands for part in command if part.startswith("Dir::State::status=")]
    asked = len(apt.commands)
    assert debian_installation("tool", PROGRAM) == (program, environment)
    assert len(apt.commands) == asked


def test_named_libraries_are_fetched_at_once_though_they_may_be_installed(apt: Apt, tmp_path: Path) -> None:
    """Lists of packages are loaded once for all of them."""
    program, environment = debian_with_libraries("tool", PROGRAM, ["libtool"])
    folder = tmp_path / "tool-bookworm-with-libraries"
    assert program == folder / PROGRAM
    assert program.exists()
    assert environment == {"LD_LIBRARY_PATH": str(folder / debian._LIBRARIES[0])}
    assert sum("update" in command for command in apt.commands) == 1
    asked = len(apt.commands)
    assert debian_with_libraries("tool", PROGRAM, ["libtool"]) == (program, environment)
    assert len(apt.commands) == asked
    with pytest.raises(ServerError, match="has no usr/other"):
        debian_with_libraries("tool", "usr/other", ["libtool"])


def test_packages_are_of_the_own_release_and_its_security_updates(apt: Apt) -> None:
    """A browser above all should be the newest; archives of others do not matter."""
    debian_installation("tool", PROGRAM)
    assert apt.sources.splitlines() == [
        "deb [signed-by=/k.gpg] http://debian.invalid/debian/ bookworm main",
        "deb [signed-by=/k.gpg] http://debian.invalid/security/ bookworm-security main",
    ]


def test_a_machine_without_fonts_gets_those_that_came_along(apt: Apt, tmp_path: Path) -> None:
    """Else its own are used."""
    apt.files["fontconfig-config"] = ["etc/fonts/fonts.conf"]
    _, environment = debian_installation("tool", PROGRAM)
    assert environment["FONTCONFIG_SYSROOT"] == str(tmp_path / "tool-bookworm-installed")


def test_a_package_that_is_installed_without_its_program_is_an_error(apt: Apt) -> None:
    """It is asked for again the next time."""
    apt.files.clear()
    with pytest.raises(ServerError, match="says that it is installed, but usr/lib/tool/tool is missing"):
        debian_installation("tool", PROGRAM)
    apt.files["tool"] = [PROGRAM]
    assert debian_installation("tool", PROGRAM)[0].exists()
