"""Texts for a log or a terminal: plurals, and texts of users, stores and Traefik made safe."""

from __future__ import annotations

from typing import Final

#: Maximum characters of a text in a log.
LIMIT: Final = 2000
#: Maximum items that a sentence lists.
NAMED: Final = 3


def counted(number: int, noun: str) -> str:
    """Return a number and its noun, in the singular or the plural.

    >>> counted(1, "route"), counted(2, "route")
    ('1 route', '2 routes')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def and_more(number: int) -> str:
    """Return the end of a sentence's list of items, of which the first :data:`NAMED` are listed.

    >>> "a, b, c" + and_more(5), "a, b" + and_more(2)
    ('a, b, c and 2 more', 'a, b')
    """
    return f" and {number - NAMED} more" if number > NAMED else ""


def printable(text: str) -> str:
    """Escape the characters that control a terminal or a log viewer.

    Those are, for example, line breaks and marks that change the direction of writing.

    >>> print(printable("a\\x1b[2Jü"))
    a\\x1b[2Jü
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shown(text: str, limit: int = LIMIT) -> str:
    """Return a printable text of limited length, with the number of characters that were cut off.

    >>> shown("a" * 12, 10)
    'aaaaaaaaaa… (2 more)'
    """
    return cut(printable(text[:limit]), limit, len(text) - limit)


def cut(text: str, limit: int, more: int = 0) -> str:
    """Return the beginning of a text.

    Args:
        text: a text that may be too long.
        limit: maximum characters to keep.
        more: characters after the text that were cut off before.
    """
    left_out = max(len(text) - limit, 0) + max(more, 0)
    return f"{text[:limit]}… ({left_out} more)" if left_out else text
