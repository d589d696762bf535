"""Traefik's log: a file that Traefik writes to, whether a hub runs or not, followed into the hub's log."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Final

from .._types import Log
from .half_read import HalfRead
from .log_limit import WINDOW, Repetition
from .provider_errors import provider_error
from .redaction import Blotter

#: A log file that has grown past this many bytes is emptied once its lines have been passed on.
_LIMIT: Final = 4 * 1024 * 1024
#: Bytes that are read at one look, so that none holds the hub up: some thousands of short lines take 0.1 s.
_READ: Final = 128 * 1024
#: Bytes of the longest line that is taken apart.
_LONGEST: Final = 512 * 1024
#: Characters of each of the last lines that are repeated when Traefik has ended.
_LAST_WORDS: Final = 400

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
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        text = re.sub(r"\x1b\[[0-9;]*m", "", line.rstrip())
        # Traefik's Redis client has a log of its own, in which it also says which master a Sentinel named.
        return logging.INFO if text.startswith("redis: ") else logging.ERROR, text
    message = str(fields.pop("message", "")).strip()
    details = " ".join(f"{name}={value}" for name, value in fields.items())
    return level, f"{message} ({details})" if details and message else message or details


class TraefikLog:
    """The file that Traefik writes to, and how far it has been passed on.

    Users' servers and the store choose much of what stands there. So each line is shortened, escaped and cleared of
    secrets, those that repeat are counted instead, and no more is read than the hub has time for.

    Args:
        path: where it is.
        log: the hub's logger.
        secrets: texts that are blotted out.
        provider: name of Traefik's provider whose errors are remembered.
        clock: seconds that go on steadily, as those of the event loop do.
    """

    def __init__(
        self,
        path: Path,
        log: Log,
        secrets: Sequence[str] = (),
        *,
        provider: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._provider = provider
        self._provider_error = ("", 0.0)
        self._path = path
        self._log = log
        self._blotter = Blotter(secrets)
        self._clock = clock
        self._repetition = Repetition()
        self._half_read = HalfRead()
        self._file: IO[bytes] | None = None
        self._unfinished = b""
        self._overlong = False
        self._last_lines: deque[str] = deque(maxlen=5)

    @property
    def last_words(self) -> str:
        """A sentence with what Traefik said last."""
        said = [self._blotter.shown(line, _LAST_WORDS) for line in self._last_lines]
        return "Its last words: " + " | ".join(said) if said else "It said nothing."

    def provider_error(self, since: float) -> str:
        """Say what the provider's last error was, if it has been read since a moment of the clock; empty if not."""
        error, moment = self._provider_error
        return self._blotter.shown(error, _LAST_WORDS) if moment >= since else ""

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
            self._log.warning("Traefik's log %s is gone; its messages are lost until it is restarted.", self._path)
            return
        assert self._file is not None  # noqa: S101 - for the type checker
        self._file.seek(0, os.SEEK_END)

    def pass_on(self, *, ending: bool = False) -> None:
        """Pass the lines that have come since the last time on to the hub's log.

        Args:
            ending: whether Traefik has been told to stop. Its lines then, such as that it listens no longer
                (``use of closed network connection``, 3.0), is no trouble.
        """
        if self._file is None:
            return
        now = self._clock()
        for level, example, times in self._repetition.summaries(now):
            like = f"like this one: {self._blotter.shown(example)}" if example else "of other kinds."
            self._log.log(level, "Traefik said %d more lines within %g s %s", times, WINDOW, like)
        size = os.fstat(self._file.fileno()).st_size
        if size < self._file.tell():
            self._file.seek(0)  # it was truncated by another program
        backlog = size - self._file.tell()
        left_out = backlog - _READ if backlog > max(_LIMIT, _READ) else 0
        if left_out:
            self._file.seek(left_out, os.SEEK_CUR)
            self._unfinished, self._overlong = b"", True
            self._say(f"more than can be passed on; {left_out} bytes of it are left out.", logging.WARNING, ending, now)
        read = self._file.read(_READ)
        for line in self._lines(read):
            whole = line.decode(errors="replace")
            level, text = parse_log_line(whole)
            if error := provider_error(whole, self._provider):
                self._provider_error = (error, now)
            self._say(text, level, ending, now)
        if self._file.tell() > _LIMIT and (left_out or len(read) < _READ):
            with contextlib.suppress(OSError):
                os.truncate(self._path, 0)
                self._file.seek(0)

    def _lines(self, read: bytes) -> list[bytes]:
        """The lines that are whole by now. The beginning of one that is still being written is kept."""
        *lines, rest = (self._unfinished + read).split(b"\n")
        if self._overlong and lines:
            lines.pop(0)
            self._overlong = False
        elif self._overlong:
            rest = b""
        if len(rest) > _LONGEST:
            lines.append(rest)
            rest, self._overlong = b"", True
        self._unfinished = rest
        return lines

    def close(self) -> None:
        """Follow it no longer."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def _open(self) -> None:
        self.close()
        self._unfinished, self._overlong = b"", False
        self._file = self._path.open("rb")

    def _say(self, text: str, level: int, ending: bool, now: float) -> None:
        text = text[: self._blotter.reach]
        self._last_lines.append(text)
        level = logging.DEBUG if ending else self._half_read.level(level, text, now)
        if level <= logging.DEBUG or self._repetition.passes(level, text, now):
            self._log.log(level, "Traefik: %s", self._blotter.shown(text))
