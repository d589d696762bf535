"""Traefik's log: a file that Traefik writes to, whether a hub runs or not, followed into the hub's log."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Final

from .watch import Log

#: A log file that has grown past this many bytes is emptied once its lines have been passed on.
_LIMIT: Final = 4 * 1024 * 1024

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
        text = re.sub(r"\x1b\[[0-9;]*m", "", line.rstrip())
        # Traefik's Redis client has a log of its own, in which it also says which master a Sentinel named.
        return logging.INFO if text.startswith("redis: ") else logging.ERROR, text
    message = str(fields.pop("message", "")).strip()
    details = " ".join(f"{name}={value}" for name, value in fields.items())
    return level, f"{message} ({details})" if details and message else message or details


class TraefikLog:
    """The file that Traefik writes to, and how far it has been passed on.

    Args:
        path: where it is.
        log: the hub's logger.
        secrets: texts that are blotted out.
    """

    def __init__(self, path: Path, log: Log, secrets: Sequence[str] = ()) -> None:
        self._path = path
        self._log = log
        self._secrets = [secret for secret in secrets if secret]
        self._file: IO[bytes] | None = None
        self._unfinished = b""
        self._last_lines: deque[str] = deque(maxlen=5)

    @property
    def last_words(self) -> str:
        """A sentence with what Traefik said last."""
        return "Its last words: " + " | ".join(self._last_lines) if self._last_lines else "It said nothing."

    def open_for_traefik(self) -> IO[bytes]:
        """The file for Traefik to write to, in place of an earlier one if that has been removed. To be closed.

        Raises:
            OSError: if it cannot be made.
        """
        output = os.fdopen(os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), "ab")
        if self._file is None or not os.path.sameopenfile(self._file.fileno(), output.fileno()):
            self._open()
        return output

    def follow_from_end(self) -> None:
        """Pass on what Traefik says from now on; what it said before, an earlier hub has passed on.

        Raises:
            OSError: if the file cannot be read.
        """
        try:
            self._open()
        except FileNotFoundError:
            self._log.warning("Traefik's log %s is gone; what it says is lost until it is started again.", self._path)
            return
        assert self._file is not None  # noqa: S101 - for the type checker
        self._file.seek(0, os.SEEK_END)

    def pass_on(self, *, ending: bool = False) -> None:
        """Pass the lines that have come since the last time on to the hub's log.

        Args:
            ending: whether Traefik has been told to stop. What it says then, such as that it listens no longer
                (``use of closed network connection``, 3.0), is no trouble of anybody's.
        """
        if self._file is None:
            return
        if os.fstat(self._file.fileno()).st_size < self._file.tell():
            self._file.seek(0)  # somebody else has emptied it
        # What comes after the last line break is the beginning of a line that is still being written.
        *lines, self._unfinished = (self._unfinished + self._file.read()).split(b"\n")
        for line in lines:
            self._say(line.decode(errors="replace"), ending)
        if self._file.tell() > _LIMIT:
            with contextlib.suppress(OSError):
                os.truncate(self._path, 0)
                self._file.seek(0)

    def close(self) -> None:
        """Follow it no longer."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        self.close()
        self._unfinished = b""
        self._file = self._path.open("rb")

    def _say(self, line: str, ending: bool) -> None:
        for secret in self._secrets:
            line = line.replace(secret, "…")
        level, text = parse_log_line(line)
        self._last_lines.append(text)
        self._log.log(logging.DEBUG if ending else level, "Traefik: %s", text)
