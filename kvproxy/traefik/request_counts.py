"""Servers that were asked since the last poll of Traefik's counters, as values.

Traefik (3.7, ``pkg/middlewares/metrics``) counts a request when it has ended, by service, status, method and protocol;
so a websocket is counted when it is closed. Like configurable-http-proxy, kvproxy takes no redirect and no error for a
sign of a user at work: a browser that was logged out, or a robot, must not keep a server running.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

_REQUESTS: Final = "traefik_service_requests_total"
#: Start of the process, in seconds since 1970; all its counters began then. Not told on every platform.
_STARTED: Final = "process_start_time_seconds"
#: Bytes of memory that the process uses. Not told on every platform.
_MEMORY: Final = "process_resident_memory_bytes"
_COUNTER: Final = f"{_REQUESTS}{{".encode()
_OF_THE_PROCESS: Final = (f"{_STARTED} ".encode(), f"{_MEMORY} ".encode())
#: Of a websocket Traefik counts the status 0 (3.7.15).
_WORK: Final = re.compile(rb'[{,]code="(?:\d{1,2}|[12]\d\d)"')
_SERVICE: Final = re.compile(rb'[{,]service="([^"]*)"')
#: Counters of one service from which on it is named. A server that answers as most do has some dozens, and each costs
#: Traefik some 13 kB (seen with 3.7.15).
MANY: Final = 500
#: The first status that tells of no work.
_REDIRECT: Final = 300


@dataclass(frozen=True)
class Sample:
    """Counters of one Traefik.

    Args:
        counts: requests that were answered well, by the name of the service.
        started: tells the process that counted from its successor; None if it does not say.
        memory: bytes that the process uses; None if it does not say.
        many: services with more than :data:`MANY` counters, and how many they have.
    """

    counts: Mapping[str, float] = field(default_factory=dict)
    started: float | None = None
    memory: float | None = None
    many: Mapping[str, int] = field(default_factory=dict)


def is_wanted(line: bytes) -> bool:
    """True if a line of Traefik's metrics is of any use here; most are not."""
    return line.startswith(_OF_THE_PROCESS) or (line.startswith(_COUNTER) and _WORK.search(line) is not None)


class Sieve:
    """Keeps the few useful lines of Traefik's metrics, and counts the counters of each service.

    A user's server chooses the statuses that it answers with, so there may be very many lines.

    Args:
        many: counters of one service from which on it is named.
    """

    def __init__(self, many: int = MANY) -> None:
        self._many = many
        self._kept: list[bytes] = []
        self._counters: Counter[bytes] = Counter()

    def take(self, lines: Iterable[bytes]) -> None:
        """Look at some whole lines."""
        for line in lines:
            if line.startswith(_COUNTER) and (service := _SERVICE.search(line)):
                self._counters[service[1]] += 1
            if is_wanted(line):
                self._kept.append(line)

    def sample(self, provider: str) -> Sample:
        """The sample in all lines.

        Args:
            provider: the name behind ``@`` of the services that count.

        Raises:
            ValueError: if they are not metrics.
        """
        found = parse_sample(b"\n".join([*self._kept, b""]).decode(errors="replace"), provider)
        end = f"@{provider}".encode()
        many = {name: count for name, count in self._counters.items() if count > self._many and name.endswith(end)}
        names = {name.removesuffix(end).decode(errors="replace"): count for name, count in many.items()}
        return replace(found, many=names)


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
    memory: float | None = None
    for family in text_string_to_metric_families(text):
        for found in family.samples:
            name, _, whose = found.labels.get("service", "").rpartition("@")
            if found.name == _STARTED:
                started = found.value
            elif found.name == _MEMORY:
                memory = found.value
            elif found.name == _REQUESTS and whose == provider and _is_work(found.labels.get("code", "")):
                counts[name] = counts.get(name, 0) + found.value
    return Sample(counts, started, memory)


def many_counters(label: str, what: str, count: int, memory: float | None) -> str:
    """The warning about a server that makes Traefik grow.

    Args:
        label: the Traefik, for messages.
        what: the server's route.
        count: counters that Traefik keeps for it.
        memory: bytes that Traefik uses; None if it does not say.
    """
    used = f" It uses {memory / 1e6:.0f} MB now." if memory is not None else ""
    return (
        f"{label} keeps {count} counters for {what}, whose server gives answers of very many kinds (status, method). "
        f"They make Traefik grow, for all users, until the route is gone.{used} Give Traefik a memory limit, and look "
        "at that server (docs/how-to/activity-and-error-pages.md)."
    )


def _is_work(status: str) -> bool:
    return status.isdigit() and int(status) < _REDIRECT


def asked(before: Sample | None, now: Sample) -> set[str]:
    """The services that were asked between two samples of one Traefik.

    Without an earlier sample nothing can be told: what was counted may have been long ago. A counter that has gone
    back, or whose process is another one, was restarted in between, so whatever it shows is new.
    """
    if before is None:
        return set()
    same = before.started is None or now.started is None or before.started == now.started
    earlier = before.counts if same else {}
    return {name for name, count in now.counts.items() if count > 0 and count != earlier.get(name, 0)}


class Activity:
    """Times of the last request to each server, by the name of its service, over all Traefiks."""

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
        """Time of a service's last request, as configurable-http-proxy writes it (``2026-01-31T12:00:00.000Z``)."""
        at = self._last.get(name)
        if at is None:
            return None
        return at.astimezone(timezone.utc).replace(tzinfo=None).isoformat(timespec="milliseconds") + "Z"
