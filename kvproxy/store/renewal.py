"""Files with certificates that are renewed while the hub runs."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Final, TypeAlias

from .._types import Log

#: Of each file when it was changed, and which one it is; None if there is none.
Stamp: TypeAlias = tuple[tuple[int, int] | None, ...]

#: Seconds between two looks.
_PAUSE: Final = 30.0


def stamp(files: Sequence[str]) -> Stamp:
    """What is another one when a file was written or replaced; what is no file's name counts as a missing file."""
    return tuple(map(_stamp, files))


def _stamp(file: str) -> tuple[int, int] | None:
    try:
        found = os.stat(file)
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_ino


async def tell_renewals(files: Sequence[str], log: Log) -> None:
    """Say, for ever, when files have been renewed that Traefik reads at its start only.

    Args:
        files: with which Traefik comes to the store.
        log: the hub's logger.
    """
    before = stamp(files)
    while True:
        await asyncio.sleep(_PAUSE)
        now = stamp(files)
        if changed := [file for file, old, new in zip(files, before, now, strict=True) if new not in (old, None)]:
            log.warning(
                "%s changed. The hub uses the new contents for its next connection to the store; Traefik has read them "
                "at its start only (its version 3.7), so restart it before the old ones are no longer taken.",
                ", ".join(changed) + (" have" if len(changed) > 1 else " has"),
            )
            before = now
