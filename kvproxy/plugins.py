"""Finding the backends and hooks of installed plugins, with clear errors about unusable ones."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from importlib.metadata import EntryPoint, entry_points
from logging import Logger, LoggerAdapter
from typing import Any
from urllib.parse import urlsplit

import pluggy

from . import hookspecs
from .errors import ConfigurationError
from .hooks.customize import Hook, Hooks
from .hookspecs import PROJECT, Backend


@dataclass(frozen=True)
class Backends:
    """The backends of the installed plugins.

    Args:
        by_scheme: scheme of a URL -> the backend that takes it.
        origin: name of a backend -> name of the plugin that provides it.
        broken: name of an unusable plugin -> the reason.
        clashes: scheme -> the error, if two plugins provide the same scheme or name.
    """

    by_scheme: Mapping[str, Backend]
    origin: Mapping[str, str]
    broken: Mapping[str, str] = field(default_factory=dict)
    clashes: Mapping[str, str] = field(default_factory=dict)

    def for_url(self, url: str) -> Backend:
        """Return the backend for a store's URL.

        Raises:
            ConfigurationError: if there is none, with the installed and the broken ones.
        """
        scheme = urlsplit(url).scheme
        if scheme in self.clashes:
            raise ConfigurationError(self.clashes[scheme])
        if scheme in self.by_scheme:
            return self.by_scheme[scheme]
        known = ", ".join(f"{name}://" for name in sorted(self.by_scheme)) or "none"
        broken = "".join(f" The plugin {name!r} cannot be used: {why}." for name, why in sorted(self.broken.items()))
        raise ConfigurationError(
            f"No installed backend takes a store_url with the scheme {scheme!r}; those that are installed take {known}."
            f"{broken} Install the backend's package, or correct c.KVTraefikProxy.store_url."
        )


def load_backends(found: Iterable[EntryPoint] | None = None) -> Backends:
    """Ask all installed plugins for their backends; a broken plugin does not affect the others.

    Args:
        found: the plugins' entry points; those of the group ``kvproxy`` if None.
    """
    manager, broken = _register(found)
    provided: list[tuple[str, Backend]] = []
    # In the order of installation: pluggy would call the last one first.
    for name in reversed(_implementing(manager, "kvproxy_backends")):
        try:
            provided += [(name, backend) for backend in _backends_of(manager, name)]
        except Exception as error:  # a plugin may raise anything; the administrator gets a message
            broken[name] = f"{type(error).__name__}: {error}"
    return _sort(provided, broken)


def load_hooks(found: Iterable[EntryPoint] | None = None) -> Hooks:
    """Return the hooks of all installed plugins, in pluggy's order.

    Args:
        found: the plugins' entry points; those of the group ``kvproxy`` if None.

    Raises:
        ConfigurationError: if a plugin cannot be loaded: it may be the one that protects routes.
    """
    manager, broken = _register(found)
    if broken:
        named = "; ".join(f"{name!r} ({why})" for name, why in sorted(broken.items()))
        raise ConfigurationError(
            f"Installed plugins (entry points of the group {PROJECT}) cannot be loaded: {named}. They may have hooks "
            "that protect routes, so the proxy does not start without them; repair or uninstall them."
        )
    return Hooks(*(_hooks_of(manager, f"kvproxy_{field.name}") for field in fields(Hooks)))


def _register(found: Iterable[EntryPoint] | None) -> tuple[pluggy.PluginManager, dict[str, str]]:
    """Return the plugins that can be loaded, and the errors of the others by name."""
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    broken: dict[str, str] = {}
    for entry in entry_points(group=PROJECT) if found is None else found:
        try:
            plugin = entry.load()
            manager.register(plugin, entry.name)
            manager.check_pending()
            if not manager.get_hookcallers(plugin):
                raise TypeError("it implements none of kvproxy's hooks")
        except Exception as error:  # a plugin may raise anything; the administrator gets a message
            broken[entry.name] = f"{type(error).__name__}: {error}"
            # Its errors must not be found again when the next plugin is checked.
            if manager.has_plugin(entry.name):
                manager.unregister(name=entry.name)
    return manager, broken


def _implementing(manager: pluggy.PluginManager, hook: str) -> list[str]:
    """Return the names of the plugins that implement a hook, in the order in which pluggy calls them."""
    return [found.plugin_name for found in reversed(getattr(manager.hook, hook).get_hookimpls())]


def _caller(manager: pluggy.PluginManager, hook: str, name: str) -> Callable[..., list[Any]]:
    """Return a function that calls a hook of one plugin only, by keywords."""
    others = [plugin for other, plugin in manager.list_name_plugin() if other != name]
    return manager.subset_hook_caller(hook, remove_plugins=others)


def _hooks_of(manager: pluggy.PluginManager, hook: str) -> tuple[Hook, ...]:
    arguments = list(inspect.signature(getattr(hookspecs, hook)).parameters)

    def named(name: str) -> Hook:
        caller = _caller(manager, hook, name)

        def call(*said: Any) -> Any:
            # pluggy leaves out results that are None, and passes to a plugin only the arguments that it names.
            answers = caller(**dict(zip(arguments, said, strict=True)))
            return answers[0] if answers else None

        return Hook(f"the plugin {name!r} ({hook})", call)

    return tuple(map(named, _implementing(manager, hook)))


def _backends_of(manager: pluggy.PluginManager, name: str) -> list[Backend]:
    backends = [backend for answer in _caller(manager, "kvproxy_backends", name)() for backend in answer]
    if not backends:
        raise TypeError("its hook kvproxy_backends returns nothing")
    for backend in backends:
        if not isinstance(backend, Backend):
            raise TypeError(f"its hook kvproxy_backends returned {backend!r}, which is not a Backend")
    return backends


def _sort(provided: list[tuple[str, Backend]], broken: Mapping[str, str]) -> Backends:
    by_scheme: dict[str, Backend] = {}
    origin: dict[str, str] = {}
    clashes: dict[str, str] = {}
    for plugin, backend in provided:
        other = origin.get(backend.name)
        for scheme in backend.schemes:
            rival = by_scheme.get(scheme)
            if rival is not None or other is not None:
                first = other or origin[(rival or backend).name]
                clashes[scheme] = (
                    f"Two plugins provide a backend for {scheme}://: {first!r} and {plugin!r}. Uninstall one of them."
                )
        by_scheme |= {scheme: backend for scheme in backend.schemes}
        origin.setdefault(backend.name, plugin)
    return Backends(by_scheme, origin, broken, clashes)


def rivals(found: Iterable[EntryPoint] | None = None) -> list[str]:
    """Return the names of kvproxy's proxies that other distributions register too, each as ``name (distribution)``.

    JupyterHub silently uses the one that it finds last.

    Args:
        found: entry points; those of the group ``jupyterhub.proxies`` if None.
    """
    everyone = list(entry_points(group="jupyterhub.proxies") if found is None else found)
    ours = {entry.name for entry in everyone if _is_ours(entry)}
    others = [entry for entry in everyone if entry.name in ours and not _is_ours(entry)]
    return sorted(f"{entry.name} ({entry.dist.name if entry.dist else entry.value})" for entry in others)


def proxy_classes(found: Iterable[EntryPoint] | None = None) -> dict[str, EntryPoint]:
    """Return the class names of all installed proxies with their entry points; kvproxy's win.

    Args:
        found: entry points; those of the group ``jupyterhub.proxies`` if None.
    """
    everyone = entry_points(group="jupyterhub.proxies") if found is None else found
    return {entry.attr: entry for entry in sorted(everyone, key=_is_ours)}


def proxy_class_for(name: str, found: Iterable[EntryPoint] | None = None) -> str:
    """Return the unambiguous ``proxy_class`` for kvproxy's class of this name.

    Args:
        name: name of a class, which may be another package's, such as ``TraefikRedisProxy``.
        found: entry points; those of the group ``jupyterhub.proxies`` if None.

    Returns:
        the class in full, such as ``kvproxy_redis.TraefikRedisProxy``; empty if kvproxy has none of that name.
    """
    entry = proxy_classes(found).get(name)
    if entry is None or not _is_ours(entry) or (named := _load_proxy(entry)) is None:
        return ""
    # A class with a former name derives from the present class.
    cls = named.__mro__[1] if named.successor else named
    return f"{entry.module}.{cls.__name__}"


def proxy_names(found: Iterable[EntryPoint] | None = None) -> list[str]:
    """Return the names of kvproxy's own proxies, as ``proxy_class`` takes them, without former names.

    Args:
        found: entry points; those of the group ``jupyterhub.proxies`` if None.
    """
    ours = [(entry.name, _load_proxy(entry)) for entry in proxy_classes(found).values() if _is_ours(entry)]
    return sorted(name for name, cls in ours if cls is not None and not cls.successor)


def _load_proxy(entry: EntryPoint) -> type[Any] | None:
    """Return the class of an entry point, None if it cannot be loaded or is not a proxy of kvproxy."""
    try:
        cls: type[Any] = entry.load()
    except Exception:  # a plugin may raise anything
        return None
    return cls if hasattr(cls, "successor") else None


def named_proxy_class(config: Mapping[str, Any]) -> str:
    """Return the proxy class as the hub's configuration names it; empty if there is no hub."""
    named = config.get("JupyterHub", {}).get("proxy_class", "")
    return named if isinstance(named, str) else f"{named.__module__}.{named.__qualname__}"


def warn_of_rivals(used: type[Any], named: str, log: Logger | LoggerAdapter[Any]) -> None:
    """Warn if two packages provide proxies of the same name and the configuration does not choose between them.

    Args:
        used: the class of the hub's proxy.
        named: ``c.JupyterHub.proxy_class`` as configured: a name, or a class in full.
        log: the hub's logger.
    """
    if "." not in named and (others := rivals()):
        log.warning(
            "This hub uses %s of kvproxy, but another package provides proxies of the same names: %s. Uninstall it, or "
            "name the class in full in c.JupyterHub.proxy_class.",
            f"{used.__module__}.{used.__name__}",
            ", ".join(others),
        )


def _is_ours(entry: EntryPoint) -> bool:
    return entry.value.startswith("kvproxy")


def import_proxy_class(backend: Backend) -> type[Any]:
    """Return the proxy class of a backend.

    Raises:
        ConfigurationError: if it cannot be imported.
    """
    module, _, name = backend.proxy_class.partition(":")
    try:
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"The backend {backend.name!r} is broken: {backend.proxy_class} cannot be imported ({error})."
        ) from None
