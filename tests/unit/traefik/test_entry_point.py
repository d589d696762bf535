"""Advice about a public entry point: none for a good one, and the line that mends a bad one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvproxy.traefik.entry_point import (
    entry_point_advice,
    hot_advice,
    plain_https_advice,
    reserved_advice,
    seconds,
    tiers_advice,
    trust_advice,
)
from kvproxy.traefik.static_config import deep_merge

from ..strategies import HOSTILE

NEW, OLD = (3, 7, 15), (3, 3, 5)
#: As Traefik 3.7.15 shows an entry point that lets everything through.
GOOD: dict[str, Any] = {
    "address": ":8000",
    "transport": {"lifeCycle": {"graceTimeOut": "10s"}, "respondingTimeouts": {"readTimeout": "1h0m0s"}},
    "forwardedHeaders": {},
    "http": {"encodeQuerySemicolons": True, "sanitizePath": False, "maxHeaderBytes": 1048576},
    "name": "web",
}
ALL = ("Slash", "BackSlash", "NullCharacter", "Semicolon", "Percent", "QuestionMark", "Hash")


def advice(*changes: dict[str, Any], version: tuple[int, ...] = NEW, public_https: bool = False) -> list[str]:
    shown = GOOD
    for change in changes:
        shown = deep_merge(shown, change)
    return entry_point_advice(version, shown, public_https=public_https)


def test_a_good_entry_point() -> None:
    """Is not spoken of; nor one without a limit, or with TLS of its own."""
    assert advice() == []
    assert advice({"transport": {"respondingTimeouts": {"readTimeout": "10h0m0s"}}}) == []
    assert advice({"http": {"tls": {}}}, public_https=True) == []
    assert advice({"forwardedHeaders": {"trustedIPs": ["10.0.0.0/8"]}}, public_https=True) == []
    assert advice({"forwardedHeaders": {"insecure": True}}, public_https=True) == []
    assert advice({"http": {"encodedCharacters": {f"allowEncoded{name}": True for name in ALL}}}) == []


@pytest.mark.parametrize("headers", [{}, {"trustedIPs": ["127.0.0.1"]}, {"notAppendXForwardedFor": True}])
def test_a_second_traefik_that_changes_headers(headers: dict[str, Any]) -> None:
    """Both fields are needed; the sentence names them."""
    (said,) = hot_advice({**GOOD, "forwardedHeaders": headers})
    assert "entryPoints.web" in said
    assert "notAppendXForwardedFor = true" in said


def test_a_traefik_that_is_too_old_for_two_tiers() -> None:
    """It is named, with the version that is not."""
    assert tiers_advice((3, 7, 0)) == []
    (said,) = tiers_advice((3, 6, 9))
    assert "Traefik 3.6.9 is too old" in said
    assert "3.7 or newer" in said


def test_no_limit_is_shown_as_none() -> None:
    """Traefik leaves out "0s"; without the whole section nothing is known."""
    for transport in ({"respondingTimeouts": {"idleTimeout": "3m0s"}}, {}, None):
        assert entry_point_advice(NEW, {**GOOD, "transport": transport}, public_https=False) == []


@pytest.mark.parametrize(
    ("change", "lines"),
    [
        ({"transport": {"respondingTimeouts": {"readTimeout": "1m0s"}}}, ['readTimeout = "1h"', "60 s"]),
        ({"http": {"sanitizePath": True}}, ["entryPoints.web.http.sanitizePath = false"]),
        ({"http": {"sanitizePath": None}}, ["entryPoints.web.http.sanitizePath = false"]),
        ({"http": {"encodeQuerySemicolons": False}}, ["entryPoints.web.http.encodeQuerySemicolons = true"]),
        (
            {"http": {"encodedCharacters": {}}},
            ["%2F", "%23", "allowEncodedHash = true", "entryPoints.web.http.encodedCharacters"],
        ),
        ({"http": {"encodedCharacters": {"allowEncodedSlash": True}}}, ["with %5C, %3B, %25, %3F, %23,"]),
    ],
)
def test_each_defect_has_one_sentence_with_its_line(change: dict[str, Any], lines: list[str]) -> None:
    """So that it can be copied."""
    [said] = advice(change)
    assert said.endswith(".")
    assert all(line in said for line in lines), said


def test_an_old_traefik_merges_nothing() -> None:
    """And would not know the option."""
    shown = {**GOOD, "http": {"encodeQuerySemicolons": True}}
    assert entry_point_advice(OLD, shown, public_https=False) == []
    assert len(entry_point_advice((3, 3, 6), shown, public_https=False)) == 1


def test_reserved_characters_need_a_traefik_that_keeps_them() -> None:
    """The sentence names the characters and the version."""
    assert [reserved_advice(version) for version in ((3, 4, 1), (3, 7, 15))] == [[], []]
    for version in ((3,), (3, 3, 6), (3, 4, 0)):
        [said] = reserved_advice(version)
        assert "with '#', '%', '/' or '?' in their names" in said
        assert "3.4.1 or newer" in said


def test_tls_that_ends_in_front() -> None:
    """Names the setting of the program that starts Traefik."""
    [said] = advice(public_https=True)
    assert "entryPoints.web.forwardedHeaders.trustedIPs" in said
    [said] = trust_advice({"address": ":8000"}, "c.TraefikProxy.trusted_proxies", public_https=True)
    assert "c.TraefikProxy.trusted_proxies" in said
    assert trust_advice({"address": ":8000"}, "x", public_https=False) == []


def test_an_https_url_that_is_plain() -> None:
    """Only if it is."""
    assert plain_https_advice("http://:8000", GOOD) == []
    assert plain_https_advice("https://:443", {"http": {"tls": {}}}) == []
    [said] = plain_https_advice("https://:443", GOOD)
    assert "ssl_cert" in said


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(HOSTILE, max_size=5),
        lambda below: (
            st.lists(below, max_size=2)
            | st.dictionaries(
                st.sampled_from(
                    ["http", "tls", "transport", "respondingTimeouts", "readTimeout", "encodedCharacters", "name"]
                ),
                below,
                max_size=4,
            )
        ),
    )
)
def test_any_answer_of_another_program_is_handled(shown: Any) -> None:
    """Sentences come of it, and no error."""
    for said in entry_point_advice(NEW, shown if isinstance(shown, dict) else {}, public_https=True):
        assert said.endswith(".")


@pytest.mark.parametrize("text", ["", "1", "s", "1h 2m", "-1s", None, 60])
def test_invalid_durations_are_none(text: object) -> None:
    """Nothing is concluded from it."""
    assert seconds(text) is None
