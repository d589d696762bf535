"""All expectations: where kvproxy may differ from configurable-http-proxy, how, which is better, and why.

A case that has no entry is to be the same. ``here`` holds exactly the facts that differ, as they are behind kvproxy;
None means that a fact is missing. The page of the documentation is made from these texts.
"""

from __future__ import annotations

from collections.abc import Mapping

from .case import Expected

Here = Mapping[str, str | None]


def same(why: str = "", setting: str = "", row: str = "") -> Expected:
    """Equal, with something to say about it."""
    return Expected("same", {}, why, setting, row)


def better(here: Here, why: str, setting: str = "", row: str = "") -> Expected:
    """kvproxy is better."""
    return Expected("better", here, why, setting, row)


def different(here: Here, why: str, setting: str = "", row: str = "") -> Expected:
    """Neither is better, or it depends."""
    return Expected("different", here, why, setting, row)


def worse(here: Here, why: str, setting: str = "", row: str = "") -> Expected:
    """kvproxy is worse."""
    return Expected("worse", here, why, setting, row)


_REFUSED = {"arrives": "nothing", "status": "400"}
_DOTS = "kvproxy refuses them, as no rule of a hook's is to be walked around; browsers resolve them before they send."
_TO_SERVER = {"arrives": "GET /user/x/", "status": "200"}

EXPECTED: dict[str, Expected] = {
    "double-slash": same("Kept as it is sent (`sanitizePath` is off); Traefik older than 3.3.6 merges them.", row="W1"),
    "url-in-path": same(row="W1"),
    "slash-slash-user": same(row="W1"),
    "dot-segment": worse(_REFUSED, _DOTS, row="W1"),
    "dots-segment": worse(_REFUSED, _DOTS, row="W1"),
    "dots-out": worse({"status": "400"}, _DOTS, row="W1"),
    "encoded-dots": worse(_REFUSED, _DOTS, row="W1"),
    "lower-hex": different({"arrives": "GET /user/x/%C3%A9%2F"}, "The same path by RFC 3986."),
    "needlessly-encoded": different({"arrives": "GET /user/x/a~"}, "The same path by RFC 3986."),
    "other-literals": different(
        {"arrives": "GET /user/x/a%5Bb%5Dc%7Cd%5Ee%7Bf%7Dg%22h"}, "The same path for a server that decodes it."
    ),
    "backslash": better({"arrives": "GET /user/x/a%5Cb"}, "A backslash is a character of a name."),
    "raw-utf-8": better(
        {"arrives": "GET /user/x/zo%C3%AB", "status": "200"}, "Scripts send this; it is refused there.", row="better"
    ),
    "raw-query": better(
        {"arrives": "GET /user/x/?zoÃ«", "status": "200"}, "Scripts send this; it is refused there.", row="better"
    ),
    "bad-percent": better({"status": "400"}, "It is the client's mistake."),
    "no-utf-8": better({"arrives": "GET /user/x/a%FF", "status": "200"}, "Names of old files."),
    "fragment": different({"arrives": "nothing", "status": "400"}, "No client may send it."),
    "query": different(
        {"arrives": 'GET /user/x/?a=%&b=|&c="&d=//x&e=../y&f=%2F'}, "The query arrives as it was sent.", row="same"
    ),
    "semicolon-query": different(
        {"arrives": "GET /user/x/?a%3Bb=1%3Bc"},
        "Traefik would take `;` for `&`; encoded, it means the same to a server that decodes the query.",
        row="W3",
    ),
    "empty-query": better({"arrives": "GET /user/x/a?"}, "The target arrives as it was sent."),
    "long-path": better(
        {"arrives": "60012 bytes, SHA-256 669f3780f242", "status": "200"}, "Up to 1 MB; 16 kB there.", row="better"
    ),
    "big-path": better(
        {"arrives": "900012 bytes, SHA-256 a4ab9f86b71a", "status": "200"}, "Up to 1 MB; 16 kB there.", row="better"
    ),
    "host-capitals": better(_TO_SERVER, "Names of hosts know no case.", row="better"),
    "host-dot": better(_TO_SERVER, "The same host.", row="better"),
    "health": same("So that probes need not be changed.", row="W5"),
}


def of(case: str) -> Expected:
    """What is expected of a case."""
    return EXPECTED.get(case, Expected("same"))
