"""Routes in a local file: ``c.JupyterHub.proxy_class = "traefik_file"``."""

from .proxy import TraefikFileProviderProxy

__all__ = ["TraefikFileProviderProxy"]
