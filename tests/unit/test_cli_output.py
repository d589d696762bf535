"""Consoles for tests, and what is printed where."""

from __future__ import annotations

import io

from rich.console import Console

from kvproxy.cli.console import console, on_terminal


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


def test_nothing_in_a_text_is_taken_for_markup() -> None:
    """What others have chosen is printed as it is."""
    out = console()
    with out.capture() as capture:
        out.print("[bold]:smile: 127.0.0.1[/bold]")
    assert capture.get() == "[bold]:smile: 127.0.0.1[/bold]\n"
