"""The part of the backends' conformance kit that is about names: whose server a request reaches."""

from __future__ import annotations

import random
import string
from urllib.parse import quote

import pytest

from kvproxy.routing.route import make_route
from kvproxy.testing.conformance import oracle
from kvproxy.testing.conformance.proxy_suite import ClientOf, Start, add_all
from kvproxy.testing.servers.named import Doors, RawClient, port_of

PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F))
UNICODE = ["é", "ß", "中文", "имя", "😀", "e\u0301", "\u200d", "\ufb01", "\u0130", "\u00a0", "ÿ"]
NAMES = [f"a{c}b" for c in PRINTABLE] + [c for c in PRINTABLE if c != "."] + ["..a", "a.", *UNICODE, PRINTABLE]
#: RFC 3986's characters of a path segment: a client may send these as they are.
LITERAL = string.ascii_letters + string.digits + "-._~!$&'()*+,;=:@"


def as_hub(name: str) -> str:
    """As JupyterHub writes a name in a URL."""
    return quote(name, safe="@~")


def as_browser(name: str) -> str:
    """As JavaScript's encodeURIComponent does."""
    return quote(name, safe="!~*'()")


def as_literal(name: str) -> str:
    """With every character sent as it is that may be."""
    return quote(name, safe=LITERAL)


def all_encoded(name: str) -> str:
    """With every character percent-encoded, in lower case."""
    return "".join(f"%{byte:02x}" for byte in name.encode())


SPELLINGS = [as_hub, as_browser, as_literal, all_encoded]


class NameTests:
    """Tests to inherit, with the fixtures of :class:`~kvproxy.testing.conformance.proxy_suite.TraefikKit`."""

    @pytest.mark.parametrize("prefix", ["/user/", "/user/zo%C3%AB/", "/@/space%20word/user/"])
    async def test_every_name_reaches_its_server_in_every_spelling(
        self, prefix: str, start_proxy: Start, doors: Doors, client_of: ClientOf
    ) -> None:
        """As a user's name, as a named server's, and below a base URL; a longer name is not it."""
        proxy = await start_proxy()
        hub, *targets = [await doors.open() for _ in ["/", *NAMES]]
        specs = [f"{prefix}{as_hub(name)}/" for name in NAMES]
        await add_all(proxy, [("/", hub), *zip(specs, targets, strict=True)])
        client = client_of(proxy)
        for name, target in zip(NAMES, targets, strict=True):
            for spelling in SPELLINGS:
                await self._assert_reaches(client, prefix + spelling(name), port_of(target))
            if name + "x" not in NAMES:
                await self._assert_reaches(client, f"{prefix}{as_hub(name)}x", port_of(hub))
        routes = await proxy.get_all_routes()
        assert {spec: routes[spec]["target"] for spec in specs} == dict(zip(specs, targets, strict=True))

    @staticmethod
    async def _assert_reaches(client: RawClient, path: str, port: str) -> None:
        for tail in ("", "/", "/tree/x?y=/user/z/"):
            assert (path + tail, await client.ask(path + tail)) == (path + tail, (200, port))

    async def test_a_named_server_cannot_take_over_the_hub(
        self, start_proxy: Start, doors: Doors, client_of: ClientOf
    ) -> None:
        """Shown on jupyterhub-traefik-proxy 2.1: the first of these names took every route."""
        proxy = await start_proxy()
        hub, ada, evil = [await doors.open() for _ in range(3)]
        names = ["x`) || HostRegexp(`.*", 'x") || PathPrefix("/', "x') || Path('/user/ada", 'x\\") || Host("127.0.0.1']
        specs = [f"/user/eve/{as_hub(name)}/" for name in names]
        await add_all(proxy, [("/", hub), ("/user/ada/", ada), *((spec, evil) for spec in specs)])
        client = client_of(proxy)
        for path, port in [("/", hub), ("/hub/", hub), ("/user/ada/x", ada), ("/user/eve/", hub), ("/user/eve/x", hub)]:
            assert await client.ask(path) == (200, port_of(port))
        for spec in specs:
            assert await client.ask(spec) == (200, port_of(evil))

    async def test_hosts(self, start_proxy: Start, doors: Doors, client_of: ClientOf) -> None:
        """With subdomains a route belongs to its host, whatever the case, with a port or without."""
        proxy = await start_proxy()
        hub, ada, bob, server = [await doors.open() for _ in range(4)]
        table = {"/": hub, "ada.example.org/user/ada/": ada, "bob.example.org/user/bob/": bob}
        await add_all(proxy, [*table.items(), ("ada.example.org/user/ada/a%2Bb/", server)])
        client = client_of(proxy)
        for host, path, port in [
            ("ada.example.org", "/user/ada/", ada),
            ("ADA.example.org:8000", "/user/ada", ada),
            ("ada.example.org", "/user/ada/a+b/x", server),
            ("bob.example.org", "/user/bob/x", bob),
            ("bob.example.org", "/user/ada/", hub),
            ("example.org", "/user/ada/", hub),
            ("ada.example.org", "/hub/", hub),
        ]:
            assert await client.ask(path, host) == (200, port_of(port)), (host, path)

    @pytest.mark.parametrize("seed", range(2))
    async def test_a_random_table_leads_where_longest_prefix_matching_leads(
        self, seed: int, start_proxy: Start, doors: Doors, client_of: ClientOf
    ) -> None:
        """Nested routes, hosts, hostile names, names that are prefixes of others."""
        chance = random.Random(seed)  # noqa: S311 - a repeatable test
        names = ["a", "ab", "a b", "a+b", "a@b", "%", "é", '"', "`", "(a", "a)", ".a", "a/b", "$", "^a", "*", "user"]
        hosts = ["", "", "", "x.example.org", "y.example.org"]
        proxy, table = await start_proxy(), {}
        for _ in range(60):
            path = "".join(as_hub(name) + "/" for name in chance.choices(names, k=chance.randint(0, 4)))
            route = make_route(f"{chance.choice(hosts)}/{path}", await doors.open(), {})
            table[route.key] = route
        await add_all(proxy, [(route.routespec, route.target) for route in table.values()])
        client = client_of(proxy)
        for _ in range(400):
            near = chance.choice(list(table.values()))
            segments = [*near.spec.segments[: chance.randint(0, 4)], *chance.choices(names, k=chance.randint(0, 2))]
            path = "/" + "/".join(chance.choice(SPELLINGS)(segment) for segment in segments)
            host = chance.choice(hosts[2:]) or "127.0.0.1"
            wanted = oracle.lead(table.values(), host, path)
            status, body = await client.ask(path, host)
            assert (path, host, status, body if status == 200 else "") == (
                (path, host, 200, port_of(wanted.target)) if wanted else (path, host, 404, "")
            )
