"""Cases, what is recorded of them as text, and the comparison of two recordings, as values."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

from .backend import Behaviour, answering
from .client import Site
from .http1 import Message

#: Names of things seen, and what was seen, in words that two runs have in common.
Facts = dict[str, str]
Ask = Callable[[Site], Awaitable[Facts]]

#: Header fields that differ in all messages, or from run to run. Cases of their own look at them.
_ADDED = {"x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-forwarded-server"}
AMBIENT = {*_ADDED, "x-real-ip", "connection", "keep-alive", "date"}
_LONG = 160  # characters

#: The beginnings of the facts' names where only this counts: what arrives, and the answer's status.
SHORT = ("arrives", "status")


@dataclass(frozen=True)
class Setup:
    """How a proxy and its hub are set up.

    Args:
        name: of it.
        base: the hub's base URL.
        hosts: users have host names of their own.
        tls: the proxy speaks TLS.
        layout: kvproxy's ``route_layout``.
        trusted: kvproxy's ``trusted_proxies``.
        excepted: kvproxy's ``error_pages_except``.
        hub: whether the hub answers.
    """

    name: str
    base: str = "/"
    hosts: bool = False
    tls: bool = False
    layout: str = "flat"
    trusted: tuple[str, ...] = ()
    excepted: tuple[str, ...] = ()
    hub: bool = True


PLAIN = Setup("plain")
BELOW = Setup("below", base="/jh/", layout="tree", trusted=("127.0.0.0/8",), excepted=("/jh/user/own-502-excepted/",))
HOSTS = Setup("hosts", hosts=True, tls=True)
HUBLESS = Setup("hubless", hub=False)
SETUPS = {setup.name: setup for setup in (PLAIN, BELOW, HOSTS, HUBLESS)}
#: Where routing may matter: by path and by host, at the root and below it, flat and as a tree, without and with TLS.
ALL = (PLAIN, BELOW, HOSTS)


@dataclass(frozen=True)
class Case:
    """One case.

    Args:
        name: of it, which is the user's name in the route as well: a-z, 0-9 and ``-``.
        what: the question, in the page's words.
        ask: what the client does, and what it has seen of both sides.
        behave: what the server does.
        setups: where it is run.
        full: whether it takes minutes, or needs more than the tests have; then it is not run with them.
        show: the facts that the page shows if both are the same, as far as they are there.
        target: where the route leads instead of to the server; a function, as it may have to be made.
        spec: the route's spec, ``{base}`` in it; None for the one of a user of the case's name.
    """

    name: str
    what: str
    ask: Ask
    behave: Behaviour = field(default_factory=answering)
    setups: tuple[Setup, ...] = (PLAIN,)
    full: bool = False
    show: tuple[str, ...] = ("arrives", "status")
    target: Callable[[], Awaitable[str]] | None = None
    spec: str | None = None


def get(*fields: str, method: str = "GET", path: str = "/", body: bytes = b"", only: tuple[str, ...] = ()) -> Ask:
    """A client that sends one request and looks at all that arrives on both sides.

    path: behind the route's; ``only``: the beginnings of the facts' names that count.
    """
    return ask(*fields, method=method, target="{path}" + path, body=body, only=only)


def ask(
    *fields: str, method: str = "GET", target: str, body: bytes = b"", only: tuple[str, ...] = (), host: str = ""
) -> Ask:
    """The same with the whole target; ``{path}`` and ``{base}`` in it are the route's path and the base URL."""

    async def run(site: Site) -> Facts:
        answer = await site.ask(site.head(method, target, *fields, host=host), body, method=method)
        return chosen(seen(site, answer), only)

    return run


def chosen(facts: Facts, only: tuple[str, ...]) -> Facts:
    """Those facts whose names begin so; all if nothing is said."""
    return {name: fact for name, fact in facts.items() if name.startswith(only)} if only else facts


def seen(site: Site, answer: Message, request: Message | None = None) -> Facts:
    """All facts of an exchange: what the server has received (if not told, its first request), what the client has."""
    requests = site.backend.requests
    request = request or (requests[0] if requests else None)
    facts = {"arrives": "nothing"} if request is None else _request(site, request)
    if len(requests) > 1:
        facts["requests"] = str(len(requests))
    return {**facts, **answered(site, answer)}


def _request(site: Site, request: Message) -> Facts:
    facts = {"arrives": shortened(readable(site.plain(request.first).removesuffix(" HTTP/1.1")))}
    for name, values in _fields(request.fields).items():
        facts[f"header {name}"] = site.plain(values)
    if request.body:
        facts["body"] = brief(request.body)
    if not request.whole:
        facts["body ends"] = "cut off"
    return facts | {f"trailer {name}": values for name, values in _fields(request.trailers).items()}


def answered(site: Site, answer: Message) -> Facts:
    """All facts of an answer."""
    facts = {"status": answer.status}
    if answer.early:
        facts["answers before"] = ", ".join(early.status for early in answer.early)
    for name, values in _fields(answer.fields).items():
        facts[f"answer header {name}"] = site.plain(values)
    if answer.body:
        facts["answer body"] = site.plain(brief(answer.body))
    if not answer.whole and answer.first != "closed":
        facts["answer ends"] = "cut off"
    return facts | {f"answer trailer {name}": values for name, values in _fields(answer.trailers).items()}


def _fields(fields: list[tuple[str, str]]) -> Facts:
    found: dict[str, list[str]] = {}
    for name, value in fields:
        if name.lower() not in AMBIENT:
            found.setdefault(name.lower(), []).append(value)
    return {name: shortened(" | ".join(values)) for name, values in sorted(found.items())}


def brief(data: bytes) -> str:
    """Bytes as text; long ones as their number and digest."""
    return shortened(data.decode("latin-1"))


def readable(text: str) -> str:
    """Bytes that were read as Latin-1 as what they are, if they are UTF-8."""
    try:
        return text.encode("latin-1").decode()
    except UnicodeDecodeError:
        return text


def shortened(text: str) -> str:
    """A text, a long one as its length and digest."""
    if len(text) <= _LONG:
        return text
    return f"{len(text)} bytes, SHA-256 {hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class Expected:
    """A case and its expected observations.

    Args:
        verdict: of kvproxy: "same", "better", "different" or "worse".
        here: the facts that differ, as they are behind kvproxy; None for one that is missing.
        why: the reason, or who notices.
        setting: that helps.
        row: of the list of known differences, if it has one.
    """

    verdict: str
    here: Mapping[str, str | None] = field(default_factory=dict)
    why: str = ""
    setting: str = ""
    row: str = ""


def differences(there: Facts, here: Facts) -> dict[str, str | None]:
    """The facts that are not the same, as they are here; None for one that is missing."""
    return {name: here.get(name) for name in {**there, **here} if there.get(name) != here.get(name)}


def judge(expected: Expected, there: Facts, here: Facts) -> list[str]:
    """Differences from the expectation, in sentences; none if all is as it should be."""
    found = differences(there, here)
    complaints = []
    for name in {**found, **expected.here}:
        if name not in expected.here:
            complaints.append(
                f"{name!r} is {here.get(name)!r} behind kvproxy and {there.get(name)!r} behind "
                "configurable-http-proxy; expected the same."
            )
        elif name not in found:
            complaints.append(
                f"{name!r} is {there.get(name)!r} behind both; expected {expected.here[name]!r} behind kvproxy."
            )
        elif found[name] != expected.here[name]:
            complaints.append(f"{name!r} is {here.get(name)!r} behind kvproxy; expected {expected.here[name]!r}.")
    return complaints
