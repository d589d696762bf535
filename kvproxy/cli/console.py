"""Printing: colours and tables on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
from typing import IO

from rich.console import Console


def on_terminal(stream: IO[str] | None = None) -> bool:
    """Whether a stream, standard output if None, is a terminal."""
    return (stream or sys.stdout).isatty()


def console(stderr: bool = False) -> Console:
    """Where to print. Texts are printed as they are: nothing in them is taken for markup."""
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)
