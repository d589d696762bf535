"""Texts for a log or a terminal: numbers of things, and texts of users, stores and Traefik made safe."""

from __future__ import annotations

from typing import Final

#: Characters of a text that a log may have to take.
LIMIT: Final = 2000
#: Things that are named in a sentence, if there are more.
NAMED: Final = 3


def counted(number: int, noun: str) -> str:
    """A number of things.

    >>> counted(1, "route"), counted(2, "route")
    ('1 route', '2 routes')
    """
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def and_more(number: int) -> str:
    """The end of a sentence's list of things, of which the first :data:`NAMED` are named.

    >>> "a, b, c" + and_more(5), "a, b" + and_more(2)
    ('a, b, c and 2 more', 'a, b')
    """
    return f" and {number - NAMED} more" if number > NAMED else ""


def printable(text: str) -> str:
    """A text without characters that a terminal or a reader of logs obeys, such as escapes, line breaks and marks
    that change the direction of writing.

    >>> print(printable("a\\x1b[2Jü"))
    a\\x1b[2Jü
    """
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def shown(text: str, limit: int = LIMIT) -> str:
    """A printable text of bounded length, which says how much was cut off.

    >>> shown("a" * 12, 10)
    'aaaaaaaaaa… (2 more)'
    """
    return cut(printable(text[:limit]), limit, len(text) - limit)


def cut(text: str, limit: int, more: int = 0) -> str:
    """The beginning of a text.

    Args:
        text: what may be too long.
        limit: characters that are kept.
        more: characters behind the text that have been left out already.
    """
    left_out = max(len(text) - limit, 0) + max(more, 0)
    return f"{text[:limit]}… ({left_out} more)" if left_out else text
