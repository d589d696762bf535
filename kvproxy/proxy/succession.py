"""Succession to jupyterhub-traefik-proxy, whose routes are still in the store."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from jupyterhub.proxy import Proxy

from .._text import counted
from ..reconcile.reconciler import Reconciler
from .session import Session


class SucceedingProxy(Proxy):
    """A proxy that leaves the routes of jupyterhub-traefik-proxy in use only until the hub has added its own."""

    _session: Session | None = None
    _told_of_left = False

    @property
    def _reconciler(self) -> Reconciler | None:
        return self._session.reconciler if self._session is not None else None

    async def check_routes(self, *arguments: Any, **named: Any) -> None:
        """Do JupyterHub's check of all routes, and then put the routes that another proxy has left behind the hub's.

        The hub calls it at the end of its start, when it knows which servers run.
        """
        with self._reconciler.checking() if self._reconciler is not None else nullcontext():
            await super().check_routes(*arguments, **named)
        if self._reconciler is None or not (left := self._reconciler.prevail()) or self._told_of_left:
            return
        self._told_of_left = True
        self.log.warning(
            "The store still holds %s of jupyterhub-traefik-proxy, now with a lower priority than the hub's own; to "
            "remove what is left, stop the hub, run: %s, and start it again.",
            counted(left, "route"),
            self.takeover_command,
        )

    @property
    def named_as(self) -> str:
        """The proxy class as the hub's configuration names it; empty if there is no hub."""
        named = self.config.JupyterHub.get("proxy_class", "")
        return named if isinstance(named, str) else f"{named.__module__}.{named.__qualname__}"

    @property
    def takeover_command(self) -> str:
        """The command that takes over and removes jupyterhub-traefik-proxy's routes in the hub's own store."""
        config_file = str(getattr(self.app, "config_file", ""))
        named = ["-f", str(Path(config_file).absolute())] if config_file else []
        return shlex.join(["kvproxy", "migrate", *named, "--from-peer", "--delete-old", "--execute"])
