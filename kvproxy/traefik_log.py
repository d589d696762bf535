"""Traefik's log, passed on to the hub's with its levels."""

from __future__ import annotations

import json
import logging
import os
import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from .replicas import Log

#: A log file that has grown past this many bytes is emptied once its lines have been passed on.
_LOG_LIMIT: Final = 4 * 1024 * 1024

_LEVELS: Final = {
    "trace": logging.DEBUG,
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warn": logging.WARNING,
    "error": logging.ERROR,
    "fatal": logging.CRITICAL,
    "panic": logging.CRITICAL,
}


def parse_log_line(line: str) -> tuple[int, str]:
    """Level and plain text of a line of Traefik's log, which is JSON for all but a crash of Go.

    >>> parse_log_line('{"level":"error","routerName":"r@redis","error":"no","time":"…","message":"bad"}')
    (40, 'bad (routerName=r@redis error=no)')
    """
    try:
        fields = json.loads(line)
        level = _LEVELS[fields.pop("level")]
        fields.pop("time", None)
    except (ValueError, KeyError, AttributeError, TypeError):
        return logging.ERROR, re.sub(r"\x1b\[[0-9;]*m", "", line.rstrip())
    message = str(fields.pop("message", "")).strip()
    details = " ".join(f"{name}={value}" for name, value in fields.items())
    return level, f"{message} ({details})" if details and message else message or details


class LogFollower:
    """Reads a growing log file.

    Args:
        path: the file.
        log: the hub's logger.
        secrets: texts that are blotted out.
    """

    def __init__(self, path: Path, log: Log, secrets: Sequence[str]) -> None:
        self._path = path
        self._log = log
        self._secrets = [secret for secret in secrets if secret]
        self._output: IO[bytes] | None = None
        self._unfinished = ""
        self._last_lines: deque[str] = deque(maxlen=5)

    def open(self, *, at_end: bool) -> None:
        """Begin to read, at the file's beginning or where it ends now."""
        self._output = self._path.open("rb")
        if at_end:
            self._output.seek(0, os.SEEK_END)

    def close(self) -> None:
        """Read no more."""
        if self._output is not None:
            self._output.close()
            self._output = None

    @property
    def last_words(self) -> str:
        """The last lines in a sentence."""
        return "Its last words: " + " | ".join(self._last_lines) if self._last_lines else "It said nothing."

    def pass_on(self) -> None:
        """Log what has come since the last time."""
        if self._output is None:
            return
        # What comes after the last line break is the beginning of a line that is still being written.
        *lines, self._unfinished = (self._unfinished + self._output.read().decode(errors="replace")).split("\n")
        for raw in lines:
            for secret in self._secrets:
                raw = raw.replace(secret, "…")
            level, text = parse_log_line(raw)
            self._last_lines.append(text)
            self._log.log(level, "Traefik: %s", text)
        if self._output.tell() > _LOG_LIMIT:
            os.truncate(self._path, 0)
            self._output.seek(0)
