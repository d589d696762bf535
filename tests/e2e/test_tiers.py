"""Two tiers of routes, with two real Traefiks."""

from __future__ import annotations

import pytest

from kvproxy.testing.conformance.proxy import TraefikConformance
from kvproxy.testing.conformance.proxy_suite import BackendUnderTest
from kvproxy.testing.servers import RedisServer, free_port
from kvproxy_redis import TraefikRedisProxy


class TestRedis(TraefikConformance):
    """All that the kit asks of a proxy holds with two tiers."""

    @pytest.fixture
    def backend(self, redis_server: RedisServer) -> BackendUnderTest:
        traits = {
            "redis_url": redis_server.url,
            "route_tiers": "two",
            "hot_traefik_url": f"http://127.0.0.1:{free_port()}",
            "hot_traefik_api_url": f"http://127.0.0.1:{free_port()}",
        }
        return BackendUnderTest(TraefikRedisProxy, traits, redis_server.stop, redis_server.start)
