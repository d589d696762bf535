"""``c.JupyterHub.proxy_class = "traefik_kv"``: a proxy for any store that a URL names."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from traitlets import Unicode
from traitlets.config import Config

from ..errors import ConfigurationError
from ..plugins import import_proxy_class, load_backends
from ..store.base import Roots, Store
from ..traefik.validation import Reader
from .base import KVTraefikProxy
from .hot import make_hot
from .setting_names import AcceptedSettings


class TraefikKVProxy(KVTraefikProxy):
    """A proxy that finds its backend by the scheme of ``store_url``, among the backends of installed plugins.

    Further settings of a backend are those of its own class, such as ``c.TraefikRedisProxy.redis_password``.
    """

    store_url = Unicode(
        config=True,
        help="""URL of the store that keeps the routes: `redis://…`, `etcd://…`, `consul://…`, `file:///…`, or any other
        scheme that an installed plugin takes.""",
    )

    _backend_proxy: KVTraefikProxy | None = None

    @property
    def backend_proxy(self) -> KVTraefikProxy:
        """The backend's own proxy, with its traits from the configuration; it is only asked, never started.

        Raises:
            ConfigurationError: if there is none for this URL, with the installed ones.
        """
        if self._backend_proxy is None:
            if not self.store_url:
                raise ConfigurationError(
                    "c.KVTraefikProxy.store_url is not set; give it a URL, such as redis://host:6379."
                )
            backend = load_backends().for_url(self.store_url)
            made = import_proxy_class(backend)(
                config=self._backend_config(), parent=self.parent, app=self.app, log=self.log
            )
            setattr(made, backend.url_trait, self.store_url)
            made.kv_traefik_prefix, made.kv_jupyterhub_prefix = self.kv_traefik_prefix, self.kv_jupyterhub_prefix
            made.should_start, made.route_tiers = self.should_start, self.route_tiers
            self._backend_proxy = made
        return self._backend_proxy

    def hot_proxy(self) -> KVTraefikProxy | None:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.hot_proxy`, for both classes."""
        made = super().hot_proxy()
        if isinstance(made, TraefikKVProxy):
            made._backend_proxy = make_hot(self.backend_proxy, self.backend_proxy.hot_settings())
        return made

    def _backend_config(self) -> Config:
        """Return the hub's configuration without ``store_url``, which the backend's class would report as unknown."""
        config = deepcopy(self.config)
        for section in self.section_names():
            if section in config:
                config[section].pop("store_url", None)
        return config

    @property
    def accepted_settings(self) -> AcceptedSettings:
        """See :attr:`kvproxy.proxy.traits.TraefikProxy.accepted_settings`; the backend's settings are read too."""
        try:
            return super().accepted_settings.beside(self.backend_proxy.accepted_settings)
        except ConfigurationError:
            return super().accepted_settings

    @property
    def provider_name(self) -> str:  # type: ignore[override]
        """See :attr:`kvproxy.proxy.traits.TraefikProxy.provider_name`."""
        return self.backend_proxy.provider_name

    def open_store(self, roots: Roots) -> Store:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.open_store`."""
        return self.backend_proxy.open_store(roots)

    def traefik_provider(self) -> dict[str, Any]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.traefik_provider`."""
        return self.backend_proxy.traefik_provider()

    def reader(self) -> Reader:
        """See :meth:`kvproxy.proxy.traits.TraefikProxy.reader`."""
        return self.backend_proxy.reader()

    def traefik_environment(self) -> dict[str, str]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.traefik_environment`."""
        return self.backend_proxy.traefik_environment()

    def refused_login(self, provider_error: str) -> str:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.refused_login`."""
        return self.backend_proxy.refused_login(provider_error)

    def store_secrets(self) -> list[str]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.store_secrets`."""
        return self.backend_proxy.store_secrets()

    def store_place(self) -> str:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.store_place`."""
        return self.backend_proxy.store_place()
