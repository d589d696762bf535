"""The proxy class of the file backend."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from traitlets import Unicode, validate

from kvproxy import ConfigurationError, Roots
from kvproxy.proxy import KVTraefikProxy
from kvproxy.proxy.former_names import former_name
from kvproxy.traefik.validation import Reader

from .formats import format_of
from .store import FileStore


class TraefikFileProviderProxy(KVTraefikProxy):
    """JupyterHub's proxy by Traefik, with the routes in a local file; `kv_traefik_prefix` and the like mean nothing."""

    provider_name = "file"
    former_section = "TraefikTomlProxy"

    dynamic_config_file = Unicode(
        "rules.toml",
        config=True,
        help="""The file that the routes are kept in, where Traefik reads them: a path, or a URL `file:///path`.

        The ending `.toml`, `.yaml` or `.yml` decides on the format. Its directory must be the hub's to write to. The
        file is readable by the hub's user only, unless you have given it mode 0640. Routers and services that you add
        to it by hand are kept; comments are not.
        """,
    )

    toml_dynamic_config_file = former_name("dynamic_config_file")

    @validate("dynamic_config_file")
    def _valid_dynamic_config_file(self, proposal: Any) -> str:
        path = path_of(proposal.value)
        format_of(path)
        return path

    @property
    def file(self) -> Path:
        """Absolute path of the file itself, not of a link to it, which would be lost at the first change.

        Raises:
            ConfigurationError: if it is the file of the static configuration.
        """
        path = Path(os.path.realpath(self.dynamic_config_file))
        if path == Path(os.path.realpath(self.static_config_file)):
            raise ConfigurationError("dynamic_config_file and static_config_file must be two files.")
        return path

    def open_store(self, roots: Roots) -> FileStore:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.open_store`."""
        return FileStore(self.file)

    def hot_settings(self) -> dict[str, Any]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.hot_settings`: another file."""
        return {"dynamic_config_file": str(self.file.with_name(f"{self.file.stem}-hot{self.file.suffix}"))}

    def store_place(self) -> str:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.store_place`."""
        return f"in {self.file}"

    def reader(self) -> Reader:
        """See :meth:`kvproxy.proxy.traits.TraefikProxy.reader`."""
        return Reader(drops_empty=False, nested=True)

    def traefik_provider(self) -> dict[str, Any]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.traefik_provider`."""
        return {"file": {"filename": str(self.file), "watch": True}}


class TraefikTomlProxy(TraefikFileProviderProxy):
    """Former name of :class:`TraefikFileProviderProxy`, for ``proxy_class = "traefik_toml"``; works as that does."""

    successor = "traefik_file"


def path_of(text: str) -> str:
    """The path that a path, or a ``file:`` URL, means.

    >>> path_of("rules.toml"), path_of("file:///srv/my%20rules.toml")
    ('rules.toml', '/srv/my rules.toml')

    Raises:
        ConfigurationError: if a URL has no absolute path, or more than a path.
    """
    if not text.startswith("file:"):
        return text
    parts = urlsplit(text)
    if parts.netloc not in {"", "localhost"} or not parts.path.startswith("/") or parts.query or parts.fragment:
        raise ConfigurationError(
            f"{text!r} names no file on this machine; it must look like file:///absolute/path.toml, with '?', '#' and "
            "'%' percent-encoded."
        )
    return unquote(parts.path)
