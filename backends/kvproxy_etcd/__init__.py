"""Routes in etcd: ``c.JupyterHub.proxy_class = "traefik_etcd"``."""

from .proxy import TraefikEtcdProxy

__all__ = ["TraefikEtcdProxy"]
