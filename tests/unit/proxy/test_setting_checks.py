"""The settings that are functions: what they are called with, and what becomes of one that cannot work."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import REGISTRY
from traitlets import TraitError
from traitlets.config import Config

from kvproxy.errors import ConfigurationError
from kvproxy.hooks.customize import Hook, Hooks
from kvproxy.hooks.notify import HookNotifier
from kvproxy.proxy.session import make_observer
from kvproxy.reconcile.metrics import Counters
from kvproxy.reconcile.observer import Observer
from kvproxy.routing.route import Route
from kvproxy_redis import TraefikRedisProxy


def nothing(*said: Any) -> None:
    """A hook that does nothing."""


async def later(route: Route, configuration: dict[str, Any]) -> None:
    """A hook that cannot be."""


def test_the_administrators_hooks_come_behind_those_of_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """As any setting, and with the last word."""
    plugins = Hooks(route_configuration=(Hook("a plugin", nothing),))
    monkeypatch.setattr("kvproxy.proxy.traits.load_hooks", lambda: plugins)
    config = Config({"TraefikProxy": {"route_hook": nothing, "route_added_hook": nothing}})
    proxy = TraefikRedisProxy(config=config)
    assert proxy.hooks.changing == ["a plugin", "c.TraefikProxy.route_hook"]
    assert [hook.name for hook in proxy.hooks.route_added] == ["c.TraefikProxy.route_added_hook"]
    assert proxy.hooks.route_deleted == proxy.hooks.route_failed == ()
    assert proxy.layout(()).customize is not None


def test_without_hooks_nothing_is_there_to_be_asked() -> None:
    """An edit costs what it did."""
    proxy = TraefikRedisProxy()
    assert proxy.layout(()).customize is None
    assert type(make_observer(proxy.hooks, proxy.log)) is Counters


def test_metrics_count_all_events_with_hooks_too() -> None:
    """The notifier passes each event on, a new one as well."""
    proxy = TraefikRedisProxy(route_added_hook=nothing)
    observer = make_observer(proxy.hooks, proxy.log)
    assert isinstance(observer, HookNotifier)
    assert {name for name in vars(Observer) if not name.startswith("_")} <= vars(HookNotifier).keys()
    counted = "jupyterhub_kvproxy_repairs_total"
    before = REGISTRY.get_sample_value(counted) or 0
    observer.repaired(3)
    assert REGISTRY.get_sample_value(counted) == before + 3


def test_hooks_that_change_routes_are_named(caplog: pytest.LogCaptureFixture) -> None:
    """At the start, as a plugin may have come with something else."""
    proxy = TraefikRedisProxy(route_hook=nothing, log=logging.getLogger("kvproxy.test"))
    with caplog.at_level(logging.INFO):
        make_observer(proxy.hooks, proxy.log)
    assert "Routes are changed by c.TraefikProxy.route_hook." in caplog.text


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: TraefikRedisProxy(route_hook=later), ConfigurationError, "route_hook is asynchronous"),
        (lambda: TraefikRedisProxy(route_hook="x"), TraitError, "route_hook"),
        (lambda: TraefikRedisProxy(route_failed_hook=3), TraitError, "route_failed_hook"),
    ],
)
def test_invalid_hooks_are_refused_with_the_configuration(
    make: Callable[[], object], error: type[Exception], words: str
) -> None:
    """Before the first route."""
    with pytest.raises(error, match=words):
        make()
