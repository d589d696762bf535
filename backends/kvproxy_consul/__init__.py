"""Routes in Consul: ``c.JupyterHub.proxy_class = "traefik_consul"``."""

from .proxy import TraefikConsulProxy

__all__ = ["TraefikConsulProxy"]
