"""Finds the backends that installed plugins provide, and says clearly what is wrong with those that it cannot use."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from logging import Logger, LoggerAdapter
from typing import Any
from urllib.parse import urlsplit

import pluggy

from . import hookspecs
from .errors import ConfigurationError
from .hookspecs import PROJECT, Backend


@dataclass(frozen=True)
class Backends:
    """What the installed plugins provide.

    Args:
        by_scheme: scheme of a URL -> the backend that takes it.
        origin: name of a backend -> name of the plugin that provides it.
        broken: name of a plugin that cannot be used -> why.
        clashes: scheme -> what is wrong, where two plugins provide the same scheme or name.
    """

    by_scheme: Mapping[str, Backend]
    origin: Mapping[str, str]
    broken: Mapping[str, str] = field(default_factory=dict)
    clashes: Mapping[str, str] = field(default_factory=dict)

    def for_url(self, url: str) -> Backend:
        """The backend of a store's URL.

        Raises:
            ConfigurationError: that says what is installed, and what is broken.
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
    """Ask all installed plugins for their backends; one that is broken does not keep the others from being used.

    Args:
        found: the plugins' entry points; those of the group ``kvproxy`` if None.
    """
    manager = pluggy.PluginManager(PROJECT)
    manager.add_hookspecs(hookspecs)
    broken: dict[str, str] = {}
    provided: list[tuple[str, Backend]] = []
    for entry in entry_points(group=PROJECT) if found is None else found:
        try:
            manager.register(entry.load(), entry.name)
            manager.check_pending()
            provided += [(entry.name, backend) for backend in _backends_of(manager, entry.name)]
        except Exception as error:  # a plugin may raise whatever it likes; the administrator is told
            broken[entry.name] = f"{type(error).__name__}: {error}"
            # Its faults must not be found again when the next plugin is checked.
            if manager.has_plugin(entry.name):
                manager.unregister(name=entry.name)
    return _sort(provided, broken)


def _backends_of(manager: pluggy.PluginManager, name: str) -> list[Backend]:
    others = [plugin for other, plugin in manager.list_name_plugin() if other != name]
    answers = manager.subset_hook_caller("kvproxy_backends", remove_plugins=others)()
    backends = [backend for answer in answers for backend in answer]
    if not backends:
        raise TypeError("it implements no hook kvproxy_backends, or the hook returns nothing")
    for backend in backends:
        if not isinstance(backend, Backend):
            raise TypeError(f"its hook kvproxy_backends returned {backend!r}, which is no Backend")
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
    """Names of proxies of kvproxy's that other distributions register too, each as ``name (distribution)``.

    JupyterHub takes the one that it finds last, without a word.

    Args:
        found: entry points; those of the group ``jupyterhub.proxies`` if None.
    """
    everyone = list(entry_points(group="jupyterhub.proxies") if found is None else found)
    ours = {entry.name for entry in everyone if _is_ours(entry)}
    others = [entry for entry in everyone if entry.name in ours and not _is_ours(entry)]
    return sorted(f"{entry.name} ({entry.dist.name if entry.dist else entry.value})" for entry in others)


def warn_of_rivals(used: type[Any], log: Logger | LoggerAdapter[Any]) -> None:
    """Say which of two proxies of one name the hub uses, if there are two.

    Args:
        used: the class of the proxy.
        log: the hub's logger.
    """
    if others := rivals():
        log.warning(
            "This hub uses %s of kvproxy, but another package provides proxies of the same names: %s. Uninstall it, or "
            "name the class in full in c.JupyterHub.proxy_class.",
            f"{used.__module__}.{used.__name__}",
            ", ".join(others),
        )


def _is_ours(entry: EntryPoint) -> bool:
    return entry.value.startswith("kvproxy")


def import_proxy_class(backend: Backend) -> type[Any]:
    """The proxy class of a backend.

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
