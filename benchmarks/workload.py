"""The work that every contestant is given, and where its servers are. Imported in every environment."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).resolve().parent.parent
#: A large answer: 1 MiB that no proxy can take for anything else.
LARGE = bytes(range(256)) * 4096

#: The result of one measured call: metric -> value; seconds, bytes, a count, or 0 and 1.
Sample: TypeAlias = dict[str, float]

#: Users who are there from the beginning are numbered from 0, those who come and go while measuring from here.
FIRST_GUEST = 90_000


@dataclass(frozen=True)
class Route:
    """One call of ``add_route``."""

    routespec: str
    target: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Place:
    """Where one contestant works.

    directory: for its files. store: kind of its store (``redis``, ``etcd``, ``consul``, ``file``, or none); store_url,
    store_pid: its own server, a path and 0 for a file. traefik_username, traefik_password: what its Traefik logs into
    Redis with; empty for the hub's own rights. public_url, api_url: where its proxy is to listen. hub_url, user_url:
    real servers that answer as "hub" and as "user". chp: path of configurable-http-proxy. wrk: the load generator, and
    libraries: where what it loads is, if not where the system looks.
    """

    directory: str
    store: str
    store_url: str
    store_pid: int
    traefik_username: str
    traefik_password: str
    public_url: str
    api_url: str
    hub_url: str
    user_url: str
    chp: str = ""
    wrk: str = ""
    libraries: str = ""

    def to_json(self) -> str:
        """One line that :meth:`from_json` understands."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Place:
        """The reverse of :meth:`to_json`."""
        return cls(**json.loads(text))

    def hub_route(self) -> Route:
        """The route that every hub has; it answers for users whose server is not there yet."""
        return Route("/", self.hub_url, {"hub": True})

    def user_route(self, number: int) -> Route:
        """The route of a user's server, with the data that JupyterHub gives it."""
        name = f"student{number:05d}"
        return Route(f"/user/{name}/", self.user_url, {"user": name, "server_name": ""})

    def residents(self, count: int) -> list[Route]:
        """The hub's route and ``count`` users who are there before anything is measured."""
        return [self.hub_route(), *(self.user_route(number) for number in range(count))]
