"""Traefik's token in Consul, where the hub itself makes it, once the routes are complete.

A Consul that has lost its data has lost its tokens, too. Traefik's reads fail as a whole then, and it goes on with what
it has loaded, until the hub has written all routes and made the token again.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from kvproxy import ConfigurationError, StoreAuthError, StoreError
from kvproxy.store.connection import HttpConnection
from kvproxy.store.http import Answer, HttpClient, strange

#: Consul's words about a token that it does not know.
UNKNOWN: Final = "ACL not found"
#: By what else than policies a token may have rights.
_OTHER_RIGHTS: Final = ("Roles", "ServiceIdentities", "NodeIdentities", "TemplatedPolicies")
_OFF: Final = "ACL support disabled"


@dataclass(frozen=True)
class Login:
    """A token that a Traefik comes with.

    Args:
        token: ``consul_traefik_token``.
        root: root of the configuration that it may read, without slashes at its ends.
        former: the token of a second Traefik that an earlier hub may have had; it is deleted.
    """

    token: str = field(repr=False)
    root: str = "traefik"
    former: Login | None = None


class Admission:
    """Lets Traefik in.

    Args:
        http: the client of the hub, whose token is one of management.
        connection: where Consul is.
        login: Traefik's.
        explain: the error for an unexpected answer.
    """

    def __init__(
        self, http: HttpClient, connection: HttpConnection, login: Login, explain: Callable[[Answer], StoreError]
    ) -> None:
        self._http, self._connection = http, connection
        self._token = login.token
        self._rules = f'key_prefix {json.dumps(login.root + "/")} {{\n  policy = "read"\n}}'
        # A policy's name takes few characters.
        self._policy = f"kvproxy-traefik-{hashlib.sha256(login.root.encode()).hexdigest()[:8]}"
        self._explain = explain
        self._former = Admission(http, connection, login.former, explain) if login.former is not None else None

    async def given(self) -> bool:
        """True if Consul knows the token, with just the rights that the hub has given it.

        Raises:
            StoreError: if it does not tell.
        """
        if (token := await self._token_there()) is None:
            return False
        with self._understanding():
            policies = [policy["ID"] for policy in token.get("Policies") or []]
            if len(policies) != 1 or any(token.get(name) for name in _OTHER_RIGHTS):
                return False
            policy = self._read(await self._http.request("GET", f"/v1/acl/policy/{policies[0]}"))
            return (policy["Name"], policy["Rules"]) == (self._policy, self._rules)

    async def give(self) -> None:
        """Have Consul know the token, and let it read, and nothing else.

        Raises:
            StoreError: if the hub's own token does not do for that, or anything else is in the way.
        """
        if self._former is not None:
            await self._former.revoke()
        if await self.given():
            return
        with self._understanding():
            policy = {"Name": self._policy, "Rules": self._rules}
            path = f"/v1/acl/policy{await self._policy_there()}"
            self._read(await self._http.request("PUT", path, policy))
            token = {"SecretID": self._token, "Description": "Traefik", "Policies": [{"Name": self._policy}]}
            path = "/v1/acl/token"
            if (there := await self._token_there()) is not None:
                token["AccessorID"] = there["AccessorID"]
                path = f"{path}/{there['AccessorID']}"
            self._read(await self._http.request("PUT", path, token))

    async def revoke(self) -> None:
        """Delete the token, if Consul knows it, and its policy.

        Raises:
            StoreError: as by :meth:`give`.
        """
        with self._understanding():
            if (token := await self._token_there()) is None:
                return
            if there := await self._policy_there():
                self._read(await self._http.request("DELETE", f"/v1/acl/policy{there}"))
            # Last, so that a hub that ends in between leaves a token by which the next one sees that work is left.
            self._read(await self._http.request("DELETE", f"/v1/acl/token/{token['AccessorID']}"))

    async def _policy_there(self) -> str:
        """The policy's ID after a slash, empty if there is none of this name."""
        listed = self._read(await self._http.request("GET", "/v1/acl/policies"))
        return next((f"/{policy['ID']}" for policy in listed if policy["Name"] == self._policy), "")

    async def _token_there(self) -> Any:
        """The token as Consul describes it, None if it does not know it."""
        answer = await self._http.request("GET", "/v1/acl/token/self", headers={"X-Consul-Token": self._token})
        return None if answer.status != 200 and UNKNOWN in answer.text else self._read(answer)

    @contextmanager
    def _understanding(self) -> Iterator[None]:
        try:
            yield
        except (KeyError, TypeError, AttributeError):
            raise strange(self._connection) from None

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


def hot_token(token: str) -> str:
    """The token of a second Traefik: always the same for a first one's, which cannot be told from it.

    Args:
        token: that of the first Traefik, a UUID.
    """
    return str(uuid.uuid5(uuid.UUID(token), "hot"))
