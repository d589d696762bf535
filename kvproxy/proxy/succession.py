"""Succession to jupyterhub-traefik-proxy, whose routes are still in the store."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from .._text import counted
from .._types import Log


def tell_left(left: int, app: Any, log: Log) -> None:
    """Log the number of routes that another proxy has left in the store, with the command that removes them."""
    log.warning(
        "The store still holds %s of jupyterhub-traefik-proxy, now with a lower priority than the hub's own; to "
        "remove what is left, stop the hub, run: %s, and start it again.",
        counted(left, "route"),
        takeover_command(app),
    )


def takeover_command(app: Any) -> str:
    """Return the command that takes over and removes jupyterhub-traefik-proxy's routes in the store of this hub."""
    config_file = str(getattr(app, "config_file", ""))
    named = ["-f", str(Path(config_file).absolute())] if config_file else []
    return shlex.join(["kvproxy", "migrate", *named, "--from-peer", "--delete-old", "--execute"])
