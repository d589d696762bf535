"""Traefik's Redis user, where the hub itself makes it: again after each start of Redis, once the routes are complete.

A user of Redis' access control is kept nowhere without ``ACL SAVE``, and replicas do not get it. So a
server that was restarted or has just become the master does not know Traefik, whose reads fail as a whole, and Traefik
goes on with what it has loaded, until the hub has put right what is there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from kvproxy import ConfigurationError

from .transactions import ask

#: The commands that Traefik needs to read and to be notified. CONFIG, with which it would have Redis notify it of every
#: key, is not among them, nor is PUBLISH. All Redis versions from 6.2 on know them.
_COMMANDS: Final = ("+@read", "+psubscribe", "+punsubscribe", "+@connection", "-@dangerous")

#: Seconds after which a read that Traefik had begun at a server that went away is over: its client sends a command up
#: to four times, each time to whichever server answers, and tries to connect every 0.1 s (go-redis 9.21).
_READ: Final = 1.0
#: Lists that Redis gives in any order.
_ORDERED: Final = {"commands", "flags", "passwords"}


def rights(root: str) -> tuple[str, ...]:
    """The least rights of a Redis user with which Traefik serves the keys below a root.

    Traefik scans for names that begin with the root and reads all that it finds, and listens to one pattern of
    channels, which has to stand in the rights as it is (kvtools/redis 1.2, `WatchTree`; Redis compares patterns
    literally).

    Args:
        root: root of the configuration, without slashes at its ends.

    >>> " ".join(rights("traefik")[:3])
    '~traefik* resetchannels &__keyspace*:traefik*'
    """
    return (f"~{root}*", "resetchannels", f"&__keyspace*:{root}*", *_COMMANDS)


@dataclass(frozen=True)
class Login:
    """The user that Traefik comes as.

    Args:
        username: ``redis_traefik_username``.
        password: ``redis_traefik_password``.
        root: root of the configuration, without slashes at its ends.
        former: the user of a second Traefik that an earlier hub may have had; its rights are revoked.
    """

    username: str
    password: str = field(repr=False)
    root: str = "traefik"
    former: Login | None = None

    @property
    def _digest(self) -> str:
        return hashlib.sha256(self.password.encode()).hexdigest()

    @property
    def command(self) -> tuple[str, ...]:
        """The command of Redis that makes this user, whatever it was before; it does not hold the password itself."""
        return ("ACL SETUSER", self.username, "reset", "on", f"#{self._digest}", *rights(self.root))

    @property
    def question(self) -> tuple[str, ...]:
        """The command by which Redis describes this user."""
        return ("ACL GETUSER", self.username)

    async def known(self, redis: Any) -> Mapping[str, Any] | None:
        """Ask a server (a connected ``redis.asyncio.Redis``) for this user, None if it does not let it in."""
        user = described(await ask(redis, *self.question))
        return user if user and b"on" in user["flags"] else None

    async def pause(self, redis: Any) -> float:
        """Seconds to go on refusing this user: until no read that it has begun elsewhere can continue here."""
        return 0.0 if await self.known(redis) else _READ

    def is_made(self, user: Mapping[str, Any] | None) -> bool:
        """True if a hub has made this user: it has just this password, and reads just this root.

        Args:
            user: Redis' description, see :func:`described`.
        """
        if user is None:
            return False
        # Redis 6.2 lists the patterns, later versions join them, each after a tilde.
        keys = user["keys"] if isinstance(user["keys"], list) else user["keys"].split()
        patterns = [pattern.decode().removeprefix("~") for pattern in keys]
        return (user["passwords"], patterns) == ([self._digest.encode()], [f"{self.root}*"])

    async def revoke_former(self, redis: Any) -> None:
        """Take the login and all rights from the former user, unless it is not one that a hub has made.

        Not ``ACL DELUSER``, which would be one right more for the hub's own user.
        """
        if (former := self.former) is not None and former.is_made(described(await ask(redis, *former.question))):
            await ask(redis, "ACL SETUSER", former.username, "reset")


def described(answer: Any) -> Mapping[str, Any] | None:
    """An answer to ``ACL GETUSER``, in a form in which two are equal if they are about the same rights.

    Redis tells the commands in another order from one time to the next.

    >>> described({b"flags": [b"on"], b"commands": b"-@all +@read"})
    {'flags': [b'on'], 'commands': [b'+@read', b'-@all']}
    """
    if answer is None:
        return None
    pairs = answer.items() if isinstance(answer, Mapping) else zip(answer[::2], answer[1::2], strict=True)
    user = {name.decode(): value for name, value in pairs}
    return {
        name: sorted(value.split() if name == "commands" else value) if name in _ORDERED else value
        for name, value in user.items()
    }


def parse_login(username: str, password: str, hub: str, root: str) -> Login:
    """The user that the hub makes for Traefik.

    Args:
        username: ``redis_traefik_username``.
        password: ``redis_traefik_password``.
        hub: the user that the hub comes as; empty for the default one.
        root: root of the configuration, without slashes at its ends.

    Raises:
        ConfigurationError: if one of the two is missing, or it is a user that others are, too.
    """
    if not username or not password:
        raise ConfigurationError(
            "redis_admit_traefik has the hub make Traefik's Redis user; name it with both "
            "redis_traefik_username and redis_traefik_password."
        )
    if username in {"default", hub}:
        raise ConfigurationError(
            f"redis_admit_traefik has the hub replace Traefik's Redis user by one with few rights, but {username!r} "
            "(redis_traefik_username) is one that others come as; choose another name."
        )
    return Login(username, password, root)
