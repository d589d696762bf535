"""The findings of `kvproxy check`, made from plain values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from ..._text import NAMED, and_more, counted
from ...errors import ConfigurationError, KVProxyError, StoreError, TraefikError
from ...reconcile.reasons import Facts
from ...reconcile.reasons import advice as why_not_loaded
from ...routing.legacy import is_peers
from ...routing.manifest import of_default_store
from ...routing.names import is_kvproxys
from ...routing.route import Route
from ...routing.rule import has_reserved
from ...traefik.entry_point import reserved_advice
from ...traefik.key_check import suspects
from ...traefik.static_config import groups_allowed, parse_version
from ..routes.compare import Row, State, StoreState, TraefikState

#: Seconds by which clocks may differ, the time of an answer included.
_CLOCKS: Final = 5.0
#: The subjects of errors.
_SUBJECTS: Final = {ConfigurationError: "configuration", StoreError: "store", TraefikError: "Traefik"}
#: Number of routes from which on unneeded reads of all of them are a burden.
_MANY: Final = 50


class Level(str, Enum):
    """The severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """One line of the report.

    Args:
        level: the severity.
        about: the subject, in a word or two.
        said: the finding, a sentence.
        advice: the remedy, a sentence; empty if there is none, or the finding names it.
    """

    level: Level
    about: str
    said: str
    advice: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the finding for JSON."""
        advice = self.advice or ("" if self.level is Level.OK else remedy_in(self.said))
        return {"level": self.level.value, "about": self.about, "said": self.said, "advice": advice}


def remedy_in(said: str) -> str:
    """Return the remedy in a message of the hub, which follows the fault; empty if there is none.

    >>> remedy_in("Redis refuses the credentials; check redis_username and redis_password.")
    'Check redis_username and redis_password.'
    >>> remedy_in("Config option `x` not recognized. Did you mean `y`?"), remedy_in("Redis is unreachable.")
    ('Did you mean `y`?', '')
    """
    _, there, after = said.rpartition("; ")
    if there:
        return after[:1].upper() + after[1:]
    return said.partition(". ")[2]


def ok(about: str, said: str, advice: str = "") -> Finding:
    """Make a finding without a fault."""
    return Finding(Level.OK, about, said, advice)


def warning(about: str, said: str, advice: str = "") -> Finding:
    """Make a finding about a fault that does not stop the hub from working."""
    return Finding(Level.WARNING, about, said, advice)


def error(about: str, said: str, advice: str = "") -> Finding:
    """Make a finding about a fault that does."""
    return Finding(Level.ERROR, about, said, advice)


def refused(problem: KVProxyError) -> Finding:
    """Make a finding of the error with which the hub or a look at it ended."""
    return error(next((about for kind, about in _SUBJECTS.items() if isinstance(problem, kind)), "check"), str(problem))


def exit_status(findings: Iterable[Finding], strict: bool) -> int:
    """Return 1 if there is an error or, with ``strict``, a warning; 0 otherwise."""
    bad = {Level.ERROR, Level.WARNING} if strict else {Level.ERROR}
    return int(any(finding.level in bad for finding in findings))


def each_once(found: Iterable[Finding]) -> list[Finding]:
    """Return the findings without repetitions."""
    kept: dict[tuple[Level, str], Finding] = {}
    for one in found:
        kept.setdefault((one.level, one.said), one)
    return list(kept.values())


# -- the store


def contents(held: StoreState, takeover: str = "") -> list[Finding]:
    """Report the contents of a store.

    Args:
        held: the contents.
        takeover: the command that takes over the routes of jupyterhub-traefik-proxy.
    """
    found = [ok("store contents", f"It holds {counted(len(held.routes), 'route')}.")]
    if unreadable := held.unreadable:
        found.append(
            warning(
                "store contents",
                f"It holds keys of {counted(len(unreadable), 'route')} without a readable record: "
                f"{_names(unreadable)}.",
                "The hub removes them when it reads the store next; no other program should write below its roots.",
            )
        )
    if peers := [key for key in held.foreign if is_peers(key)]:
        found.append(
            warning(
                "store contents",
                f"It holds {counted(len(peers), 'key')} of jupyterhub-traefik-proxy. Traefik serves the routes in them "
                "where the hub has none, and prefers them until the hub has started.",
                f"Stop the hub, run: {takeover}, and start it again.",
            )
        )
    if held.quarantined:
        count, names = counted(len(held.quarantined), "record"), _names(held.quarantined)
        found.append(warning("store contents", f"A hub has set aside {count} that it could not read: {names}."))
    if hubs := [key for key in held.foreign if is_kvproxys(key)]:
        found.append(ok("store contents", f"It holds {counted(len(hubs), 'key')} of other hubs."))
    if others := [key for key in held.foreign if not is_peers(key) and not is_kvproxys(key)]:
        found.append(
            ok("store contents", f"It holds {counted(len(others), 'key')} that kvproxy leaves alone: {_names(others)}.")
        )
    return found


def notifications(noisy: bool, advice: str, routes: int) -> Finding:
    """Report whether a store notifies Traefik more often than needed.

    Args:
        noisy: the store's answer, see :meth:`kvproxy.store.base.Store.notifies_per_key`.
        advice: the remedy.
        routes: the number of routes.
    """
    if not noisy:
        return ok("notifications", "A change notifies Traefik once.")
    said = "The store notifies Traefik per key of a change, and each time Traefik reads all routes again."
    if routes < _MANY:
        return ok("notifications", f"{said} With {counted(routes, 'route')} that costs little.")
    return warning("notifications", said, advice)


# -- the clocks


def clocks(offsets: Mapping[str, float | None]) -> list[Finding]:
    """Compare other clocks with this machine's.

    Args:
        offsets: name of a clock -> seconds by which it is ahead; None if it is unknown.
    """
    told = {name: offset for name, offset in offsets.items() if offset is not None}
    wrong = [
        warning(
            "clock",
            f"The clock of {name} is {abs(offset):.0f} s {'ahead of' if offset > 0 else 'behind'} this machine's.",
            "Certificates and logs go by the clock; let an NTP service set both.",
        )
        for name, offset in told.items()
        if abs(offset) > _CLOCKS
    ]
    return wrong or ([ok("clock", f"This machine's agrees with that of {' and '.join(told)}.")] if told else [])


# -- Traefik


def versions(seen: Sequence[TraefikState], layout: str) -> list[Finding]:
    """Check that the versions of all replicas support the layout.

    Args:
        seen: the replicas that answered.
        layout: ``route_layout``.
    """
    found = []
    for one in seen:
        version = parse_version(one.version)
        if version < (3,):
            found.append(
                error("Traefik version", f"{one.name} is Traefik {one.version}.", "kvproxy needs Traefik 3; update it.")
            )
            continue
        try:
            groups_allowed(layout, version)
            found.append(ok("Traefik version", f"{one.name} is Traefik {one.version}."))
        except ConfigurationError as refusal:
            found.append(error("Traefik version", f"{one.name}: {refusal}"))
    if len({one.version for one in seen}) > 1:
        said = "The replicas are of different versions."
        found.append(warning("Traefik version", said, "Give all the same one, so that all treat a request alike."))
    return found


def reserved_names(name: str, version: tuple[int, ...], routes: Iterable[Route]) -> list[Finding]:
    """Report a Traefik that does not route names with a reserved character, as a fault if there are such names.

    Args:
        name: name of the Traefik.
        version: its version.
        routes: the routes in the store.
    """
    routespecs = [route.routespec for route in routes if has_reserved(route.spec)]
    return [
        warning("Traefik version", f"{name} does not serve {_names(routespecs)}: {said}")
        if routespecs
        else ok("Traefik version", f"{name}: {said}")
        for said in reserved_advice(version)
    ]


def entry_points(name: str, wanted: Mapping[str, str], there: Mapping[str, Any]) -> list[Finding]:
    """Check that a replica has the entry points that the hub needs.

    Args:
        name: name of the replica.
        wanted: setting -> name of an entry point.
        there: name of an existing entry point -> the API's description of it.
    """
    found = []
    for setting, entry_point in wanted.items():
        if entry_point in there:
            where = there[entry_point].get("address")
            found.append(ok("entry points", f"{name} has {entry_point!r}, which listens on {where}."))
        else:
            advice = f"Add it to Traefik's static configuration, or correct c.TraefikProxy.{setting}."
            found.append(error("entry points", f"{name} has no entry point {entry_point!r}.", advice))
    return found


def revisions(held: StoreState, seen: Sequence[TraefikState]) -> list[Finding]:
    """Check that all replicas have loaded the contents of the store."""
    if held.revision is None:
        return [ok("revision", "No hub has written to the store yet.")]
    found = []
    for one in seen:
        if one.revision is None:
            advice = "Check that its provider names the same store, database, credentials and rootKey."
            found.append(error("revision", f"{one.name} has loaded nothing that kvproxy wrote.", advice))
        elif one.revision < held.revision:
            said = f"{one.name} has not loaded the store's latest contents."
            found.append(error("revision", said, why_not_loaded(Facts(suspects=suspects(held.foreign)))))
        else:
            found.append(ok("revision", f"{one.name} has loaded the store's latest contents."))
    return found


def served(rows: Sequence[Row], seen: Sequence[TraefikState]) -> list[Finding]:
    """Check that all replicas serve all routes."""
    found = []
    for one in seen:
        states = Counter(row.replicas[one.name].state for row in rows)
        wrong = sum(states[state] for state in (State.PENDING, State.REJECTED, State.LEFT_OVER, State.UNKNOWN))
        if wrong:
            said = f"{one.name} does not serve {counted(wrong, 'route')} as the store has it."
            found.append(error("routes", said, "See which and why: kvproxy routes --differing"))
        else:
            found.append(
                ok("routes", f"{one.name} serves {counted(states[State.SERVED], 'route')}, all that there are.")
            )
    if odd := [row for row in rows if row.store and row.route is not None]:
        said = f"{counted(len(odd), 'route')} in the store {'is' if len(odd) == 1 else 'are'} not as the hub writes it."
        found.append(warning("routes", said, "The hub repairs it; see kvproxy routes --differing"))
    return found


def metrics(name: str, there: bool) -> Finding:
    """Check that a replica counts requests, so that the hub learns when each server was used last."""
    if there:
        return ok("Traefik metrics", f"{name} counts the requests to each server.")
    said = f"{name} shows no metrics: the hub does not learn which servers are in use unless they report it themselves."
    advice = (
        "Regenerate Traefik's static configuration with kvproxy static-config, or set "
        "c.TraefikProxy.track_last_activity = False."
    )
    return warning("Traefik metrics", said, advice)


def advice(name: str, sentences: Iterable[str]) -> list[Finding]:
    """Report unwanted effects of an entry point on users' requests."""
    return [warning("entry points", f"{name}: {sentence}") for sentence in sentences]


def no_certificate(name: str, overview: Mapping[str, Any], provider: str) -> list[Finding]:
    """Report a replica that is known to have no default certificate.

    Args:
        name: name of the replica.
        overview: the overview of its API.
        provider: the provider that reads the hub's store, which holds no default certificate.
    """
    certificates = overview.get("certificates")
    if isinstance(certificates, Mapping):
        lacking = certificates.get("total") == 0
    else:
        # Before 3.7 the API does not count them. A file provider may read more than the hub's file.
        lacking = str(overview.get("providers")).lower() == str([provider.lower()]) != "['file']"
    if not lacking:
        return []
    said = (
        f"{name} has no default certificate, so it makes an RSA key at each reload, and a new route is served 0.1 to "
        "1 s later."
    )
    remedy = "Give it one, or set c.TraefikProxy.placeholder_certificate = True if no other provider of it ever will."
    return [warning("certificate", said, remedy)]


def foreign_certificate(foreign: Iterable[str], chosen: bool) -> list[Finding]:
    """Report a default certificate for Traefik in the store that is not the hub's.

    Args:
        foreign: keys of the configuration that are not the hub's.
        chosen: True if a certificate is configured in the hub.
    """
    if not (keys := sorted(filter(of_default_store, foreign))):
        return []
    said = f"The store holds a default certificate for Traefik that is not the hub's: {_names(keys)}."
    if not chosen:
        return [ok("certificate", said)]
    return [warning("certificate", f"{said} So ssl_cert is not served.", "Remove these keys, or unset ssl_cert.")]


def open_api(name: str, is_open: bool) -> list[Finding]:
    """Report a Traefik whose API needs no password."""
    if not is_open:
        return []
    said = f"{name} answers without a password, and shows where all users' servers are."
    advice = "Restrict access to it, or leave it to kvproxy: no api.insecure, no router of your own to api@internal."
    return [warning("Traefik API", said, advice)]


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:NAMED])) + and_more(len(names))
