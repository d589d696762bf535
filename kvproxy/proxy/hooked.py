"""The traits with an administrator's own hooks, which are called beside those of installed plugins."""

from __future__ import annotations

import inspect
from typing import Any

from traitlets import Callable, validate

from ..errors import ConfigurationError
from ..hooks.customize import Hook, Hooks
from ..hooks.notify import HookNotifier
from ..plugins import load_hooks
from ..reconcile.metrics import Counters
from ..reconcile.observer import Observer
from .former_names import FormerNames


class HookedProxy(FormerNames):
    """A proxy whose routes can be changed and observed by the administrator's functions."""

    route_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""Called as `route_hook(route, configuration)` for each route before it is written, to change the route's
        configuration, in place or by returning another one.

        `route` has `routespec`, `target` and `data`. `configuration` has the sections `router`, `service` and
        `middlewares`, with the fields of Traefik's file provider. The function must not be asynchronous, and its result
        must depend on the route alone. If it fails, the route is not served. See docs/how-to/write-a-hook.md.
        """,
    )
    route_added_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""Called as `route_added_hook(route, seconds)` when a new or changed route is served, with the seconds
        since the hub asked for it. May be asynchronous.""",
    )
    route_deleted_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""Called as `route_deleted_hook(routespec)` when a route is gone from the store. May be asynchronous.""",
    )
    route_failed_hook = Callable(
        None,
        allow_none=True,
        config=True,
        help="""Called as `route_failed_hook(routespec, error)` when a route cannot be added or changed, or is not
        removed in time. May be asynchronous.""",
    )

    _hooks: Hooks | None = None

    @validate("route_hook")
    def _valid_route_hook(self, proposal: Any) -> Any:
        if inspect.iscoroutinefunction(proposal.value):
            raise ConfigurationError(
                "c.TraefikProxy.route_hook is asynchronous. A hook that changes routes must be a plain function; fetch "
                "the data that it needs beforehand."
            )
        return proposal.value

    @property
    def hooks(self) -> Hooks:
        """The hooks of installed plugins, and after them, so that they decide, those of the configuration.

        Raises:
            ConfigurationError: if a plugin cannot be loaded.
        """
        if self._hooks is None:
            self._hooks = load_hooks()
        return self._hooks.then(
            Hooks(
                self._own("route_hook"),
                self._own("route_added_hook"),
                self._own("route_deleted_hook"),
                self._own("route_failed_hook"),
            )
        )

    def _own(self, trait: str) -> tuple[Hook, ...]:
        call = getattr(self, trait)
        return () if call is None else (Hook(f"c.TraefikProxy.{trait}", call),)

    def observer(self) -> Observer:
        """Return the observer that updates the metrics and calls the hooks."""
        hooks = self.hooks
        if names := hooks.changing:
            self.log.info("Routes are changed by %s.", ", then ".join(names))
        return HookNotifier(hooks, self.log) if hooks.observing else Counters()
