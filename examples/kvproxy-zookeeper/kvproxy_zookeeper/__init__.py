"""Routes in Apache ZooKeeper: ``c.JupyterHub.proxy_class = "traefik_zookeeper"``."""

from .proxy import TraefikZooKeeperProxy

__all__ = ["TraefikZooKeeperProxy"]
