"""Groups of Redis servers and sentinels, with the users that the documentation tells of, and nothing else."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kvproxy.testing.servers.redis import CLOSED
from kvproxy.testing.servers.sentinel import Access, Login, SentinelGroup

Factory = Callable[..., SentinelGroup]

DOCS = Path(__file__).parents[2] / "docs/how-to"
PASSWORD = "s3cret/with:odd@characters%"
USERS = {
    name: f"{name} {rights.replace('change-me', PASSWORD)}"
    for file in ("redis.md", "sentinel.md")
    for name, rights in re.findall(r"^user (\w+) (.*)$", (DOCS / file).read_text(), re.MULTILINE)
}
ACCESS = Access(
    acl=[CLOSED, USERS["hub"], USERS["traefik"], USERS["sentinel"], USERS["replica"]],
    sentinel=Login("sentinel", f"{PASSWORD}-4"),
    replica=Login("replica", f"{PASSWORD}-5"),
    sentinel_acl=[CLOSED, USERS["kvproxy"]],
)
#: Further rights of both users for two tiers.
HOT = dict(re.findall(r"^ACL SETUSER (\w+) (~hot-.*)$", (DOCS / "redis.md").read_text(), re.MULTILINE))
TWO_TIERS = replace(
    ACCESS, acl=[CLOSED, *(f"{USERS[name]} {HOT.get(name, '')}" for name in ("hub", "traefik", "sentinel", "replica"))]
)
#: Further rights of the hub's user to let Traefik in.
(RIGHTS,) = re.findall(r"^ACL SETUSER hub (.*)$", (DOCS / "sentinel.md").read_text(), re.MULTILINE)


def admitting(rights: str = RIGHTS) -> Access:
    """The same where the hub makes Traefik's user, for which it has these rights."""
    return replace(ACCESS, acl=[CLOSED, f"{USERS['hub']} {rights}", USERS["sentinel"], USERS["replica"]])


LOGIN = {
    "redis_username": "hub",
    "redis_password": PASSWORD,
    "redis_traefik_username": "traefik",
    "redis_traefik_password": f"{PASSWORD}-too",
    "redis_sentinel_username": "kvproxy",
    "redis_sentinel_password": f"{PASSWORD}-3",
}


@pytest.fixture
def sentinel_factory() -> Iterator[Factory]:
    """Starts a group of servers and sentinels, see `SentinelGroup`."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: Any, **options: Any) -> SentinelGroup:
            return stack.enter_context(SentinelGroup(*arguments, **options))

        yield start


def settings(group: SentinelGroup) -> dict[str, Any]:
    """The traits for a group."""
    return {"redis_url": "redis:///0", "redis_sentinels": group.addresses}
