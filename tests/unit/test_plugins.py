"""Finding backends among installed plugins, whatever state these are in."""

from __future__ import annotations

import sys
import types
from importlib.metadata import EntryPoint, entry_points

import pytest

from kvproxy import hookspecs
from kvproxy.errors import ConfigurationError
from kvproxy.hookspecs import Backend, hookimpl
from kvproxy.plugins import Backends, import_proxy_class, load_backends, rivals

MEMORY = Backend("memory", ("memory",), "plugin_memory:Proxy", "memory_url")


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch):
    """Makes modules of plugins and loads the backends from their entry points."""

    def load(**answers: object) -> Backends:
        for name, answer in answers.items():
            module = types.ModuleType(name)
            if isinstance(answer, list):

                def kvproxy_backends(answer: list[object] = answer) -> list[object]:
                    return answer

                module.kvproxy_backends = hookimpl(kvproxy_backends)  # type: ignore[attr-defined]
            elif callable(answer):
                module.kvproxy_backends = hookimpl(answer)  # type: ignore[attr-defined]
            if answer is not None:
                monkeypatch.setitem(sys.modules, name, module)
        return load_backends([EntryPoint(name, name, "kvproxy") for name in answers])

    return load


def test_the_backends_of_this_distribution_are_found_like_those_of_others() -> None:
    """By their entry point and hook."""
    found = load_backends()
    assert found.for_url("redis://h").name == "redis"
    assert found.for_url("rediss://h").url_trait == "redis_url"
    assert found.broken == {}
    proxy_class = import_proxy_class(found.for_url("unix:///x"))
    assert {"redis_url"} <= set(proxy_class.class_trait_names(config=True))


def test_an_unknown_scheme_is_told_with_what_is_installed(plugins) -> None:
    """And what is broken, as that may be the one that is missing."""

    def explode() -> list[Backend]:
        raise RuntimeError("no licence")

    found = plugins(good=[MEMORY], gone=None, bad=explode, empty=[], odd=["x"])
    assert found.for_url("memory://x") is MEMORY
    with pytest.raises(ConfigurationError) as refused:
        found.for_url("zookeeper://h")
    for words in ("'zookeeper'", "memory://", "'gone'", "'bad'", "no licence", "'empty'", "'odd'", "store_url"):
        assert words in str(refused.value)


def test_two_plugins_with_one_scheme_are_both_named(plugins) -> None:
    """Neither wins in silence; others are not touched by it."""
    found = plugins(one=[MEMORY], two=[MEMORY], three=[Backend("x", ("x",), "x:X", "x_url")])
    with pytest.raises(ConfigurationError, match="'one' and 'two'"):
        found.for_url("memory://x")
    assert found.for_url("x://").name == "x"


def test_a_proxy_class_that_is_missing_is_told(plugins) -> None:
    """By the name of the backend."""
    with pytest.raises(ConfigurationError, match=r"'memory' is broken.*nowhere:Proxy"):
        import_proxy_class(Backend("memory", ("memory",), "nowhere:Proxy", "u"))


def test_a_hook_that_does_not_exist_is_told(plugins, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt hook would otherwise do nothing."""
    module = types.ModuleType("misspelt")
    module.kvproxy_backend = hookimpl(lambda: [])  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "misspelt", module)
    good = next(iter(entry_points(group="kvproxy", name="redis")))
    found = load_backends([EntryPoint("misspelt", "misspelt", "kvproxy"), good])
    assert set(found.broken) == {"misspelt"}
    assert found.for_url("redis://h").name == "redis"


def test_every_hook_is_documented_with_an_example() -> None:
    """The page of hooks is what plugin authors read."""
    hooks = [value for name, value in vars(hookspecs).items() if name.startswith("kvproxy_")]
    assert hooks
    assert all("Example::" in (hook.__doc__ or "") for hook in hooks)


def test_a_package_with_the_same_names_is_noticed() -> None:
    """JupyterHub would choose between the two without a word."""
    group = "jupyterhub.proxies"
    ours = EntryPoint("traefik_redis", "kvproxy_redis:TraefikRedisProxy", group)
    peer = EntryPoint("traefik_redis", "jupyterhub_traefik_proxy.redis:TraefikRedisProxy", group)
    other = EntryPoint("configurable-http-proxy", "jupyterhub.proxy:ConfigurableHTTPProxy", group)
    assert rivals([ours, peer, other]) == ["traefik_redis (jupyterhub_traefik_proxy.redis:TraefikRedisProxy)"]
    assert rivals([ours, other]) == []
    assert rivals() == []
