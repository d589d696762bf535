"""Optional settings that a running Traefik supports.

A key that Traefik does not know stops all updates of its provider, and a router to a service that is not there is an
error in its log at each reload: so what depends on its version, or on its static configuration, is asked for first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import TraefikError
from .api import UNKNOWN, TraefikApi
from .static_config import parse_version


@dataclass(frozen=True)
class Features:
    """Features that every replica of Traefik supports.

    Args:
        version: at least this one; ``(3,)`` as long as it is not known.
        metrics: it counts requests, and shows that to Prometheus (``metrics.prometheus`` in its static configuration).
        ping: it answers health checks (``ping`` in its static configuration).
    """

    version: tuple[int, ...] = (3,)
    metrics: bool = False
    ping: bool = False


async def probe_features(replicas: Sequence[TraefikApi], timeout: float = 2.0) -> Features | None:
    """Return the features of all replicas that answer; None if none does.

    Args:
        replicas: their APIs.
        timeout: seconds that they may take; a slower replica is left out.
    """
    asking = [asyncio.create_task(_ask(replica)) for replica in replicas]
    try:
        await asyncio.wait(asking, timeout=timeout)
    finally:
        for task in asking:
            task.cancel()
    told = await asyncio.gather(*asking, return_exceptions=True)
    answers = [answer for answer in told if isinstance(answer, Features)]
    if not answers:
        return None
    return Features(
        min(answer.version for answer in answers),
        all(answer.metrics for answer in answers),
        all(answer.ping for answer in answers),
    )


async def _ask(replica: TraefikApi) -> Features | None:
    try:
        version = await replica.version()
        if version == UNKNOWN:
            # Before it has loaded the router of its API, it has said nothing.
            return None
        return Features(parse_version(version), await replica.has_metrics(), await replica.has_ping())
    except TraefikError:
        return None
