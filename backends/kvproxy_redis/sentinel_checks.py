"""Warnings about sentinels: whether they let us in, know the master, and could replace it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from redis.exceptions import NoPermissionError, RedisError, ResponseError

from kvproxy import ConfigurationError, KVProxyError, StoreAuthError, StoreError, StoreUnavailableError

from .cancellation import all_of
from .client import sentinel_client
from .connection import Connection
from .errors import explain_sentinel
from .exposure import answers_strangers, said, said_of_sentinels, sentinel_answers_strangers
from .sentinels import Sentinels, endpoint
from .standby import Standby, alone

#: With fewer, the loss of one leaves no majority, and without a majority no server becomes the master.
_ENOUGH: Final = 3


@dataclass(frozen=True)
class Answer:
    """The answer of one sentinel.

    Args:
        place: ``host:port`` of the sentinel.
        problem: why it is of no use; None if it knows the master.
        state: of the master, as ``SENTINEL MASTERS`` has it.
        quorum: what ``SENTINEL CKQUORUM`` complains of; empty for nothing.
        replicas: their states, as ``SENTINEL REPLICAS`` has them.
        is_open: whether it answers without a login.
    """

    place: str
    problem: KVProxyError | None = None
    state: Mapping[str, Any] = field(default_factory=dict)
    quorum: str = ""
    replicas: Sequence[Mapping[str, Any]] = ()
    is_open: bool = False


async def sentinel_findings(standby: Standby) -> list[str]:
    """Warnings about the sentinels of a connection and about the replicas; none if it has no sentinels.

    Each sentinel is asked by itself: the client that follows the master takes a wrong password for a missing master.

    Raises:
        KVProxyError: if no sentinel is of use; :class:`StoreUnavailableError` only if waiting may help.
    """
    connection = standby.connection
    if (sentinels := connection.sentinels) is None:
        return []
    answers = await ask_all(connection)
    found = judge(answers, sentinels)
    replicas = next(answer.replicas for answer in answers if answer.problem is None)
    addresses = [(str(replica["ip"]), int(replica["port"])) for replica in replicas]
    found += [said_of_replica(error) for error in await standby.examine(addresses)]
    places = [alone(connection, address) for address in addresses]
    is_open = await all_of(map(answers_strangers, places))
    return found + [said(place) for place, each in zip(places, is_open, strict=True) if each]


async def ask_all(connection: Connection) -> list[Answer]:
    """The answer of each sentinel of a connection; none if it has none."""
    if (sentinels := connection.sentinels) is None:
        return []
    return await all_of(_ask(connection, sentinels, *address) for address in sentinels.addresses)


def why_no_master(answers: Sequence[Answer], sentinels: Sentinels) -> str:
    """Why no master is found, in two sentences.

    Args:
        answers: what the sentinels say.
        sentinels: their addresses and logins.
    """
    where = f"Redis at {sentinels} has no master just now. "
    problems = [answer.problem for answer in answers if answer.problem is not None]
    telling = [problem for problem in problems if not isinstance(problem, StoreUnavailableError)]
    if telling:
        return f"{where}{telling[0]}"
    if down := next((answer.state for answer in answers if answer.problem is None), None):
        place = endpoint(str(down["ip"]), int(down["port"]))
        return f"{where}The sentinels cannot reach {place}, and have not made another server the master."
    return where + " ".join(map(str, problems))


def troubles(answers: Sequence[Answer]) -> list[str]:
    """Warnings of a running hub about sentinels that do not let it in, or know no such master, for long."""
    lasting = [a.problem for a in answers if a.problem is not None and not isinstance(a.problem, StoreUnavailableError)]
    rest = "The others are asked instead." if len(lasting) < len(answers) else "The next failover is not followed."
    return [f"{problem} {rest}" for problem in lasting]


async def _ask(connection: Connection, sentinels: Sentinels, host: str, port: int) -> Answer:
    place, name = endpoint(host, port), sentinels.master
    try:
        async with sentinel_client(connection, host, port) as sentinel:
            masters = await sentinel.sentinel_masters()
            if name not in masters:
                return Answer(place, _unknown(place, name, masters))
            replicas = await sentinel.sentinel_slaves(name)
            quorum = await _quorum(sentinel, name)
        is_open = await sentinel_answers_strangers(connection, host, port)
        return Answer(place, None, masters[name], quorum, replicas, is_open)
    except (RedisError, OSError) as error:
        return Answer(place, explain_sentinel(error, connection, place))


async def _quorum(sentinel: Any, name: str) -> str:
    try:
        await sentinel.execute_command("SENTINEL CKQUORUM", name)
    except NoPermissionError:
        raise
    except ResponseError as error:
        return str(error).rstrip(".")
    return ""


def _unknown(place: str, name: str, masters: Mapping[str, Any]) -> ConfigurationError:
    known = ", ".join(map(repr, sorted(masters))) or "no master at all"
    return ConfigurationError(f"The sentinel at {place} knows no master {name!r} (redis_sentinel_master), but {known}.")


def judge(answers: Sequence[Answer], sentinels: Sentinels) -> list[str]:
    """Warnings for an administrator about these answers.

    Raises:
        KVProxyError: the most telling problem, if no sentinel is of use.
    """
    useful = [answer for answer in answers if answer.problem is None]
    problems = [answer.problem for answer in answers if answer.problem is not None]
    if not useful:
        raise next((problem for problem in problems if not isinstance(problem, StoreUnavailableError)), problems[0])
    found = [f"{problem} The others are asked instead." for problem in problems]
    if careless := [answer.place for answer in useful if answer.is_open]:
        found.append(said_of_sentinels(careless))
    name, state = sentinels.master, useful[0].state
    places = sorted({endpoint(str(answer.state["ip"]), int(answer.state["port"])) for answer in useful})
    if len(places) > 1:
        found.append(f"The sentinels disagree on where the master {name!r} is: {', '.join(places)}.")
    if (known := 1 + int(state.get("num-other-sentinels", 0))) < _ENOUGH:
        found.append(
            f"The master {name!r} is watched by {known} sentinel{'s' if known > 1 else ''} only, so that the loss of "
            f"one leaves no majority to fail over; run at least {_ENOUGH}, each on a machine of its own."
        )
    if int(state.get("num-slaves", 0)) == 0:
        found.append(f"The master {name!r} has no replica, so there is none that could take over; add one at least.")
    if complaint := next((answer.quorum for answer in useful if answer.quorum), ""):
        found.append(f"The sentinels could not fail over the master {name!r} just now: {complaint}.")
    return found


def said_of_replica(error: StoreError) -> str:
    """The warning about what would keep hub or Traefik from a replica."""
    if isinstance(error, StoreAuthError):
        return f"{error} Redis copies no users to replicas; after a failover to this one every login would fail."
    return f"{error} The hub needs it when it takes over."
