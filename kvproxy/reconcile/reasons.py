"""The reason that a route is not served, or that Traefik does not follow the store, as one sentence.

A cause is named only if there is evidence of it. Otherwise the sentence says what was seen, and lists what may be the
cause.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from ..routing.names import is_hold
from ..traefik.key_check import Suspects, named

#: Seconds from which on a stalled event loop of the hub counts as a cause.
_LONG: Final = 1.0
#: Traefik's errors about a key that it cannot decode (paerser, `decodeToNode` and `setValue`, and Go's `strconv`, 3.7).
_DECODING: Final = re.compile(r"\bnode: |\bstrconv\.|time: (?:invalid|missing|unknown)|field not found")
_NODE: Final = re.compile(r"\bnode: ([\w.-]+)")


class Loaded(Enum):
    """The configuration that Traefik's API shows."""

    NOTHING = "nothing that kvproxy wrote"
    EARLIER = "an earlier one than the store's"
    LATEST = "the store's"

    @classmethod
    def of(cls, seen: int | None, wanted: int) -> Loaded:
        """Compare the revision that the API shows, None if it shows none, with the one that it should show."""
        if seen is None:
            return cls.NOTHING
        return cls.EARLIER if seen < wanted else cls.LATEST


@dataclass(frozen=True)
class Facts:
    """Observations from which a reason is derived.

    Args:
        stored: True if the change that a caller waits for is in the store.
        behind_traefik: True if it is not, because Traefik has to load the store's earlier contents first.
        held_back: True if it is not, because JupyterHub has not checked all routes yet.
        store_problem: the store's last error, a sentence; empty if it works.
        api_problem: the error of the last request to Traefik's API; empty if it answers.
        api_silent: True if the API did not answer in time.
        loaded: the configuration that the API shows.
        told_in_vain: True if Traefik was notified several times without effect.
        verdict: what the API shows of the route; empty if no caller waits for one.
        provider_error: the last error of Traefik's provider since Traefik's last progress; empty if there is none,
            None if Traefik's log is not known.
        suspects: keys in the store that may keep Traefik from reading it.
        stood_still: seconds for which the hub's own event loop was stalled while a caller waited.
    """

    stored: bool = True
    behind_traefik: bool = False
    held_back: bool = False
    store_problem: str = ""
    api_problem: str = ""
    api_silent: bool = False
    loaded: Loaded = Loaded.EARLIER
    told_in_vain: bool = False
    verdict: str = ""
    provider_error: str | None = None
    suspects: Suspects = field(default_factory=Suspects)
    stood_still: float = 0.0


def explain(facts: Facts) -> str:
    """Return the reason, in a sentence or two.

    >>> explain(Facts(stored=False, store_problem="The store is unreachable."))
    'The store is unreachable.'
    >>> explain(Facts(provider_error="dial tcp 127.0.0.1:6379: connect: connection refused"))
    "Traefik has not loaded the store's latest contents. It cannot read the store; its provider says: dial tcp \
127.0.0.1:6379: connect: connection refused."
    """
    if not facts.stored and (why := _not_stored(facts)):
        return why
    if facts.api_problem:
        return facts.api_problem + _also(facts)
    if facts.loaded is Loaded.NOTHING:
        return f"Traefik's API answers, but Traefik has loaded nothing that kvproxy wrote. {advice(facts)}"
    if facts.loaded is Loaded.EARLIER:
        return f"Traefik has not loaded the store's latest contents. {advice(facts)}"
    return (facts.verdict or "Traefik's answers changed meanwhile.") + _also(facts)


def advice(facts: Facts) -> str:
    """Return the reason that Traefik has not loaded the store's contents, or the possible causes."""
    if facts.suspects.evidence:
        return facts.suspects.evidence
    if facts.provider_error and not _is_hold(facts.provider_error):
        if is_decoding(facts.provider_error):
            return (
                f"One key below its rootKey that it cannot decode stops all updates; its log says: "
                f"{_clause(facts.provider_error)}. Correct or remove that key."
            )
        return f"It cannot read the store; its provider says: {_clause(facts.provider_error)}."
    if facts.stood_still >= _LONG:
        return _own_loop(facts)
    if hears_nothing(facts):
        return "Its log shows no error and it reads nothing, so its connection to the store is most likely dead."
    if facts.loaded is Loaded.NOTHING:
        return "Check that its provider names the same store, database, credentials and rootKey."
    return f"Look for 'Provider error' in its log. {_candidates(facts.suspects)}"


def hears_nothing(facts: Facts) -> bool:
    """Return True if Traefik and the store both work, as far as can be seen, and yet Traefik receives no changes.

    That happens when a firewall or a proxy between them has dropped the connection: Traefik waits on it for minutes, or
    forever.
    """
    return (
        facts.loaded is Loaded.EARLIER
        and facts.told_in_vain
        and facts.provider_error == ""
        and not (facts.api_problem or facts.store_problem or facts.suspects.evidence or facts.stood_still >= _LONG)
    )


def stuck(facts: Facts) -> str:
    """Return the fault of a running Traefik that a restart may cure; empty if there is none.

    >>> stuck(Facts(api_problem="It did not answer within 5 s.", api_silent=True))
    'It hangs. It did not answer within 5 s.'
    >>> stuck(Facts(told_in_vain=True, provider_error="dial tcp 127.0.0.1:6379: connect: connection refused"))
    ''
    """
    if facts.api_silent:
        return f"It hangs. {facts.api_problem}"
    return f"It does not follow the store. {advice(facts)}" if hears_nothing(facts) else ""


def is_decoding(provider_error: str) -> bool:
    """Return True if an error of Traefik's provider is about a key that it cannot decode.

    >>> is_decoding("field not found, node: rool"), is_decoding("the WatchTree channel is closed")
    (True, False)
    """
    return bool(_DECODING.search(provider_error))


def _not_stored(facts: Facts) -> str:
    if facts.store_problem:
        return facts.store_problem
    if facts.held_back:
        return "The store has lost its routes, and JupyterHub has not checked all routes yet; Traefik keeps its own."
    if facts.behind_traefik:
        return ""
    if facts.stood_still >= _LONG:
        return f"It is not in the store yet. {_own_loop(facts)}"
    return "The store has not answered the request yet."


def _own_loop(facts: Facts) -> str:
    return (
        f"This hub's own event loop was blocked for {facts.stood_still:.0f} s, so no answer could be read; look "
        "for 'Event loop was unresponsive' in its log."
    )


def _also(facts: Facts) -> str:
    return f" {_own_loop(facts)}" if facts.stood_still >= _LONG else ""


def _candidates(suspects: Suspects) -> str:
    causes = ["its connection to the store is dead (restart Traefik)", "many keys of others slow the store down"]
    if keys := suspects.foreign:
        causes.append(f"the {named(keys)} below its rootKey, which kvproxy did not write, cannot be used")
    return f"If there is none, it may be that {', that '.join(causes[:-1])}, or that {causes[-1]}."


def _is_hold(provider_error: str) -> bool:
    """Return True if Traefik fails on purpose, as a commit of several transactions is under way."""
    found = _NODE.search(provider_error)
    return found is not None and is_hold(f"http/{found[1]}")


def _clause(text: str) -> str:
    return text.rstrip(". ")
