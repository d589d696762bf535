"""Real servers for tests, for any test framework; pytest fixtures are in `kvproxy.testing.fixtures`."""

from kvproxy.testing.echo import EchoServer
from kvproxy.testing.programs import ServerError, accepts, find_redis, find_traefik, free_port, wait_until
from kvproxy.testing.redis_server import RedisServer
from kvproxy.testing.tcp_proxy import TcpProxy
from kvproxy.testing.tls import Certificates, TlsFront
from kvproxy.testing.traefik_server import TraefikServer

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
    "wait_until",
]
