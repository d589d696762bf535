"""Output: colours and tables on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import os
import re
import stat
import sys
from typing import IO, TYPE_CHECKING, Any, Final

from .._text import printable

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["console", "dump", "file_for_all", "on_terminal", "printable"]

#: Control characters that JSON does not escape and that some terminals obey.
_CONTROLS: Final = re.compile("[\x7f-\x9f]")


def on_terminal(stream: IO[str] | None = None) -> bool:
    """Return True if a stream, standard output if None, is a terminal."""
    return (stream or sys.stdout).isatty()


def file_for_all(stream: IO[str]) -> bool:
    """Return True if a stream is a file that every user of the machine can read, as a shell's ``>`` makes it."""
    try:
        mode = os.fstat(stream.fileno()).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) and bool(mode & stat.S_IROTH)


def console(stderr: bool = False) -> Console:
    """Return a console that prints texts as they are, without interpreting markup."""
    from rich.console import Console

    return Console(stderr=stderr, highlight=False, markup=False, emoji=False)


def dump(value: Any, indent: int | None = None) -> str:
    """Return JSON that is safe for a terminal, on one line if it is not indented.

    >>> dump({"ü": "\\x9b2J"})
    '{"ü": "\\\\u009b2J"}'
    """
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
