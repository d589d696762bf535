"""Limits for Traefik's lines in the hub's log, as values: a user's server can make it repeat itself forever."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Seconds for which lines are counted together.
WINDOW: Final = 60.0
#: Lines of one kind, and of all kinds, that are passed on in that time. The rest is counted.
EACH: Final = 5
ALL: Final = 60
#: Words at the beginning of a line that tell its kind.
_WORDS: Final = 8


@dataclass
class _Kind:
    level: int
    example: str
    passed: int = 0
    withheld: int = 0


class Repetition:
    """Decides which lines are passed on, and says how many were not. Times are in seconds."""

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._since: float | None = None
        self._texts: set[str] = set()
        self._kinds: dict[tuple[int, str], _Kind] = {}
        self._others = 0

    def passes(self, level: int, text: str, now: float) -> bool:
        """True if a line is passed on.

        Args:
            level: of the line.
            text: the line.
            now: when it came; :meth:`summaries` was asked for shortly before.
        """
        self._since = now if self._since is None else self._since
        about = (level, kind_of(text))
        kind = self._kinds.get(about)
        if kind is not None and (text in self._texts or kind.passed >= EACH):
            kind.withheld += 1
            return False
        if len(self._texts) >= ALL:
            self._others += 1
            return False
        self._texts.add(text)
        self._kinds.setdefault(about, _Kind(level, text)).passed += 1
        return True

    def summaries(self, now: float) -> list[tuple[int, str, int]]:
        """Summarise the withheld lines at the end of the period in which they were counted.

        Returns:
            Level, an example that was passed on (empty for lines of many kinds), and how many were withheld.
        """
        if self._since is None or now < self._since + WINDOW:
            return []
        found = [(kind.level, kind.example, kind.withheld) for kind in self._kinds.values() if kind.withheld]
        if self._others:
            found.append((max(kind.level for kind in self._kinds.values()), "", self._others))
        self._begin()
        return found


def kind_of(text: str) -> str:
    """Tells lines of another kind, but not those that differ by a number, a name or what a server has answered.

    >>> kind_of("Provider error, retrying in 740 ms (error=no)"), kind_of('the service "a@file" does not exist')
    ('Provider retrying in ms', 'the service does not exist')
    """
    return " ".join(word for word in text[:200].split(maxsplit=_WORDS)[:_WORDS] if word.isalpha())
