"""The second Traefik's proxy, and sentences about Traefiks that two tiers cannot be had with."""

from __future__ import annotations

from typing import Any

import pytest

from kvproxy.proxy import KVTraefikProxy
from kvproxy_redis import TraefikRedisProxy

#: As Traefik shows an entry point that changes no request.
POINT: dict[str, Any] = {
    "name": "any",
    "http": {"encodeQuerySemicolons": True, "sanitizePath": False},
    "forwardedHeaders": {"trustedIPs": ["127.0.0.1/32"], "notAppendXForwardedFor": True},
}
URLS = ["http://pod-1:8098", "http://pod-2:8098"]


def external(**traits: Any) -> tuple[KVTraefikProxy, KVTraefikProxy]:
    """The proxies of both tiers, for Traefiks that the hub does not start."""
    proxy = TraefikRedisProxy(should_start=False, route_tiers="two", hot_traefik_api_url=URLS, **traits)
    hot = proxy.hot_proxy()
    assert hot is not None
    return proxy, hot


def test_the_hot_traefiks_are_asked_where_the_administrator_says() -> None:
    """The base ones where they are asked without a second tier."""
    proxy, hot = external(traefik_api_url="http://pods:8099")
    assert proxy.traefik_api_urls == ["http://pods:8099"]
    assert hot.traefik_api_urls == URLS
    assert not hot.should_start
    assert hot.sets_up


def test_a_hub_that_starts_both_has_a_place_for_the_second_api() -> None:
    """On this machine."""
    hot = TraefikRedisProxy(route_tiers="two").hot_proxy()
    assert hot is not None
    assert hot.traefik_api_urls == ["http://127.0.0.1:8098"]


@pytest.mark.parametrize("tier", [0, 1])
def test_a_traefik_of_either_tier_that_is_too_old_is_named(tier: int) -> None:
    """By the hub and by `kvproxy check`, which say the same about an entry point."""
    proxy = external()[tier]
    assert proxy.advice((3, 7, 0), POINT) == []
    (said,) = proxy.advice((3, 6, 9), POINT)
    assert "Traefik 3.6.9 is too old for c.TraefikProxy.route_tiers" in said
    assert TraefikRedisProxy(should_start=False).advice((3, 6, 9), POINT) == []


def test_a_hand_written_second_traefik_that_changes_headers_is_named() -> None:
    """The first one may do as it likes."""
    shown = {**POINT, "forwardedHeaders": {}}
    base, hot = external()
    assert base.advice((3, 7, 0), shown) == []
    (said,) = hot.advice((3, 7, 0), shown)
    assert "notAppendXForwardedFor" in said
