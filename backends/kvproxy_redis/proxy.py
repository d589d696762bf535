"""The proxy class of the Redis backend."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from traitlets import Bool, Dict, Enum, List, Unicode, Union

from kvproxy import ConfigurationError, Roots
from kvproxy.proxy import KVTraefikProxy
from kvproxy.proxy.hot import has_one_tier

from .admission import Login, parse_login
from .connection import Connection, parse_connection, provider_options, traefik_connection
from .errors import explain_traefik
from .sentinels import MASTER, parse_sentinels

if TYPE_CHECKING:
    from .store import RedisStore


class TraefikRedisProxy(KVTraefikProxy):
    """JupyterHub's proxy by Traefik, with the routes in Redis or Valkey.

    Example, in ``jupyterhub_config.py``::

        c.JupyterHub.proxy_class = "traefik_redis"
        c.TraefikRedisProxy.redis_url = "rediss://hub:secret@redis.example.org:6380/1"
    """

    provider_name = "redis"

    redis_url = Unicode(
        "redis://127.0.0.1:6379",
        config=True,
        help="""Redis' address: `redis://[user[:password]@]host[:port][/db]`, `rediss://…` for TLS, or
        `unix:///path/of/the/socket?db=0` if Traefik runs on the same machine.

        Special characters in user and password are percent-encoded. Options of the Redis client may follow as a
        query (`?ssl_ca_certs=/path/ca.pem`). Traefik uses the same.
        """,
    )
    redis_username = Unicode(config=True, help="The Redis user, instead of the one in `redis_url`.")
    redis_password = Unicode(config=True, help="The Redis user's password, instead of the one in `redis_url`.")
    redis_traefik_username = Unicode(
        config=True,
        help="""The Redis user that Traefik logs in as; if empty, it comes as the hub does.

        Give it one that may not run CONFIG: a Traefik that may makes Redis notify of every key, and then reads all
        routes again for each key of a change instead of once. If `should_start` is False, it is for
        `kvproxy static-config` and `redis_admit_traefik` only.
        """,
    )
    redis_traefik_password = Unicode(config=True, help="The password of `redis_traefik_username`.")
    redis_admit_traefik = Bool(
        False,
        config=True,
        help="""Have the hub create the Redis user `redis_traefik_username` whenever Redis does not know it and all
        routes are there.

        Then a Redis that was restarted, or has become the master, keeps Traefik out until the hub has put right what it
        has lost, and Traefik goes on with what it has loaded. The hub's own user needs the right to run `ACL SETUSER`
        and `ACL GETUSER`, and Traefik's must not be in Redis' own configuration or `aclfile`. With two tiers
        (`route_tiers`), the second Traefik gets a user of its own, whose name ends in `-hot`.
        """,
    )
    redis_notifications = Enum(
        ["auto", "keep", "off"],
        default_value="auto",
        config=True,
        help="""Policy for Redis' keyspace notifications (`notify-keyspace-events`).

        A Traefik that may run CONFIG switches them on whenever it connects, and then reads all routes again for each
        key of a change; it needs none of them. `auto` switches them off again if they were off when the hub came, and
        only where what is set is what Traefik sets: not if another program has set others. `off` always switches them
        off, `keep` never does. Where the hub may not run CONFIG, nothing happens.
        """,
    )
    redis_client_kwargs = Dict(
        config=True,
        help="""Further options of `redis.asyncio.Redis`, such as `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile` or
        `socket_timeout` (seconds). They win over everything else. Those about trying again are without effect, as
        kvproxy does that by itself.
        """,
    )

    redis_sentinels = Union(
        [List(Unicode()), Unicode()],
        default_value=[],
        config=True,
        help="""The sentinels that know which server is the master, each as `host` or `host:port` (26379 if there is no
        port); empty for one fixed server, that of `redis_url`.

        One that answers is enough to start; name all of them. `redis_url` still gives database, user, password and
        whether to speak TLS (`rediss:///0`), to servers and sentinels alike, but names no host. Traefik is told the
        same as the hub uses.
        """,
    )
    redis_sentinel_master = Unicode(
        MASTER, config=True, help="The name of the master, as in the sentinels' `sentinel monitor`."
    )
    redis_sentinel_username = Unicode(
        config=True,
        help="The user that hub and Traefik come to the sentinels as; that of `redis_url` is not used there.",
    )
    redis_sentinel_password = Unicode(
        config=True,
        help="The password for the sentinels (`requirepass` or the user's); that of `redis_url` is not used.",
    )

    @property
    def connection(self) -> Connection:
        """Redis' address and credentials, from all the traits together.

        Raises:
            ConfigurationError: if they make no sense, or Traefik could not follow.
        """
        sentinels = parse_sentinels(
            self.redis_sentinels,
            self.redis_sentinel_master,
            self.redis_sentinel_username,
            self.redis_sentinel_password,
        )
        return parse_connection(
            self.redis_url, self.redis_username, self.redis_password, self.redis_client_kwargs, sentinels
        )

    def open_store(self, roots: Roots) -> RedisStore:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.open_store`."""
        try:
            from .store import RedisStore
        except ImportError:
            raise ConfigurationError(
                "The Redis client is not installed; install it with: pip install 'kvproxy[redis]'."
            ) from None
        where, traefik = self.connection, None
        with contextlib.suppress(ConfigurationError):
            # If there is none that Traefik could use, it matters only where a Traefik is to be started.
            traefik = None if self.says_provider else self._traefik_connection
        return RedisStore(
            where,
            roots.traefik,
            roots.jupyterhub,
            admits=self._admits(roots),
            log=self.log,
            traefik=traefik,
            notifications=self.redis_notifications,
            starts_traefik=self.should_start,
        )

    def _admits(self, roots: Roots) -> Login | None:
        if not self.redis_admit_traefik:
            return None
        login = parse_login(
            self.redis_traefik_username, self.redis_traefik_password, self.connection.username, roots.traefik
        )
        return replace(login, former=self._hot_login) if has_one_tier(self) else login

    @property
    def _hot_login(self) -> Login:
        """The user of a second Traefik."""
        hot = self.hot_settings()
        return Login(hot["redis_traefik_username"], self.redis_traefik_password, hot["kv_traefik_prefix"])

    def traefik_provider(self) -> dict[str, Any]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.traefik_provider`."""
        return {"redis": provider_options(self._traefik_connection, self.traefik_root)}

    @property
    def _traefik_connection(self) -> Connection:
        return traefik_connection(self.connection, self.redis_traefik_username, self.redis_traefik_password)

    def refused_login(self, provider_error: str) -> str:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.refused_login`; one that the hub makes, it makes again."""
        if self.redis_admit_traefik or not self.redis_traefik_username:
            return ""
        return explain_traefik(provider_error, self.connection, self.redis_traefik_username)

    def hot_settings(self) -> dict[str, Any]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.hot_settings`; another database, as Traefik scans a whole one.

        A user that the hub makes has rights to one root, so the second Traefik gets one of its own.
        """
        options = {**self.redis_client_kwargs, "db": self.connection.db + 1}
        login = {"redis_traefik_username": f"{self.redis_traefik_username}-hot"} if self.redis_admit_traefik else {}
        return {**super().hot_settings(), "redis_client_kwargs": options, **login}

    def store_secrets(self) -> list[str]:
        """See :meth:`kvproxy.proxy.base.KVTraefikProxy.store_secrets`."""
        passwords = (self.connection.password, self.redis_traefik_password, self.redis_sentinel_password)
        return [password for password in passwords if password]
