"""Consoles for tests, and what is printed where."""

from __future__ import annotations

import io
import json
import re

import pytest
from rich.console import Console

from kvproxy.cli.check import cmd as check
from kvproxy.cli.check.findings import error, warning
from kvproxy.cli.console import console, dump, on_terminal, printable


def plain_console(width: int = 100, colours: bool = False) -> Console:
    """A console of that width that prints nowhere."""
    plain = {"highlight": False, "markup": False, "emoji": False, "no_color": True}
    return Console(file=io.StringIO(), width=width, force_terminal=colours, **plain)


class Terminal(io.StringIO):
    """A text that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_pipe_is_no_terminal() -> None:
    """Nor is a file."""
    assert not on_terminal(io.StringIO())
    assert on_terminal(Terminal())


@pytest.mark.parametrize("character", ["\x00", "\x07", "\x1b", "\n", "\r", "\x7f", "\x9b", "\u202e"])
def test_no_name_can_command_the_terminal(character: str) -> None:
    """Such as the name of a server, which its user chooses."""
    assert character not in printable(f"a{character}b")
    assert printable("josé [x] 名") == "josé [x] 名"


def test_json_is_safe_to_look_at_and_still_json() -> None:
    """All that a terminal would obey is escaped, and nothing is lost."""
    value = {"josé": "".join(map(chr, range(0xA0)))}
    for indent in (None, 2):
        text = dump(value, indent)
        assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f]", text)
        assert json.loads(text) == value
    assert "josé" in dump(value)


def test_nothing_in_a_text_is_taken_for_markup() -> None:
    """Text that others have chosen is printed as it is."""
    out = console()
    with out.capture() as capture:
        out.print("[bold]:smile: 127.0.0.1[/bold]")
    assert capture.get() == "[bold]:smile: 127.0.0.1[/bold]\n"


def test_a_narrow_terminal_cuts_no_path_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is folded, so that it can be copied; the counts are in words for people."""
    path = "/opt/hub/a-rather-long-name-of-a-folder-for-this-terminal/jupyterhub_cookie_secret"
    out = plain_console(width=44)
    monkeypatch.setattr("kvproxy.cli.console.console", lambda: out)
    monkeypatch.setattr("kvproxy.cli.console.on_terminal", lambda: True)
    check._print([error("cookie secret", f"It is in {path}."), warning("clock", "It is late.")])
    printed = out.file.getvalue()
    assert path in "".join(printed.split())
    assert "…" not in printed
    assert printed.endswith("0 ok, 1 warning, 1 error\n")
