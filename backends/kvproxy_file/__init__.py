"""Routes in a local file: ``c.JupyterHub.proxy_class = "traefik_file"``."""

from .proxy import TraefikFileProviderProxy, TraefikTomlProxy

__all__ = ["TraefikFileProviderProxy", "TraefikTomlProxy"]
