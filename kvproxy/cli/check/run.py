"""All checks of `kvproxy check`, in order."""

from __future__ import annotations

import asyncio

from ...store.base import Store
from ..hub.config import Hub
from ..hub.liveness import hub_answers, hub_at_work
from ..routes.compare import StoreState
from ..routes.observe import api_urls, has_two, opened, replicas, tiers_of
from . import findings
from .findings import Finding, ok
from .hub import configuration, cookie_secret, network, permissions, preparation
from .store import certificates_for, clock_of, examine_store
from .tls import examine_tls, tls_places
from .traefik import examine_traefik, program, second_ports, strangers


async def examine(hub: Hub) -> list[Finding]:
    """Check a hub's configuration, store and Traefiks, without changing anything.

    Raises:
        ConfigurationError: if a setting cannot work, so that there is nothing to check.
    """
    refusal, prepared = await preparation(hub)
    found = [*configuration(hub), *refusal, *network(hub), *certificates_for(hub)]
    async with opened(hub.proxy) as store:
        said, held = await examine_store(hub, store)
        about, runs = await _hub(hub, store, held)
        started = runs or (held is not None and held.revision is not None)
        found += [cookie_secret(hub, started), *permissions(hub), about, *said]
        found += await asyncio.to_thread(program, hub, prepared, held)
        if has_two(hub, held):
            found += [finding for tier in tiers_of(hub)[1:] for finding in await _examine_tier(tier, runs)]
        else:
            found += second_ports(hub, prepared)
        # Two tiers may have the same thing to say.
        return findings.each_once(found + await _examine_traefiks(hub, store, held, runs))


async def _examine_tier(tier: Hub, runs: bool) -> list[Finding]:
    """Check the second tier of routes."""
    async with opened(tier.proxy) as store, replicas(tier) as asked:
        said, held = await examine_store(tier, store)
        opinions, _ = await strangers(tier, api_urls(tier.proxy))
        return [*network(tier), *said, *await examine_traefik(tier, store, held, asked, runs), *opinions]


async def _hub(hub: Hub, store: Store, held: StoreState | None) -> tuple[Finding, bool]:
    """Check whether the hub runs; return a finding and True if it does."""
    if await hub_answers(hub):
        return ok("hub", f"It answers at {hub.app.hub.url}."), True
    if held is not None and (holder := await hub_at_work(store)):
        return ok("hub", f"It is running ({holder}), but does not answer here at {hub.app.hub.url}."), True
    return ok("hub", "None is running here, as far as kvproxy can tell."), False


async def _examine_traefiks(hub: Hub, store: Store, held: StoreState | None, runs: bool) -> list[Finding]:
    async with replicas(hub) as asked:
        said = await examine_traefik(hub, store, held, asked, runs)
        places = await tls_places(hub, asked)
    opinions, offsets = await strangers(hub, api_urls(hub.proxy))
    if held is not None:
        offsets = {"the store": await clock_of(store), **offsets}
    return [*said, *opinions, *await examine_tls(hub, places), *findings.clocks(offsets)]
