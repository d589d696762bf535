"""Real servers for tests, for any test framework; pytest fixtures are in `kvproxy.testing.fixtures`."""

from kvproxy.testing.servers.echo import EchoServer
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import (
    ServerError,
    accepts,
    find_redis,
    find_traefik,
    slowness,
    wait_until,
    within,
)
from kvproxy.testing.servers.redis import RedisServer
from kvproxy.testing.servers.tcp_proxy import TcpProxy
from kvproxy.testing.servers.tls import Certificates, TlsFront
from kvproxy.testing.servers.traefik import TraefikServer

__all__ = [
    "Certificates",
    "EchoServer",
    "RedisServer",
    "ServerError",
    "TcpProxy",
    "TlsFront",
    "TraefikServer",
    "accepts",
    "find_redis",
    "find_traefik",
    "free_port",
    "slowness",
    "wait_until",
    "within",
]
