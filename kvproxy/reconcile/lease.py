"""The lease of a hub on its roots in a store: two hubs on the same roots must notice it, not mix their routes.

A hub keeps a record of itself in the store, its *lease*, and changes it every few seconds. A hub that starts and sees
another hub's lease change refuses to start. A lease that does not change belongs to a dead hub, so the new hub takes
over with a higher *term*. A hub that was only suspended and finds a higher term than its own stops writing.
No clocks are compared: what counts is that a lease changes while it is watched.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Final

from .._text import shown

#: Seconds between two changes of a lease.
RENEW_INTERVAL: Final = 2.0
#: Seconds without a change after which a lease counts as that of a dead hub.
LEASE_DURATION: Final = 6.0
#: Characters of a text in a lease that are shown; anybody with write access to the store can write one.
_SHOWN: Final = 255
_TYPES: Final = [str, str, str, int, str, str, int, int]


@dataclass(frozen=True)
class Lease:
    """A hub's record of itself.

    Args:
        instance: an identifier of each start of a hub.
        host: name of its machine.
        machine: an identifier of each boot of each machine.
        pid: its process id there.
        born: start time of that process by the machine's clock, as process ids are reused.
        since: start time of the hub, for people.
        term: higher than the term of the hub that it has taken over from.
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
        """Return the lease as text for a store."""
        return json.dumps(asdict(self), separators=(",", ":"))

    def next(self) -> Lease:
        """Return the same hub's next lease."""
        return replace(self, beat=self.beat + 1)

    def after(self, other: Lease | None) -> Lease:
        """Return the lease of this hub when it takes over from another."""
        return self if other is None else replace(self, term=other.term + 1)

    def __str__(self) -> str:
        return f"process {self.pid} on {shown(self.host, _SHOWN)}, running since {shown(self.since, _SHOWN)}"


def decode(text: str | None) -> Lease | None:
    """Parse a lease from a store; None if there is none, or it is invalid."""
    try:
        fields = json.loads(text or "")
        lease = Lease(**fields)
        return lease if [*map(type, asdict(lease).values())] == _TYPES else None
    except (ValueError, TypeError, RecursionError):
        return None


def must_yield(mine: Lease, found: Lease | None) -> bool:
    """Return True if a hub has to give way to the lease that it finds in the store."""
    if found is None or found.instance == mine.instance:
        return False
    return (found.term, found.instance) > (mine.term, mine.instance)


#: The remedy where both are meant to run.
_APART: Final = (
    "If both are to run: give each a c.TraefikProxy.hub_id of its own where they share a Traefik, and otherwise "
    "prefixes of its own (kv_traefik_prefix and kv_jupyterhub_prefix)."
)


def conflict_message(found: Lease, roots: str, taken_over: bool) -> str:
    """Return a message about another hub on the same roots.

    Args:
        found: the other hub's lease.
        roots: the location of the routes that both write.
        taken_over: True if this hub held the lease before.
    """
    if taken_over:
        return (
            f"Another hub ({found}) has taken over the routes {roots}, so this one changes nothing there any more. "
            f"Stop one of them. {_APART}"
        )
    return f"Another hub ({found}) is using the routes {roots}. Stop it first. {_APART}"
