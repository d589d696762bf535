"""Certificate files that are renewed while the hub runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Final, TypeAlias

from .._types import Log

#: The modification time and the inode of each file; None for a missing one.
Stamp: TypeAlias = tuple[tuple[int, int] | None, ...]

#: Seconds between two checks.
_PAUSE: Final = 30.0


def stamp(files: Sequence[str]) -> Stamp:
    """Return a value that changes when a file is written or replaced; an invalid name counts as a missing file."""
    return tuple(map(_stamp, files))


def _stamp(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ino


async def tell_renewals(files: Sequence[str], log: Log) -> None:
    """Log, forever, renewals of files that Traefik reads only at its start.

    Args:
        files: the files of Traefik's connection to the store.
        log: the hub's logger.
    """
    before = stamp(files)
    while True:
        await asyncio.sleep(_PAUSE)
        now = stamp(files)
        if changed := [file for file, old, new in zip(files, before, now, strict=True) if new not in (old, None)]:
            log.warning(
                "%s changed. The hub uses the new contents for its next connection to the store; Traefik has read them "
                "at its start only (its version 3.7), so restart it before the old ones are no longer accepted.",
                ", ".join(changed) + (" have" if len(changed) > 1 else " has"),
            )
            before = now
