"""Which hub is at work on a store: two that write to the same roots by mistake must notice it, not mix their routes.

A hub keeps a record of itself in the store, its *claim*, which it changes every few seconds. One that starts and sees
another's claim change refuses to start; one whose claim stays as it is has died, and the newcomer takes over with a
higher *term*. A hub that was only held up, and finds a higher term than its own when it goes on, writes no more.
No clocks are compared: what counts is whether a claim changes while it is looked at.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Final

from .._text import shown

#: Seconds between two changes of a claim.
RENEW_INTERVAL: Final = 2.0
#: Seconds for which a claim must stay as it is to be taken for that of a dead hub.
LEASE_DURATION: Final = 6.0
#: Characters of a text in a claim that are shown; anybody who may write to the store can write one.
_SHOWN: Final = 255
_TYPES: Final = [str, str, str, int, str, str, int, int]


@dataclass(frozen=True)
class Lease:
    """What a hub says of itself.

    Args:
        instance: differs for each start of a hub.
        host: name of its machine.
        machine: tells machines and their boots apart.
        pid: its process id there.
        born: when that process was started, by the machine's clock, to tell it from another one of the same number.
        since: when the hub started, for people.
        term: a hub that takes over has a higher one than the hub before.
        beat: changes every :data:`RENEW_INTERVAL` seconds.
    """

    instance: str
    host: str
    machine: str
    pid: int
    born: str
    since: str
    term: int = 1
    beat: int = 0

    def encode(self) -> str:
        """As text for a store."""
        return json.dumps(asdict(self), separators=(",", ":"))

    def next(self) -> Lease:
        """The same hub's next one."""
        return replace(self, beat=self.beat + 1)

    def after(self, other: Lease | None) -> Lease:
        """The claim of a hub that takes over from another."""
        return self if other is None else replace(self, term=other.term + 1)

    def __str__(self) -> str:
        return f"process {self.pid} on {shown(self.host, _SHOWN)}, at work since {shown(self.since, _SHOWN)}"


def decode(text: str | None) -> Lease | None:
    """A claim from a store, None if there is none that can be read."""
    try:
        fields = json.loads(text or "")
        claim = Lease(**fields)
        return claim if [*map(type, asdict(claim).values())] == _TYPES else None
    except (ValueError, TypeError, RecursionError):
        return None


def must_yield(mine: Lease, found: Lease | None) -> bool:
    """Whether a hub at work has to give way to the claim that it finds in the store."""
    if found is None or found.instance == mine.instance:
        return False
    return (found.term, found.instance) > (mine.term, mine.instance)


#: The remedy where both are meant to run.
_APART: Final = (
    "If both are to run: give each a c.TraefikProxy.hub_id of its own where they share a Traefik, and otherwise "
    "prefixes of its own (kv_traefik_prefix and kv_jupyterhub_prefix)."
)


def conflict(found: Lease, roots: str, taken_over: bool) -> str:
    """A sentence about another hub on the same roots.

    Args:
        found: its claim.
        roots: what both write to.
        taken_over: whether this hub was at work before.
    """
    if taken_over:
        return (
            f"Another hub ({found}) has taken over the routes {roots}, so this one changes nothing there any more. "
            f"Stop one of them. {_APART}"
        )
    return f"Another hub ({found}) is at work on the routes {roots}. Stop it first. {_APART}"
