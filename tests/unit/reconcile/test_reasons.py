"""Why a route is not served: over all combinations of what can be known, one sentence, and nothing without evidence."""

from __future__ import annotations

from dataclasses import fields
from itertools import product

import pytest

from kvproxy.reconcile.reasons import Facts, Loaded, explain, stuck
from kvproxy.traefik.key_check import Suspects

STORE = "The store is away."
API = "Traefik's API cannot be reached."
VERDICT = "Traefik does not know the router yet"
LOST = "the WatchTree channel is closed"
DECODING = "field not found, node: rool"
OWN_HOLD = "field not found, node: kvproxy-is-writing"
BESIDE = Suspects(foreign=("http/routers/mine/rule",))
UNDECODABLE = Suspects(undecodable=("http/routers/mine/rool",))
HELD = Suspects(hold="http/kvproxy-is-writing-other")
#: All that each fact can be.
VALUES = {
    "stored": [True, False],
    "behind_traefik": [True, False],
    "held_back": [True, False],
    "store_problem": ["", STORE],
    "api_problem": ["", API],
    "api_silent": [True, False],
    "loaded": list(Loaded),
    "told_in_vain": [True, False],
    "verdict": ["", VERDICT],
    "provider_error": [None, "", LOST, DECODING, OWN_HOLD],
    "suspects": [Suspects(), BESIDE, UNDECODABLE, HELD],
    "stood_still": [0.0, 12.0],
}
ALL = [Facts(**dict(zip(VALUES, values, strict=True))) for values in product(*VALUES.values())]  # type: ignore[arg-type]


def in_traefiks_hands(facts: Facts) -> bool:
    """True if Traefik is to load something that is in the store."""
    return facts.stored or (facts.behind_traefik and not facts.store_problem and not facts.held_back)


def unread(facts: Facts) -> bool:
    """True if Traefik answers and is seen not to have loaded what it should."""
    return in_traefiks_hands(facts) and not facts.api_problem and facts.loaded is not Loaded.LATEST


def test_the_combinations_are_all() -> None:
    """A fact that is added is tested, too."""
    assert [field.name for field in fields(Facts)] == list(VALUES)


def test_every_combination_has_a_sentence() -> None:
    """That ends as one does, but for what Traefik's API showed, which is part of one."""
    for facts in ALL:
        said = explain(facts)
        assert said == VERDICT or (said.endswith(".") and ".." not in said and "  " not in said), facts


def test_a_key_that_cannot_be_decoded_is_named_only_if_there_is_evidence() -> None:
    """A key that is no kvproxy's and no Traefik's, or Traefik's own word; not the hub's own hold."""
    for facts in ALL:
        evidence = facts.suspects == UNDECODABLE or facts.provider_error == DECODING
        assert evidence or "decode" not in explain(facts), facts
        if unread(facts) and evidence and facts.suspects != HELD:
            assert "decode" in explain(facts), facts


@pytest.mark.parametrize(
    ("words", "known"),
    [
        (STORE, lambda facts: bool(facts.store_problem) and not facts.stored),
        (API, lambda facts: bool(facts.api_problem) and in_traefiks_hands(facts)),
        (VERDICT, lambda facts: bool(facts.verdict) and in_traefiks_hands(facts) and facts.loaded is Loaded.LATEST),
        (LOST, lambda facts: facts.provider_error == LOST and unread(facts)),
        ("kvproxy-is-writing", lambda facts: facts.suspects == HELD and unread(facts)),
        ("http/routers/mine/rool", lambda facts: facts.suspects == UNDECODABLE and unread(facts)),
        ("http/routers/mine/rule", lambda facts: facts.suspects == BESIDE and unread(facts)),
        ("was blocked for 12 s", lambda facts: bool(facts.stood_still)),
        ("same store, database, credentials and rootKey", lambda facts: facts.loaded is Loaded.NOTHING),
        ("most likely dead", lambda facts: facts.provider_error == "" and facts.told_in_vain and unread(facts)),
        ("connection to the store is dead (", lambda facts: unread(facts) and facts.loaded is Loaded.EARLIER),
        ("many keys of others", lambda facts: unread(facts) and facts.loaded is Loaded.EARLIER),
        ("has not loaded", lambda facts: unread(facts) and facts.loaded is Loaded.EARLIER),
        ("loaded nothing", lambda facts: unread(facts) and facts.loaded is Loaded.NOTHING),
        ("has not checked all routes yet", lambda facts: facts.held_back and not facts.stored),
        ("The store has not answered", lambda facts: not facts.stored and not in_traefiks_hands(facts)),
    ],
)
def test_each_cause_is_named_only_where_it_is_known(words: str, known) -> None:
    """And is named in some combination."""
    named = [facts for facts in ALL if words in explain(facts)]
    assert named
    for facts in named:
        assert known(facts), facts


def test_traefik_is_restarted_only_if_nothing_else_is_known_to_be_wrong() -> None:
    """It hangs, or it has been told in vain though the store works and its own log knows of no error."""
    for facts in ALL:
        if stuck(facts) and not facts.api_silent:
            assert facts.told_in_vain
            assert facts.loaded is Loaded.EARLIER
            assert facts.provider_error == ""
            assert facts.suspects in (Suspects(), BESIDE)
            assert (facts.api_problem, facts.store_problem, facts.stood_still) == ("", "", 0.0)
    assert sum(bool(stuck(facts)) and not facts.api_silent for facts in ALL)


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (Facts(stored=False, store_problem=STORE, provider_error=DECODING, suspects=UNDECODABLE), STORE),
        (Facts(api_problem=API, suspects=UNDECODABLE), API),
        (Facts(suspects=UNDECODABLE, provider_error=LOST), "remove it."),
        (
            Facts(provider_error="WRONGPASS invalid username-password pair."),
            "WRONGPASS invalid username-password pair.",
        ),
        (Facts(stood_still=12.0), "was blocked for 12 s"),
        (Facts(), "connection to the store is dead (restart Traefik)"),
        (Facts(loaded=Loaded.NOTHING), "names the same store, database, credentials and rootKey."),
        (Facts(loaded=Loaded.LATEST, verdict=VERDICT), VERDICT),
    ],
)
def test_the_strongest_evidence_counts(facts: Facts, said: str) -> None:
    """The store's before Traefik's, and what is seen in the store before what Traefik says of it."""
    assert said in explain(facts)
