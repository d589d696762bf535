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
_PASSES = {"arrives": "GET /user/x/", "status": "200"}
_DOTS = (
    "Refused, so that no rule for a path can be walked around. Browsers and libraries resolve them before they send."
)
_RFC_3986 = "The same path by RFC 3986."
_RFC_9110 = "RFC 9110 wants it so."
_TRUSTED = "`c.TraefikProxy.trusted_proxies`"

_PATHS = {
    "double-slash": same("Traefik since 3.3.6 would merge them; kvproxy tells it not to.", row="W1"),
    "url-in-path": same("Traefik since 3.3.6 would make `https:/host/x` of it; kvproxy tells it not to.", row="W1"),
    "slash-slash-user": same(row="W1"),
    "dot-segment": worse(_REFUSED, _DOTS, row="W1"),
    "dots-segment": worse(_REFUSED, _DOTS, row="W1"),
    "dots-out": different({"status": "400"}, _DOTS, row="W1"),
    "encoded-dots": worse(_REFUSED, _DOTS, row="W1"),
    "lower-hex": different({"arrives": "GET /user/x/%C3%A9%2F"}, _RFC_3986),
    "needlessly-encoded": different({"arrives": "GET /user/x/a~"}, _RFC_3986),
    "other-literals": different(
        {"arrives": "GET /user/x/a%5Bb%5Dc%7Cd%5Ee%7Bf%7Dg%22h"}, "The same path once it is decoded."
    ),
    "backslash": better({"arrives": "GET /user/x/a%5Cb"}, "It is a character of a name, and stays one."),
    "raw-utf-8": better({"arrives": "GET /user/x/zo%C3%AB", "status": "200"}, "Scripts send it.", row="better"),
    "raw-query": better({"arrives": "GET /user/x/?zoë", "status": "200"}, "Scripts send it.", row="better"),
    "bad-percent": better({"status": "400"}, "It is the client's mistake, not the server's."),
    "no-utf-8": better({"arrives": "GET /user/x/a%FF", "status": "200"}, "Old files have such names."),
    "fragment": different(_REFUSED, "No client may send it."),
    "query": better(
        {"arrives": 'GET /user/x/?a=%&b=|&c="&d=//x&e=../y&f=%2F'}, "It arrives as it was sent.", row="same"
    ),
    "semicolon-query": different(
        {"arrives": "GET /user/x/?a%3Bb=1%3Bc"},
        "Otherwise Traefik would make `&` of it. A server that decodes the query sees no difference.",
        row="W3",
    ),
    "empty-query": better({"arrives": "GET /user/x/a?"}, "It arrives as it was sent."),
    "long-path": better(
        {"arrives": "60012 bytes, SHA-256 669f3780f242", "status": "200"}, "Up to 1 MB instead of 16 kB.", row="better"
    ),
    "big-path": better(
        {"arrives": "900012 bytes, SHA-256 a4ab9f86b71a", "status": "200"}, "Up to 1 MB instead of 16 kB.", row="better"
    ),
    "host-capitals": better(_PASSES, "The case of a host means nothing.", row="better"),
    "host-dot": better(_PASSES, "It is the same host.", row="better"),
    "health": different({"answer body": "OK"}, "Probes look at the status.", row="W5"),
}

_ADDED = {"X-Forwarded-Server": "(the machine's name)", "X-Real-Ip": "127.0.0.1"}

_FORWARDED = {
    "forwarded": different(_ADDED, "Two more fields."),
    "forwarded-tls": different(_ADDED, "Two more fields."),
    "balancer": better(
        {
            "X-Forwarded-For": "192.0.2.7, 127.0.0.1",
            "X-Forwarded-Port": "443",
            "X-Forwarded-Proto": "https",
        },
        "One value each, which every server understands. Networks that are not named are not believed:",
        _TRUSTED,
        row="W2",
    ),
    "forger": better(
        {
            "X-Forwarded-For": "127.0.0.1",
            "X-Forwarded-Host": "HOST",
            "X-Forwarded-Port": "80",
            "X-Forwarded-Prefix": None,
            "X-Forwarded-Proto": "http",
        },
        "Nobody can claim to be another machine. A balancer of your own must be named:",
        _TRUSTED,
        row="W2",
    ),
    "real-ip": same(_TRUSTED, row="W2"),
    "real-ip-forger": better({"X-Real-Ip": "127.0.0.1"}, "Nobody can claim to be another machine.", _TRUSTED, row="W2"),
}

_HEADERS = {
    "repeated": different(
        {"header x-a": "1 | 2"}, "Two fields as sent, instead of one with both. The same by RFC 9110."
    ),
    "two-cookies": different(
        {"header cookie": "a=1 | b=2"}, "Two fields as sent. No browser sends two over HTTP/1.1; HTTP/2's become one."
    ),
    "name-case": different(
        {"to the server": "X-Mixed", "to the client": "X-Mixed"}, "The case of names means nothing."
    ),
    "connection": different(
        {"to the server": "nothing", "to the client": "nothing"}, "Without it, connections are kept in HTTP/1.1."
    ),
    "hop-by-hop": better({"header x-drop": None}, _RFC_9110),
    "proxy-fields": different(
        {"header proxy-authorization": None, "header proxy-connection": None}, "They are for a proxy, not for servers."
    ),
    "no-accept-encoding": worse(
        {
            "header accept-encoding": "gzip",
            "answer header content-length": None,
            "answer header transfer-encoding": "chunked",
        },
        "Traefik asks for gzip and unpacks it. curl, wget and R show no progress and cannot resume. Ask for "
        "`Accept-Encoding: identity` there.",
        row="W9",
    ),
    "big-header": better(_PASSES, "Up to 1 MB instead of 16 kB.", row="better"),
    "very-big-header": better(_PASSES, "Up to 1 MB instead of 16 kB.", row="better"),
    "many-fields": better({"header x-999": "1"}, "None is dropped."),
    "big-cookies": different(
        {"status": "503", "answer body": "the hub's page: 503"},
        "They arrive, but users' servers take 64 kB and close the connection. Delete cookies.",
    ),
    "big-answer-header": better({"status": "200"}, "Answers' headers may be larger than 16 kB.", row="better"),
    "reason": worse({"reason": "OK"}, "Scripts that show the phrase. Go's HTTP library has no place for it.", row="W7"),
    "two-hosts": better(_REFUSED, _RFC_9110),
    "folded": better({**_PASSES, "header x-a": "1 2"}, "Very old clients."),
    "length-and-chunks": different(
        {"arrives": "POST /user/x/", "status": "200", "header transfer-encoding": "chunked"},
        "The length is dropped, so server and proxy agree on where the request ends.",
    ),
}

_METHODS = {
    "method-options": better({"header content-length": None}, "It arrives as it was sent."),
    "method-own": better({"arrives": "FROBNICATE /user/x/", "status": "200"}, "Servers know best."),
    "connect": different({"status": "501"}, "Refused in another way."),
    "method-lower": different({"arrives": "get /user/x/", "status": "200"}, "Another method, by RFC 9110."),
    "delete-chunks": better(
        {"header content-length": None, "header transfer-encoding": "chunked", "body": "abcdefg"},
        "The body is not lost.",
        row="better",
    ),
    "options-chunks": better(
        {"header content-length": None, "header transfer-encoding": "chunked", "body": "abcdefg"},
        "The body is not lost.",
    ),
    "request-trailers": better({"header trailer": "X-T"}, "The field is announced."),
}

_READ_TIMEOUT = "`c.TraefikProxy.read_timeout`"

_STREAMS = {
    "only-head": better({"head": "at once"}, "An `EventSource` opens at once.", row="better"),
    "cut-length": better({"ends": "at once", "status": "closed"}, "The client does not wait forever.", row="better"),
    "cut-chunks": better(
        {"ends": "at once", "status": "200", "answer ends": "cut off"},
        "The client does not wait forever.",
        row="better",
    ),
    "duplex": worse(
        {"the answer begins": "late"}, "Two-way streams of scripts over HTTP/1.1. HTTP/2 has no such limit.", row="W8"
    ),
    "refused-upload": worse(
        {"the refusal comes": "late"},
        "Over HTTP/1.1 the client learns it with its next piece. HTTP/2 has no such limit.",
        row="W8",
    ),
    "continue": better({"it comes": "when the server has decided"}, "The server's own answer.", row="better"),
    "continue-refused": better(
        {"it comes": "when the server has decided"},
        "Though with a 100 before it, the refusal comes before the client has sent much.",
        row="better",
    ),
    "very-slow-upload": better(
        {"body": "xxxxxxxxxx", "body ends": None, "status": "200"}, "1 hour instead of 5 minutes.", _READ_TIMEOUT
    ),
    "early-hints": better({"answers before": "103", "answer header link": "</a>"}, "Passed on.", row="better"),
    "processing": better({"answers before": "102"}, "Passed on.", row="better"),
    "trailers": better({"answer trailer x-t": "1"}, "Passed on.", row="better"),
    "kept-get": better({"second answer": "200", "requests": "3"}, "Asked again.", row="better"),
}

_WEBSOCKETS = {
    "ws-path": different({"arrives": "GET /user/x/a//b%2Fc?d=/e%3Bf"}, "As in all queries.", row="W3"),
    "own-protocol": better(
        {
            "arrives": "GET /user/x/ws?a=1",
            "status": "101",
            "to the server": "all 11 bytes",
            "to the client": "all 4 bytes",
        },
        "Such a connection is not closed.",
    ),
}

_HUBS_PAGE = {"status": "503", "answer body": "the hub's page: 503"}
_SILENT = {"status": "502", "answer body": "Bad Gateway"}
_SILENT_WHY = "Clients that take no HTML get what Traefik says. Scripts that retry on 503 only."
_ONLY_STATUS = "Traefik's middleware for error pages sees the status only."
_EXCEPT = "`c.TraefikProxy.error_pages_except`"
_NO_HTTP = {"status": "500", "answer body": "Internal Server Error"}
_NO_HTTP_WHY = (
    "Servers that die while they answer, or speak TLS: no page. Their own 500 must pass, and Traefik cannot tell."
)
_PLAIN_503 = {"answer body": "Bad Gateway"}

_ERRORS = {
    "gone-json": worse(_SILENT, _SILENT_WHY, row="W4"),
    "gone-ws": worse(_SILENT, "Browsers do not tell a page what the status was; scripts may look at it.", row="W4"),
    "gone-token": better({"answer body": "the hub's page: 503"}, "The hub's log does not keep the token."),
    "gone-hubless": different(_PLAIN_503, "Other words."),
    "service-gone": same(row="W6"),
    "hub-gone": different(_PLAIN_503, "Other words.", row="W6"),
    "hub-gone-json": worse(_SILENT, _SILENT_WHY, row="W6"),
    "own-502": worse(_HUBS_PAGE, _ONLY_STATUS, _EXCEPT, row="W4"),
    "own-504": worse(_HUBS_PAGE, _ONLY_STATUS, _EXCEPT, row="W4"),
    "own-502-service": worse(_HUBS_PAGE, _ONLY_STATUS, _EXCEPT, row="W4"),
    "own-502-json": same(row="W4"),
    "own-504-json": same(row="W4"),
    "own-502-any": worse(_HUBS_PAGE, _ONLY_STATUS, _EXCEPT, row="W4"),
    "own-502-ws": same(row="W4"),
    "own-502-excepted": same(setting=_EXCEPT, row="W4"),
    "no-route": same(row="W6"),
    "no-route-json": same(row="W6"),
    "no-route-path": same(row="W6"),
    "no-route-host": same(row="W6"),
    "no-route-user": same(row="W6"),
    "no-http": worse(_NO_HTTP, _NO_HTTP_WHY, row="W10"),
    "no-http-first": worse(_NO_HTTP, _NO_HTTP_WHY, row="W10"),
    "speaks-tls": worse(_NO_HTTP, _NO_HTTP_WHY, row="W10"),
    "half-answer": worse(_NO_HTTP, _NO_HTTP_WHY, row="W10"),
    "bad-field": worse(_NO_HTTP, _NO_HTTP_WHY, row="W10"),
    "bad-length": worse(_NO_HTTP, _NO_HTTP_WHY, row="W10"),
    "machine-gone": better({"after": "25 to 45 s"}, "Traefik's `dialTimeout` is 30 s.", row="better"),
}

_CIPHERS = "`tls.options.default.cipherSuites` in `c.TraefikProxy.extra_dynamic_config`"

_CONNECTIONS = {
    "tls-rsa": worse({"handshake": "refused", "status": None}, "Old Java, old instruments.", _CIPHERS, row="W12"),
    "tls-cbc-256": worse({"handshake": "refused", "status": None}, "Old Java, old instruments.", _CIPHERS, row="W12"),
    "alpn": better({"agreed on": "h2"}, "Many requests at once on one connection.", row="better"),
    "cleartext": different({"status": "404"}, "No route is without TLS."),
    "h2c": better(_PASSES, "The offer is ignored, as it may be.", row="better"),
    "upgrade-tls": better(_PASSES, "The offer is ignored, as it may be."),
    "h2c-prior": better({"answer": "HTTP/2"}, "gRPC without TLS, for one."),
    "http2": better({"over": "HTTP/2"}, "Many requests at once on one connection.", row="better"),
    "http2-duplex": better({"over": "HTTP/2"}, "Two-way streams work over HTTP/2.", row="better"),
    "half-head": worse(
        {"after 140 s": "open", "status": None, "closed after": None},
        "Closed after 1 hour: Traefik has one limit for head and body, and uploads may take long.",
        f"{_READ_TIMEOUT}, or a balancer in front.",
        row="W11",
    ),
    "half-body": different(
        {"after 330 s": "open", "status": None}, "Uploads may take 1 hour instead of 5 minutes.", _READ_TIMEOUT
    ),
    "idle": better({"closed after": "150 to 220 s"}, "Fewer handshakes.", row="better"),
}

EXPECTED: dict[str, Expected] = {
    **_PATHS,
    **_FORWARDED,
    **_HEADERS,
    **_METHODS,
    **_STREAMS,
    **_WEBSOCKETS,
    **_ERRORS,
    **_CONNECTIONS,
}


def of(case: str) -> Expected:
    """The expectation for a case."""
    return EXPECTED.get(case, Expected("same"))
