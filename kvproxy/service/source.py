"""Looks at hub, store and Traefiks for the page, and only when somebody has asked for it."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from .._tasks import begin
from ..cli.check.findings import Finding, refused
from ..cli.check.run import examine
from ..cli.hub.config import Hub
from ..cli.routes.compare import Row, StoreState
from ..cli.routes.observe import routes_of
from ..errors import KVProxyError
from .view import HubSide, Observation

_LOG: Final = logging.getLogger(__name__)
#: Seconds for which a page waits for news; otherwise it shows what was seen last.
_WAIT: Final = 0.5
#: Looks take at most one part in this number of all time, for any number of viewers of the page.
_SHARE: Final = 10
#: Seconds for which one look at the routes serves everybody.
_FRESH: Final = 2.0
#: The same for what the hub is asked: it reads the whole store for its answer.
_FRESH_HUB: Final = 30.0
#: The same for what `kvproxy check` says.
_FRESH_CHECK: Final = 60.0
_PATIENCE: Final = aiohttp.ClientTimeout(total=10)
#: Seconds that the end waits for what is under way.
_END: Final = 10.0
_KVPROXYS: Final = "_kvproxy_"


class HubApi:
    """The hub's API, as the service.

    Args:
        url: ``JUPYTERHUB_API_URL``.
        token: ``JUPYTERHUB_API_TOKEN``.
        tls: what the hub's certificate is checked with; None if it has none.
    """

    def __init__(self, url: str, token: str, tls: ssl.SSLContext | None = None) -> None:
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"token {token}"}
        self._tls = tls

    async def ask(self) -> HubSide:
        """The routes that the hub wants, and kvproxy's metrics."""
        try:
            async with aiohttp.ClientSession(headers=self._headers, timeout=_PATIENCE, trust_env=False) as session:
                routes = await self._get(session, f"{self._url}/proxy")
                numbers = await self._get(session, f"{self._url.removesuffix('/api')}/metrics")
                return HubSide(await routes.json(), numbers_in(await numbers.text()))
        except aiohttp.ClientResponseError as problem:
            if problem.status == 403:
                scopes = "Give the service the scopes proxy and read:metrics (docs/how-to/admin-page.md)."
                return HubSide(problem=f"The hub tells the service nothing of its routes. {scopes}")
            return HubSide(problem=f"The hub answers the service with status {problem.status}.")
        except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as problem:
            return HubSide(problem=f"The hub does not answer the service ({type(problem).__name__}).")

    async def _get(self, session: aiohttp.ClientSession, url: str) -> aiohttp.ClientResponse:
        answer = await session.get(url, ssl=self._tls or True, allow_redirects=False)
        answer.raise_for_status()
        await answer.read()
        return answer


def numbers_in(metrics: str) -> dict[str, float]:
    """kvproxy's metrics without labels, from what Prometheus is shown.

    >>> numbers_in("# TYPE hub_kvproxy_routes gauge\\nhub_kvproxy_routes 3.0\\n")
    {'routes': 3.0}
    """
    return {
        sample.name.partition(_KVPROXYS)[2]: sample.value
        for family in text_string_to_metric_families(metrics)
        for sample in family.samples
        if _KVPROXYS in sample.name and not sample.labels
    }


def first_sight(place: str, held: StoreState) -> Observation:
    """The routes in the store, of which no Traefik has been asked yet."""
    rows = [Row(name, route, "", {}) for name, route in held.routes.items()]
    return Observation(
        place,
        held,
        rows=sorted(rows, key=lambda row: row.route.routespec if row.route is not None else ""),
        complete=False,
    )


class Look:
    """A look that is repeated when somebody asks, but not before the last one has become stale.

    Args:
        name: of the task, for the log.
        work: looks once.
        fresh: returns the seconds for which the result is fresh, from those that the look took.
        clock: seconds, from any moment on.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[], Coroutine[Any, Any, None]],
        fresh: Callable[[float], float],
        clock: Callable[[], float],
    ) -> None:
        self._name, self._work, self._fresh, self._clock = name, work, fresh, clock
        self._until = float("-inf")
        #: The look that is under way, None if none is.
        self.task: asyncio.Task[None] | None = None

    def begin(self) -> None:
        """Look again, unless that is under way or the last result is still fresh."""
        if self.task is None and self._clock() >= self._until:
            self.task = begin(self._once(), self._name, _LOG)

    async def _once(self) -> None:
        start = self._clock()
        try:
            await self._work()
        finally:
            now = self._clock()
            self._until, self.task = now + self._fresh(now - start), None


class Source:
    """The contents of the page, shared by everybody who looks at it.

    Args:
        hub: the hub's configuration.
        api: the hub's API.
        clock: seconds, from any moment on.
    """

    def __init__(self, hub: Hub, api: HubApi, clock: Callable[[], float] = time.monotonic) -> None:
        self._hub = hub
        self._api = api
        self._observation: Observation | None = None
        self._seen_once = asyncio.Event()
        self._hub_side = HubSide()
        self._findings: Sequence[Finding] | None = None
        self._routes = Look("The look at the routes", self._look_again, lambda took: max(_FRESH, _SHARE * took), clock)
        self._hubs = Look("The question to the hub", self._ask_hub, lambda took: _FRESH_HUB, clock)
        self._checks = Look("The look of kvproxy check", self._check, lambda took: _FRESH_CHECK, clock)

    async def observation(self) -> Observation:
        """The routes as they are now, or were a moment ago."""
        self._routes.begin()
        if self._routes.task is not None and self._observation is not None:
            await asyncio.wait({self._routes.task}, timeout=_WAIT)
        await self._seen_once.wait()
        assert self._observation is not None  # noqa: S101 - for the type checker
        return self._observation

    async def findings(self) -> Sequence[Finding] | None:
        """The last result of ``kvproxy check``; None before its first look, which nobody waits for."""
        self._checks.begin()
        return self._findings

    async def aclose(self) -> None:
        """End what is under way. It gets some seconds: a client interrupted in connecting loses a connection."""
        tasks = [look.task for look in (self._routes, self._checks, self._hubs) if look.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=_END)
        for task in tasks:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _look_again(self) -> None:
        try:
            self._tell(await self._look())
        except Exception as problem:
            # The first look is waited for, so it must have a result; the log has the whole of it.
            self._tell(Observation("", StoreState({}), problem=f"{type(problem).__name__}: {problem}"))
            raise

    def _tell(self, observation: Observation) -> None:
        self._observation = observation
        self._seen_once.set()

    async def _look(self) -> Observation:
        place = self._hub.proxy.store_place()
        self._hubs.begin()
        try:
            async with routes_of(self._hub) as routes:
                if self._observation is None:
                    # So the page is there before thousands of routes have been compared.
                    self._tell(first_sight(place, await routes.tiers[0].held()))
                held, seen, rows = await routes.look_steadily()
        except KVProxyError as problem:
            return Observation(place, StoreState({}), hub=self._hub_side, problem=str(problem))
        return Observation(place, held, seen, rows, self._hub_side)

    async def _ask_hub(self) -> None:
        self._hub_side = await self._api.ask()

    async def _check(self) -> None:
        try:
            self._findings = await examine(self._hub)
        except KVProxyError as problem:
            self._findings = [refused(problem)]
