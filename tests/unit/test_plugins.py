"""Finding backends among installed plugins, whatever state these are in."""

from __future__ import annotations

import asyncio
import inspect
import sys
import textwrap
import types
from importlib.metadata import EntryPoint, entry_points

import pytest

from kvproxy import hookspecs
from kvproxy.errors import ConfigurationError, StoreError
from kvproxy.hooks.customize import Hooks, customizing
from kvproxy.hookspecs import Backend, hookimpl
from kvproxy.plugins import Backends, import_proxy_class, load_backends, load_hooks, rivals
from kvproxy.routing.encode import encode_route
from kvproxy.routing.entry import Layout
from kvproxy.routing.route import make_route

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


class Plugin:
    """A plugin's module: an object with functions."""

    def __init__(self, **hooks: object) -> None:
        for name, hook in hooks.items():
            setattr(self, name, hookimpl(hook) if callable(hook) else hook)


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch):
    """Makes modules of plugins and gives back their entry points."""

    def make(**modules: object) -> list[EntryPoint]:
        for name, module in modules.items():
            if module is not None:
                monkeypatch.setitem(sys.modules, name, module)
        return [EntryPoint(name, name, "kvproxy") for name in modules]

    return make


ADA = make_route("/user/ada/", "http://127.0.0.1:1", {"user": "ada"})


def test_a_plugin_may_have_nothing_but_hooks_of_routes(install) -> None:
    """It is no broken backend; its functions take what they name."""
    told: list[object] = []

    def change(configuration: dict) -> dict:
        return {**configuration, "changed": True}

    plugin = Plugin(
        kvproxy_route_configuration=change,
        kvproxy_route_added=lambda route, seconds: told.append((route.key, seconds)),
        kvproxy_route_deleted=lambda routespec: told.append(routespec),
        kvproxy_route_failed=lambda error: told.append(error),
    )
    found = [*install(mine=plugin), next(iter(entry_points(group="kvproxy", name="redis")))]
    assert load_backends(found).broken == {}
    hooks = load_hooks(found)
    assert hooks.changing == ["the plugin 'mine' (kvproxy_route_configuration)"]
    assert hooks.route_configuration[0].call(ADA, {"router": {}}) == {"router": {}, "changed": True}
    assert hooks.route_added[0].call(ADA, 1.5) is None
    hooks.route_deleted[0].call("/x/")
    hooks.route_failed[0].call("/y/", "why")
    assert told == [("/user/ada/", 1.5), "/x/", "why"]


def test_hooks_come_in_pluggys_order(install) -> None:
    """Which a plugin can ask to be changed; one without a hook is left out."""
    first, last = Plugin(), Plugin(kvproxy_route_deleted=lambda: None)
    first.kvproxy_route_configuration = hookimpl(lambda: "first", tryfirst=True)  # type: ignore[attr-defined]
    other = Plugin(kvproxy_route_configuration=lambda: "other")
    found = install(first=first, other=other, last=last)
    assert [hook.call(ADA, {}) for hook in load_hooks(found).route_configuration] == ["first", "other"]
    assert load_hooks(found).observing


@pytest.mark.parametrize(
    ("modules", "words"),
    [
        ({"gone": None}, "'gone' (ModuleNotFoundError"),
        ({"empty": Plugin()}, "'empty' (TypeError: it implements none of kvproxy's hooks)"),
        ({"misspelt": Plugin(kvproxy_route_configurations=lambda: None)}, "'misspelt' (PluginValidationError"),
        ({"odd": Plugin(kvproxy_route_configuration=lambda rout: None)}, "'odd' (PluginValidationError"),
    ],
)
def test_a_plugin_that_may_protect_routes_and_cannot_be_loaded_stops_the_proxy(install, modules, words) -> None:
    """Without it, strangers might come in."""
    with pytest.raises(ConfigurationError, match="repair or uninstall") as refused:
        load_hooks(install(fine=Plugin(kvproxy_route_deleted=lambda: None), **modules))
    assert words in str(refused.value)
    assert "'fine'" not in str(refused.value)


def test_those_that_come_with_kvproxy_have_no_hooks_of_routes() -> None:
    """So nothing is asked on a hub without plugins."""
    assert load_hooks() == Hooks()


EXAMPLES = [name for name in vars(hookspecs) if name.startswith("kvproxy_route_")]


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_documented_example_works(name: str, install, capsys: pytest.CaptureFixture[str]) -> None:
    """As the module of a plugin."""
    text = textwrap.dedent((getattr(hookspecs, name).__doc__ or "").partition("Example::\n")[2])
    module = types.ModuleType("example")
    exec(compile(text, name, "exec"), vars(module))
    [hook] = getattr(load_hooks(install(example=module)), name.removeprefix("kvproxy_"))
    error = StoreError("The store is away.")
    said: dict[str, tuple[object, ...]] = {"added": (ADA, 0.25), "deleted": ("/x/",), "failed": ("/x/", error)}
    if name == "kvproxy_route_configuration":
        assert "rateLimit/average" in "".join(encode_route(ADA, Layout(customize=customizing([hook]))).config)
        return
    answer = hook.call(*said[name.rpartition("_")[2]])
    if inspect.isawaitable(answer):
        asyncio.run(answer)  # type: ignore[arg-type]
    assert "/" in capsys.readouterr().out
