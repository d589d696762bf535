"""The client as a server behind proxies sees it: header fields."""

from __future__ import annotations

import platform

from ..case import BELOW, HOSTS, PLAIN, Ask, Case, Facts, get
from ..client import Site

#: As a balancer that ends TLS sends them.
BALANCER = (
    "X-Forwarded-For: 192.0.2.7",
    "X-Forwarded-Host: hub.example.org",
    "X-Forwarded-Port: 443",
    "X-Forwarded-Prefix: /outer",
    "X-Forwarded-Proto: https",
)
_BY = tuple(f"X-Forwarded-{name}" for name in ("For", "Host", "Port", "Prefix", "Proto"))


def forwarded(*fields: str, names: tuple[str, ...] = _BY) -> Ask:
    """A client that sends these fields, and looks at what arrives under those names."""

    async def run(site: Site) -> Facts:
        await site.ask(site.head("GET", "{path}/", *fields))
        request = site.backend.requests[0]
        found = {name: site.plain(request.get(name)) for name in names if request.values(name)}
        return {name: value.replace(platform.node(), "(the machine's name)") for name, value in found.items()}

    return run


_ALL = (*_BY, "X-Forwarded-Server", "X-Real-Ip")
_SHOW = ("X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Port")

CASES = [
    Case("forwarded", "Fields added to a request", forwarded(names=_ALL), setups=(PLAIN,), show=_SHOW),
    Case("forwarded-tls", "Fields added to a request over TLS", forwarded(names=_ALL), setups=(HOSTS,), show=_SHOW),
    Case("balancer", "`X-Forwarded-…` of a balancer that ends TLS", forwarded(*BALANCER), setups=(BELOW,), show=_SHOW),
    Case("forger", "The same from anybody else", forwarded(*BALANCER), setups=(PLAIN,), show=_SHOW),
    Case(
        "real-ip", "`X-Real-IP` of a balancer", forwarded("X-Real-IP: 192.0.2.7", names=("X-Real-Ip",)), setups=(BELOW,)
    ),
    Case("real-ip-forger", "`X-Real-IP` of anybody else", forwarded("X-Real-IP: 192.0.2.7", names=("X-Real-Ip",))),
    Case(
        "forwarded-rfc",
        "`Forwarded`, `Via`",
        forwarded("Forwarded: for=192.0.2.7", "Via: 1.1 x", names=("Forwarded", "Via")),
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
