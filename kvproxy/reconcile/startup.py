"""Waiting at start for the store and Traefik, which may come up later than the hub."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import Any, Final, TypeVar

from .._types import Log
from ..errors import (
    ConfigurationError,
    StoreUnavailableError,
    StoreWriteRefusedError,
    TraefikAuthError,
    TraefikError,
)
from ..routing.entry import SETUP, Entry
from ..routing.manifest import DEFAULT_CERTIFICATE
from ..traefik.api import TraefikApi, TraefikView
from ..traefik.entry_point import reserved_advice
from ..traefik.setup.certificate import CERTIFICATE_LOST, der_of
from ..traefik.static_config import groups_allowed, parse_version
from .progress import Progress
from .reasons import Facts, Loaded, explain
from .store_loop import StoreLoop

T = TypeVar("T")

_FIRST_PAUSE: Final = 0.05
_LAST_PAUSE: Final = 2.0
#: Seconds that a part may be late before that is logged.
_SILENCE: Final = 1.0


async def wait_for_store(action: Callable[[], Awaitable[T]], timeout: float, setting: str, log: Log) -> T:
    """Retry an action on the store while it is unavailable, and log that once.

    Args:
        action: the action.
        timeout: seconds after which to give up.
        setting: name of the timeout's setting, for the error.
        log: takes the message that the store is late.

    Raises:
        StoreUnavailableError: after ``timeout`` seconds.
        StoreError: at once, for an error that waiting does not cure.
    """
    loop = asyncio.get_running_loop()
    deadline, pause, told = loop.time() + timeout, _FIRST_PAUSE, False
    while True:
        try:
            return await action()
        except StoreUnavailableError as error:
            if loop.time() >= deadline:
                raise StoreUnavailableError(f"{error} Gave up after {timeout:g} s ({setting}).") from None
            if not told:
                log.warning("%s Waiting for it for up to %g s (%s).", error, timeout, setting)
                told = True
        await asyncio.sleep(min(pause, max(deadline - loop.time(), 0)))
        pause = min(2 * pause, _LAST_PAUSE)


async def first_step(loop: StoreLoop, progress: Progress) -> None:
    """Read the store and bring it to the desired state, as far as it accepts changes.

    A full store that holds an earlier hub's routes is enough to begin with: Traefik serves those, and the rest is
    written as soon as the store accepts it.

    Raises:
        StoreError: the store's error.
    """
    try:
        await loop.step()
    except StoreWriteRefusedError as error:
        if not progress.told:
            raise
        loop.failed(error)


async def serves_already(replicas: Sequence[TraefikView], *, unknown: bool, timeout: float = 2.0) -> bool:
    """Return True if a Traefik has loaded a configuration of an earlier start.

    Args:
        replicas: the APIs of all replicas.
        unknown: the answer for a replica that cannot be asked.
        timeout: seconds after which a replica counts as such.
    """

    async def loaded(traefik: TraefikView) -> bool:
        try:
            return await asyncio.wait_for(traefik.revision(), timeout) is not None
        except (TraefikError, asyncio.TimeoutError):
            return unknown

    return any(await asyncio.gather(*map(loaded, replicas)))


async def wait_for_traefik(
    api: TraefikApi,
    revision: int,
    timeout: float,
    log: Log,
    check_alive: Callable[[], None] = lambda: None,
    provider_error: Callable[[], str] = str,
) -> None:
    """Wait until Traefik has loaded a revision.

    Args:
        api: Traefik's API.
        revision: the revision that it must have loaded.
        timeout: seconds after which to give up.
        log: takes the message that Traefik is late.
        check_alive: raises an error if waiting is useless.
        provider_error: returns the last error of Traefik's provider; empty if there is none, or it is not known.

    Raises:
        TraefikError: after ``timeout`` seconds, with what was seen.
    """
    loop = asyncio.get_running_loop()
    start, pause, told = loop.time(), _FIRST_PAUSE, False
    while True:
        check_alive()
        refused = False
        try:
            seen, problem = await api.revision(), ""
        except TraefikError as error:
            seen, problem = None, str(error)
            refused = isinstance(error, TraefikAuthError)
        if seen is not None and seen >= revision:
            if told:
                log.info("Traefik is ready.")
            return
        elapsed = loop.time() - start
        facts = Facts(api_problem=problem, loaded=Loaded.of(seen, revision), provider_error=provider_error())
        if elapsed >= timeout:
            raise TraefikError(f"{explain(facts)} Gave up after {timeout:g} s (check_route_timeout).")
        if elapsed > _SILENCE and not told:
            # Until Traefik has loaded this hub's router for the API, that of another hub or proxy may answer.
            why = explain(replace(facts, api_problem="") if refused else facts)
            log.warning("%s Waiting for it for up to %g s (check_route_timeout).", why, timeout)
            told = True
        await asyncio.sleep(min(pause, timeout - elapsed))
        pause = min(1.5 * pause, _LAST_PAUSE)


async def check_replicas(
    replicas: Sequence[TraefikApi],
    revision: int,
    timeout: float,
    entry_point: str,
    layout: str,
    log: Log,
    advise: Callable[[tuple[int, ...], Mapping[str, Any]], Sequence[str]] = lambda version, shown: (),
) -> None:
    """Log early what an external Traefik lacks; a caller that adds a route waits by itself.

    Args:
        replicas: the APIs of all replicas.
        revision: the revision that they must have loaded.
        timeout: seconds after which a replica that has not loaded it is logged.
        entry_point: name of the entry point that each must have.
        layout: ``route_layout``.
        log: takes the messages.
        advise: returns sentences about an entry point of a Traefik of this version; each is logged once for all
            replicas.
    """

    async def check(traefik: TraefikApi) -> Sequence[str]:
        try:
            await wait_for_traefik(traefik, revision, timeout, log)
            version, shown = await traefik.version(), await traefik.entry_point(entry_point)
            if shown is None:
                log.error(
                    "%s has no entry point %r; set c.TraefikProxy.traefik_entrypoint to its public one.",
                    traefik.label,
                    entry_point,
                )
            log.info("Traefik %s serves the routes.", version)
            parsed = parse_version(version)
            groups_allowed(layout, parsed)
            return [*reserved_advice(parsed), *(advise(parsed, shown) if shown is not None else ())]
        except (TraefikError, ConfigurationError) as error:
            log.error("%s", error)
            return ()

    said = await asyncio.gather(*map(check, replicas))
    warn_once(chain.from_iterable(said), log)


def warn_once(sentences: Iterable[str], log: Log) -> None:
    """Log each sentence once, as a warning."""
    for sentence in dict.fromkeys(sentences):
        log.warning("%s", sentence)


def given_certificate(entries: Mapping[str, Entry]) -> bytes | None:
    """Return the default certificate that Traefik is given, in DER; None if there is none, or it is unreadable here.

    Args:
        entries: the present or desired entries of a store, by name.
    """
    entry = entries.get(SETUP)
    if entry is None or DEFAULT_CERTIFICATE not in entry.config:
        return None
    try:
        return der_of(entry.config[DEFAULT_CERTIFICATE])
    except (OSError, ValueError):
        return None


async def check_certificate(replicas: Sequence[TraefikApi], certificate: bytes | None, log: Log) -> None:
    """Log that a Traefik does not serve the default certificate that it was given.

    Args:
        replicas: the APIs of all replicas, which have loaded the setup.
        certificate: the certificate in DER; None if Traefik was given none, or it is unreadable here.
        log: takes the messages.
    """

    async def check(traefik: TraefikApi) -> None:
        try:
            if certificate is not None and await traefik.has_certificate(certificate) is False:
                log.error("%s %s", traefik.label, CERTIFICATE_LOST)
        except TraefikError as error:
            log.error("%s", error)

    await asyncio.gather(*map(check, replicas))
