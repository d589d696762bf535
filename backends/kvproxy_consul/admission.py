"""Traefik's token in Consul, where the hub itself makes it, once the routes are complete.

A Consul that has lost its data has lost its tokens, too. Traefik's reads fail as a whole then, and it goes on with what
it has loaded, until the hub has written all routes and made the token again.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from typing import Any, Final

from kvproxy.errors import ConfigurationError, StoreAuthError, StoreError
from kvproxy.http_connection import HttpConnection
from kvproxy.http_store import Answer, HttpClient, strange

#: What Consul says of a token that it does not know.
UNKNOWN: Final = "ACL not found"
_OFF: Final = "ACL support disabled"


class Admission:
    """Lets Traefik in.

    Args:
        http: the client of the hub, whose token is one of management.
        connection: where Consul is.
        token: ``consul_traefik_token``.
        root: what Traefik may read below, without slashes at its ends.
        explain: the error for an answer that is none of those expected.
    """

    def __init__(
        self,
        http: HttpClient,
        connection: HttpConnection,
        token: str,
        root: str,
        explain: Callable[[Answer], StoreError],
    ) -> None:
        self._http, self._connection = http, connection
        self._token = token
        self._rules = f'key_prefix {json.dumps(root + "/")} {{\n  policy = "read"\n}}'
        # A policy's name takes few characters.
        self._policy = f"kvproxy-traefik-{hashlib.sha256(root.encode()).hexdigest()[:8]}"
        self._explain = explain

    async def given(self) -> bool:
        """Whether Consul knows the token.

        Raises:
            StoreError: if it does not tell.
        """
        answer = await self._http.request("GET", "/v1/acl/token/self", headers={"X-Consul-Token": self._token})
        if answer.status != 200 and UNKNOWN in answer.text:
            return False
        self._read(answer)
        return True

    async def give(self) -> None:
        """Have Consul know the token, and let it read.

        Raises:
            StoreError: if the hub's own token does not do for that, or anything else is in the way.
        """
        if await self.given():
            return
        answer = await self._http.request("GET", "/v1/acl/policies")
        try:
            names = {policy["Name"] for policy in self._read(answer)}
        except (KeyError, TypeError):
            raise strange(self._connection) from None
        if self._policy not in names:
            policy = {"Name": self._policy, "Rules": self._rules}
            self._read(await self._http.request("PUT", "/v1/acl/policy", policy))
        token = {"SecretID": self._token, "Description": "Traefik", "Policies": [{"Name": self._policy}]}
        self._read(await self._http.request("PUT", "/v1/acl/token", token))

    def _read(self, answer: Answer) -> Any:
        if answer.status == 200:
            return answer.json() or []
        where = self._connection.at(answer.endpoint)
        if _OFF in answer.text:
            raise ConfigurationError(
                f"{where} has its access control switched off (acl.enabled), so that there is no token for "
                "the hub to make; switch it on, or consul_admit_traefik off."
            )
        if answer.status == 403 and UNKNOWN not in answer.text:
            raise StoreAuthError(
                f"{where} does not let the hub make Traefik's token (consul_admit_traefik); give "
                'it as consul_token one whose policy has acl = "write", such as that of initial_management.'
            )
        raise self._explain(answer)


def check_token(token: str, hub: str) -> str:
    """Traefik's token, as the hub is to make it.

    Args:
        token: ``consul_traefik_token``.
        hub: the hub's own token.

    Raises:
        ConfigurationError: if it is none that Consul takes, or the hub's.
    """
    try:
        fits = str(uuid.UUID(token)) == token.lower()
    except ValueError:
        fits = False
    if not fits or not hub or token == hub:
        raise ConfigurationError(
            "consul_admit_traefik has the hub make Traefik's token, by a token of its own with all rights to tokens. "
            "Set consul_token to that, and consul_traefik_token to another one, in the form of a UUID: "
            "python3 -c 'import uuid; print(uuid.uuid4())' makes one."
        )
    return token
