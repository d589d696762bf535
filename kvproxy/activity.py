"""Which servers were asked since Traefik's counters were looked at before, as values.

Traefik (3.7, ``pkg/middlewares/metrics``) counts a request when it has ended, by service, status, method and protocol;
so a websocket is counted when it is closed. Like configurable-http-proxy, kvproxy takes no redirect and no error for a
sign of somebody who works: a browser that was logged out, or a robot, must not keep a server running.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_REQUESTS: Final = "traefik_service_requests_total"
#: When the process began, in seconds since 1970; all its counters began then. Not told on every platform.
_STARTED: Final = "process_start_time_seconds"
_WANTED: Final = (f"{_REQUESTS}{{".encode(), f"{_STARTED} ".encode())
#: The first status that tells of no work.
_REDIRECT: Final = 300


@dataclass(frozen=True)
class Sample:
    """What one Traefik has counted.

    Args:
        counts: requests that were answered well, by the name of the service.
        started: tells the process that counted from its successor; None if it does not say.
    """

    counts: Mapping[str, float] = field(default_factory=dict)
    started: float | None = None


def is_wanted(line: bytes) -> bool:
    """Whether a line of Traefik's metrics is of any use here; most are not."""
    return line.startswith(_WANTED)


def parse_sample(text: str, provider: str) -> Sample:
    """The sample in lines of Traefik's metrics.

    Args:
        text: in Prometheus's text format.
        provider: the name behind ``@`` of the services that count.

    Raises:
        ValueError: if it is no such text.
    """
    counts: dict[str, float] = {}
    started: float | None = None
    for family in text_string_to_metric_families(text):
        for found in family.samples:
            name, _, whose = found.labels.get("service", "").rpartition("@")
            if found.name == _STARTED:
                started = found.value
            elif found.name == _REQUESTS and whose == provider and _is_work(found.labels.get("code", "")):
                counts[name] = counts.get(name, 0) + found.value
    return Sample(counts, started)


def _is_work(status: str) -> bool:
    return status.isdigit() and int(status) < _REDIRECT


def asked(before: Sample | None, now: Sample) -> set[str]:
    """The services that were asked between two samples of one Traefik.

    Without an earlier sample nothing can be told: what was counted may have been long ago. A counter that has gone
    back, or whose process is another one, began anew in between, so whatever it shows is new.
    """
    if before is None:
        return set()
    same = before.started is None or now.started is None or before.started == now.started
    earlier = before.counts if same else {}
    return {name for name, count in now.counts.items() if count > 0 and count != earlier.get(name, 0)}


class Activity:
    """When each server was asked last, by the name of its service, over all Traefiks."""

    def __init__(self) -> None:
        self._samples: dict[Hashable, Sample] = {}
        self._last: dict[str, datetime] = {}

    def learn(self, traefik: Hashable, sample: Sample, at: datetime) -> None:
        """Take in a sample.

        Args:
            traefik: whose it is.
            sample: what it has counted.
            at: when it was asked, with a time zone.
        """
        for name in asked(self._samples.get(traefik), sample):
            self._last[name] = max(at, self._last.get(name, at))
        self._samples[traefik] = sample

    def keep(self, traefiks: Collection[Hashable], names: Collection[str]) -> None:
        """Forget all other Traefiks, and all other services."""
        self._samples = {who: sample for who, sample in self._samples.items() if who in traefiks}
        self._last = {name: at for name, at in self._last.items() if name in names}

    @property
    def names(self) -> list[str]:
        """The services of which it is known when they were asked last."""
        return list(self._last)

    def last(self, name: str) -> str | None:
        """When a service was asked last, as configurable-http-proxy writes it (``2026-01-31T12:00:00.000Z``)."""
        at = self._last.get(name)
        if at is None:
            return None
        return at.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
