"""Secrets are blotted out of texts, however they are spelled there."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import groupby
from typing import Final

from .._text import LIMIT, cut, printable

#: A secret of fewer characters is left: it stands in too many words, and is soon guessed anyway.
_SHORT: Final = 4
#: The text in a secret's place.
BLOT: Final = "…"
#: Backslashes in front of a character that is quoted, also within a text that is quoted again, and again.
_QUOTES: Final = r"\\{0,8}"
_QUOTED: Final = r"\\{1,8}"
#: Characters that a spelling of one character has at most.
_LONGEST: Final = 48
_LETTERS: Final = dict(zip("\a\b\f\n\r\t\v\0", "abfnrtv0", strict=True))
_ENTITIES: Final = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}


class Blotter:
    """Makes texts fit for a log.

    A secret is found as it is, quoted as by JSON, Go or Python, percent-encoded as in a URL, or as in HTML.

    Args:
        secrets: what is blotted out.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # A longer one first: another may be the beginning of it.
        hidden = sorted({secret for secret in secrets if len(secret) >= _SHORT}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(_spelled, hidden))) if hidden else None
        self._margin = max(map(len, hidden), default=0) * _LONGEST

    @property
    def reach(self) -> int:
        """Characters at the beginning of a text that :meth:`shown` looks at."""
        return LIMIT + self._margin

    def shown(self, text: str, limit: int = LIMIT) -> str:
        """A text without control characters and secrets, of bounded length."""
        begin = text[: limit + self._margin]
        made, more = printable(begin), len(text) - len(begin)
        if self._pattern is None:
            return cut(made, limit, more)
        parts, end = list[str](), 0
        # Up to the limit, each secret is found whole: behind the limit there is a margin as long as any spelling.
        for found in self._pattern.finditer(made):
            if found.start() >= limit:
                break
            parts += made[end : found.start()], BLOT
            end = found.end()
        parts.append(made[end : max(limit, end)])
        left_out = len(made) - max(limit, end) + more
        return cut("".join(parts), limit, left_out)


def _spelled(secret: str) -> str:
    """A regular expression for all spellings of a secret."""
    parts = []
    for character, run in groupby(secret):
        count = len(list(run))
        if character == "\\":
            # Only together do many of them have one way to be matched.
            parts.append(rf"(?:(?:{_encoded(character)}){{{count}}}|\\{{{count},{8 * count}}})")
        else:
            # The longer spellings first, as a percent sign may be the secret's own.
            parts.append(f"(?:{_encoded(character)}|{_QUOTES}{re.escape(character)}){{{count}}}")
    return "".join(parts)


def _encoded(character: str) -> str:
    code, encoded = ord(character), character.encode(errors="surrogatepass")
    units = character.encode("utf-16-be", errors="surrogatepass")
    spellings = [
        "(?i:" + "".join(f"%(?:25){{0,4}}{byte:02x}" for byte in encoded) + ")",
        "".join(f"{_QUOTED}u(?i:{units[i : i + 2].hex()})" for i in range(0, len(units), 2)),
        f"{_QUOTED}U(?i:{code:08x})",
        "".join(f"{_QUOTED}x(?i:{byte:02x})" for byte in encoded),
        f"(?i:&#0{{0,4}}{code};|&#x0{{0,4}}{code:x};)",
    ]
    if code < 0x100:
        spellings.append(f"{_QUOTED}x(?i:{code:02x})")
    if character in _LETTERS:
        spellings.append(_QUOTED + _LETTERS[character])
    if character in _ENTITIES:
        spellings.append(f"&{_ENTITIES[character]};")
    if character == " ":
        spellings.append(r"\+")
    return "|".join(spellings)
