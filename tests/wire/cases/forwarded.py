"""Who asks, and how: the header fields by which a server behind proxies knows it."""

from __future__ import annotations

import platform

from ..case import BELOW, HOSTS, PLAIN, Case, Facts, get
from ..client import Site

#: As a balancer that ends TLS sends them.
BALANCER = (
    "X-Forwarded-For: 192.0.2.7",
    "X-Forwarded-Host: hub.example.org",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Prefix: /outer",
    "X-Forwarded-Proto: https",
)
_NAMES = ["for", "host", "port", "prefix", "proto", "server"]


def forwarded(*fields: str):
    """A client that sends these fields, and looks at what arrives of their kind."""

    async def run(site: Site) -> Facts:
        await site.ask(site.head("GET", "{path}/", *fields))
        request = site.backend.requests[0]
        names = [f"X-Forwarded-{name.capitalize()}" for name in _NAMES] + ["X-Real-Ip", "Forwarded", "Via"]
        found = {name: site.plain(request.get(name)) for name in names if request.values(name)}
        return {name: value.replace(platform.node(), "(the machine's name)") for name, value in found.items()}

    return run


_SHOW = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port")

CASES = [
    Case("forwarded", "What is added to a request", forwarded(), setups=(PLAIN,), show=_SHOW),
    Case("forwarded-tls", "What is added to a request over TLS", forwarded(), setups=(HOSTS,), show=_SHOW),
    Case("balancer", "`X-Forwarded-…` of a balancer that ends TLS", forwarded(*BALANCER), setups=(BELOW,), show=_SHOW),
    Case("forger", "The same from anybody else", forwarded(*BALANCER), setups=(PLAIN,), show=_SHOW),
    Case("real-ip", "`X-Real-IP` of a balancer", forwarded("X-Real-IP: 192.0.2.7"), setups=(BELOW,)),
    Case("real-ip-forger", "`X-Real-IP` of anybody else", forwarded("X-Real-IP: 192.0.2.7")),
    Case(
        "forwarded-rfc",
        "`Forwarded`, `Via`",
        forwarded("Forwarded: for=192.0.2.7", "Via: 1.1 x"),
        show=("Forwarded", "Via"),
    ),
    Case(
        "authorization",
        "`Authorization`, `Origin`, `Referer`, cookies",
        get(
            "Authorization: token abc", "Origin: https://a.example", "Referer: https://a.example/b", "Cookie: a=1; b=2"
        ),
    ),
]
