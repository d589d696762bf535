"""Loads a jupyterhub_config.py as JupyterHub does and checks every setting in it; starts Traefik on a static one."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from unittest import mock

import tomli_w
from jupyterhub.app import JupyterHub
from traitlets import HasTraits, TraitType
from traitlets.config import Config, Configurable
from traitlets.config.loader import LazyConfigValue

from kvproxy.proxy import KVTraefikProxy
from kvproxy.proxy.traits import TraefikProxy
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import Program, accepts, find_traefik
from kvproxy.traefik.static_config import deep_merge
from kvproxy_redis import TraefikRedisProxy

_GROUPS = ("jupyterhub.proxies", "jupyterhub.spawners", "jupyterhub.authenticators")
_PEM = re.compile(r"/etc/[\w./-]+\.(?:pem|crt|key)")
_VARIABLE = re.compile(r"""os\.environ(?:\.get\(|\.pop\(|\[)["'](\w+)["']""")
#: Names at the top of Traefik's static configuration, as far as our pages use them.
_STATIC = {"accessLog", "api", "certificatesResolvers", "entryPoints", "global", "log", "metrics", "ping", "providers"}


def load(text: str, directory: Path) -> Config:
    """The configuration that JupyterHub reads from this text.

    Certificates below /etc that it names are made, empty, below the directory; variables that it reads are set.
    """
    for name in _PEM.findall(text):
        made = directory / name.lstrip("/")
        made.parent.mkdir(parents=True, exist_ok=True)
        made.touch()
    file = directory / "jupyterhub_config.py"
    file.write_text(_PEM.sub(lambda name: f"{directory}{name[0]}", text), encoding="utf-8")
    hub = JupyterHub()
    hub.raise_config_file_errors = True
    with mock.patch.dict(os.environ, dict.fromkeys(_VARIABLE.findall(text), "from-the-environment")):
        hub.load_config_file(str(file))
    return hub.config


def check(config: Config) -> None:
    """Every setting exists and takes its value, and the settings of a proxy make sense together.

    Raises:
        AssertionError: if there is no such class or setting.
        TraitError: if a setting does not take its value.
        ConfigurationError: of the proxy class.
    """
    classes = configurables()
    for section, values in config.items():
        assert section in classes, f"there is no class {section!r}"
        for name, value in values.items():
            trait = _trait(classes[section], name)
            assert trait is not None, f"{section} has no setting {name!r}"
            if not isinstance(value, LazyConfigValue):
                trait._validate(HasTraits(), value)
    proxy_class = _proxy_class(config, classes)
    if proxy_class is not None:
        proxy_class(config=config, public_url="http://127.0.0.1:8000/").traefik_provider()


def configurables() -> dict[str, type[Configurable]]:
    """All classes by the name of their section."""
    for entry in (entry for group in _GROUPS for entry in entry_points(group=group)):
        entry.load()
    return {cls.__name__: cls for cls in _family(Configurable)}


def _family(cls: type[Configurable]) -> Iterator[type[Configurable]]:
    yield cls
    for child in cls.__subclasses__():
        yield from _family(child)


def _trait(cls: type[Configurable], name: str) -> TraitType[Any, Any] | None:
    """The setting of a class, or of one below it: a section counts for those too."""
    return next((traits[name] for one in _family(cls) if name in (traits := one.class_traits(config=True))), None)


def _proxy_class(config: Config, classes: dict[str, type[Configurable]]) -> type[KVTraefikProxy] | None:
    """The proxy that the settings are for: the one that is named, else the one of a section, else that on Redis."""
    if "proxy_class" in config.JupyterHub:
        named = JupyterHub.proxy_class.validate(JupyterHub(), config.JupyterHub.proxy_class)
        return named if issubclass(named, KVTraefikProxy) else None
    ours = [classes[name] for name in config if issubclass(classes[name], TraefikProxy)]
    complete = [cls for cls in ours if getattr(cls, "provider_name", "")]
    return (complete or [TraefikRedisProxy])[0] if ours else None


def is_static(data: Any) -> bool:
    """True if this is a static configuration of Traefik's, or a part of one that makes sense alone."""
    return isinstance(data, dict) and bool(data.keys() & {"entryPoints", "providers"}) and data.keys() <= _STATIC


def check_static(data: dict[str, Any], directory: Path) -> None:
    """The real Traefik starts with this static configuration, on other ports and beside a store that is not there.

    Raises:
        ServerError: with what Traefik says.
    """
    with placed_traefik(data, directory, f"127.0.0.1:{free_port()}"):
        pass


@contextmanager
def placed_traefik(data: dict[str, Any], directory: Path, store: str) -> Iterator[Program]:
    """A running Traefik with this static configuration, on free ports, beside a store (or sentinels) at an address."""
    points = data.get("entryPoints") or {"http": {}}
    ports = [free_port() for _ in points]
    moved = {
        name: {**point, "address": f"127.0.0.1:{port}"}
        for (name, point), port in zip(points.items(), ports, strict=True)
    }
    providers = {
        name: {**options, "endpoints": [store]} if isinstance(options, dict) and "endpoints" in options else options
        for name, options in data.get("providers", {}).items()
    }
    # An empty section is refused.
    changed: dict[str, Any] = {"entryPoints": moved} | ({"providers": providers} if providers else {})
    if resolvers := data.get("certificatesResolvers"):
        # No server outside of this machine is asked for a certificate.
        nowhere = {"acme": {"caServer": f"https://127.0.0.1:{free_port()}/directory"}}
        changed["certificatesResolvers"] = {name: deep_merge(one, nowhere) for name, one in resolvers.items()}
    file = directory / "traefik.toml"
    file.write_text(tomli_w.dumps({**data, **changed}), encoding="utf-8")
    traefik = Program([str(find_traefik()), f"--configfile={file}"], directory / "traefik.log")
    traefik.start()
    try:
        # It looks for sentinels before it listens, and for ever if there are none. By then it has read its file.
        traefik.wait_ready(lambda: all(map(accepts, ports)) or "failed to dial" in traefik.log.read_text(), 20)
        yield traefik
    finally:
        traefik.stop(1)  # it may have been told to take its time
