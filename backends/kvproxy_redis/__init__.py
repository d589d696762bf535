"""Routes in Redis or Valkey: ``c.JupyterHub.proxy_class = "traefik_redis"``."""

from .proxy import TraefikRedisProxy

__all__ = ["TraefikRedisProxy"]
