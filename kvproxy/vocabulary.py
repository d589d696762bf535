"""What a router, a service and a middleware of Traefik's can be told, and whether a value is of that kind.

Traefik reads all keys of a store or none: one field that it does not know, or a number that is none, stops every update
for everybody. So what a hook says is compared with this table before it is written. The names and kinds are those of
Traefik 3.7 (``pkg/config/dynamic/http_config.go``, ``middlewares.go``) that its key-value providers take.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

#: A duration as Go reads it (``time.ParseDuration``), or whole seconds.
_TIME: Final = re.compile(r"-?\d+|-?(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+")
_WHOLE: Final = re.compile(r"-?\d+")
#: The most values in a list whose order counts: Traefik sorts a list's numbers as texts, 10 before 2 (``filterPairs``).
_MOST_IN_ORDER: Final = 10
#: What a store's keys and Traefik's reader of them take as one step of a path: a number would be the place in a list.
_STEP: Final = re.compile(r"(?!\d+$)[^/\x00-\x1f\x7f]+")


class Unusable(ValueError):
    """A value that Traefik could not read; the text goes on after what the value is of."""


@dataclass(frozen=True)
class Fields:
    """A mapping with certain fields.

    Args:
        known: name of a field -> its kind.
        may_be_empty: whether Traefik takes one without any field (its tag ``allowEmpty``).
    """

    known: Mapping[str, Kind]
    may_be_empty: bool = False


#: ``text``, ``whole``, ``flag``, ``time``, ``texts`` (a list), ``ordered`` (a list whose order counts), ``names`` (text
#: by any name), ``wholes`` (numbers by any name) or ``any``; fields; or a list of these in a tuple of one.
Kind: TypeAlias = "str | Fields | tuple[Fields]"


def _fields(words: str = "", may_be_empty: bool = False, **nested: Kind) -> Fields:
    """Fields as ``name`` (of text) or ``name:kind``, and those that have fields of their own."""
    flat = {name: kind or "text" for name, _, kind in (word.partition(":") for word in words.split())}
    return Fields({**flat, **nested}, may_be_empty)


_IP: Final = _fields("depth:whole excludedIPs:texts ipv6Subnet:whole", may_be_empty=True)
_CRITERION: Final = _fields("requestHeaderName requestHost:flag", ipStrategy=_IP)
_CLIENT_TLS: Final = "ca cert key insecureSkipVerify:flag"
_ISSUER: Final = (
    "country:flag province:flag locality:flag organization:flag commonName:flag serialNumber:flag domainComponent:flag"
)
_REDIS: Final = _fields(
    "endpoints:texts username password db:whole poolSize:whole minIdleConns:whole maxActiveConns:whole "
    "readTimeout:time writeTimeout:time dialTimeout:time",
    tls=_fields(_CLIENT_TLS),
)
_HEADERS: Final = _fields(
    "customRequestHeaders:names customResponseHeaders:names accessControlAllowCredentials:flag "
    "accessControlAllowHeaders:texts accessControlAllowMethods:texts accessControlAllowOriginList:texts "
    "accessControlAllowOriginListRegex:texts accessControlExposeHeaders:texts accessControlMaxAge:whole "
    "addVaryHeader:flag allowedHosts:texts hostsProxyHeaders:texts sslProxyHeaders:names stsSeconds:whole "
    "stsIncludeSubdomains:flag stsPreload:flag forceSTSHeader:flag frameDeny:flag customFrameOptionsValue "
    "contentTypeNosniff:flag browserXssFilter:flag customBrowserXSSValue contentSecurityPolicy "
    "contentSecurityPolicyReportOnly publicKey referrerPolicy permissionsPolicy isDevelopment:flag"
)
_FORWARD_AUTH: Final = _fields(
    "address trustForwardHeader:flag authResponseHeaders:texts authResponseHeadersRegex authRequestHeaders:texts "
    "maxResponseBodySize:whole addAuthCookiesToResponse:texts headerField forwardBody:flag maxBodySize:whole "
    "preserveLocationHeader:flag preserveRequestMethod:flag authSigninURL",
    tls=_fields(_CLIENT_TLS + " caOptional:flag"),
)
_ENCODED: Final = ("Slash", "BackSlash", "NullCharacter", "Semicolon", "Percent", "QuestionMark", "Hash")

#: The kinds of middlewares; each is one of them.
MIDDLEWARE: Final = _fields(
    addPrefix=_fields("prefix"),
    stripPrefix=_fields("prefixes:texts forceSlash:flag"),
    stripPrefixRegex=_fields("regex:texts"),
    replacePath=_fields("path"),
    replacePathRegex=_fields("regex replacement"),
    chain=_fields("middlewares:ordered"),
    ipWhiteList=_fields("sourceRange:texts", ipStrategy=_IP),
    ipAllowList=_fields("sourceRange:texts rejectStatusCode:whole", ipStrategy=_IP),
    headers=_HEADERS,
    encodedCharacters=_fields(" ".join(f"allowEncoded{name}:flag" for name in _ENCODED)),
    errors=_fields("status:texts statusRewrites:wholes service query errorRequestHeaders:texts"),
    rateLimit=_fields("average:whole period:time burst:whole", sourceCriterion=_CRITERION, redis=_REDIS),
    redirectRegex=_fields("regex replacement permanent:flag"),
    redirectScheme=_fields("scheme port permanent:flag"),
    basicAuth=_fields("users:texts usersFile realm removeHeader:flag headerField"),
    digestAuth=_fields("users:texts usersFile realm removeHeader:flag headerField"),
    forwardAuth=_FORWARD_AUTH,
    inFlightReq=_fields("amount:whole", sourceCriterion=_CRITERION),
    buffering=_fields(
        "maxRequestBodyBytes:whole memRequestBodyBytes:whole maxResponseBodyBytes:whole memResponseBodyBytes:whole "
        "retryExpression"
    ),
    circuitBreaker=_fields(
        "expression checkPeriod:time fallbackDuration:time recoveryDuration:time responseCode:whole"
    ),
    compress=_fields(
        "excludedContentTypes:texts includedContentTypes:texts minResponseBodyBytes:whole encodings:texts "
        "defaultEncoding",
        may_be_empty=True,
    ),
    passTLSClientCert=_fields(
        "pem:flag",
        info=_fields(
            "notAfter:flag notBefore:flag sans:flag serialNumber:flag",
            subject=_fields(_ISSUER + " organizationalUnit:flag"),
            issuer=_fields(_ISSUER),
        ),
    ),
    retry=_fields(
        "attempts:whole timeout:time initialInterval:time maxRequestBodyBytes:whole status:texts "
        "disableRetryOnNetworkError:flag retryNonIdempotentMethod:flag"
    ),
    contentType=_fields("autoDetect:flag", may_be_empty=True),
    grpcWeb=_fields("allowOrigins:texts"),
    plugin="any",
)
#: What a hook may tell a router; the rest is kvproxy's.
ROUTER: Final = _fields(
    "middlewares:texts",
    tls=_fields(
        "options certResolver",
        may_be_empty=True,
        domains=(_fields("main sans:texts"),),
    ),
    observability=_fields("accessLogs:flag metrics:flag tracing:flag traceVerbosity"),
)
#: A service of a route: a load balancer over servers.
SERVICE: Final = _fields(
    loadBalancer=_fields(
        "strategy passHostHeader:flag serversTransport",
        servers=(_fields("url weight:whole preservePath:flag"),),
        sticky=_fields(
            may_be_empty=True,
            cookie=_fields(
                "name secure:flag httpOnly:flag sameSite maxAge:whole path domain",
                may_be_empty=True,
            ),
        ),
        healthCheck=_fields(
            "scheme mode path method status:whole port:whole interval:time unhealthyInterval:time timeout:time "
            "hostname followRedirects:flag headers:names"
        ),
        passiveHealthCheck=_fields("failureWindow:time maxFailedAttempts:whole"),
        responseForwarding=_fields("flushInterval:time"),
    )
)


def checked(value: Any, kind: Kind, where: str) -> Any:
    """A copy of a value of this kind, without what is None in it.

    Args:
        value: anything.
        kind: what it has to be.
        where: what it is of, in a sentence: ``middlewares.limit.rateLimit``.

    Raises:
        Unusable: with a sentence's end that names the place and never shows a value, which may be secret.
    """
    if isinstance(kind, Fields):
        return _checked_fields(value, kind, where)
    if isinstance(kind, tuple):
        return [checked(item, kind[0], f"{where}[{index}]") for index, item in enumerate(_items(value, where))]
    if kind in {"texts", "ordered"}:
        if kind == "ordered" and isinstance(value, (list, tuple)) and len(value) > _MOST_IN_ORDER:
            raise Unusable(f"{where} of more than {_MOST_IN_ORDER}, which Traefik would not keep in order")
        return [_in_list(item, f"{where}[{index}]") for index, item in enumerate(_items(value, where))]
    if kind in {"names", "wholes"}:
        inner = "text" if kind == "names" else "whole"
        return {name: checked(item, inner, f"{where}.{name}") for name, item in _named(value, where).items()}
    return _checked_any(value, where) if kind == "any" else _checked_scalar(value, kind, where)


def _checked_fields(value: Any, kind: Fields, where: str) -> dict[str, Any]:
    found = {}
    for name, item in _named(value, where, may_be_empty=kind.may_be_empty).items():
        if name not in kind.known:
            near = difflib.get_close_matches(name, kind.known, 1, 0.7)
            hint = f" (is {near[0]} meant?)" if near else ""
            raise Unusable(f"{where}.{name}, which Traefik does not know there{hint}")
        found[name] = checked(item, kind.known[name], f"{where}.{name}")
    return found


def _named(value: Any, where: str, may_be_empty: bool = False) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise Unusable(f"{where} that is no mapping but of type {type(value).__name__}")
    for name in value:
        if not isinstance(name, str) or not _STEP.fullmatch(name) or not _plain(name):
            raise Unusable(f"{where} with the name {name!r}, which cannot be a part of a key")
    if len({name.lower() for name in value}) < len(value):
        raise Unusable(f"{where} with names that differ in upper and lower case only, which Traefik takes for one")
    found = {name: item for name, item in value.items() if item is not None}
    if not found and not may_be_empty:
        raise Unusable(f"{where} with nothing in it")
    return found


def _items(value: Any, where: str) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise Unusable(f"{where} that is no list but of type {type(value).__name__}")
    if not value:
        raise Unusable(f"{where} with nothing in it")
    return list(value)


def _in_list(value: Any, where: str) -> str:
    text = str(_checked_scalar(value, "text", where))
    if "," in text or text != text.strip():
        # Traefik's reader joins a list's values with commas and splits them again (paerser, `makeSlice`).
        raise Unusable(f"{where} with a comma or with blanks around it, which Traefik would take for several or lose")
    return text


def _checked_scalar(value: Any, kind: str, where: str) -> str | int | float:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if not isinstance(value, (str, int, float)) or (isinstance(value, float) and not math.isfinite(value)):
        raise Unusable(f"{where} of type {type(value).__name__}, which is not of JSON")
    if not text:
        raise Unusable(f"{where} that is empty; Traefik reads no empty values from a store")
    if not _plain(text):
        raise Unusable(f"{where} with half of a surrogate pair")
    if kind == "whole" and (isinstance(value, bool) or not _WHOLE.fullmatch(text)):
        raise Unusable(f"{where} that is no whole number")
    if kind == "flag" and text not in {"true", "false"}:
        raise Unusable(f"{where} that is neither True nor False")
    if kind == "time" and (isinstance(value, bool) or not _TIME.fullmatch(text)):
        raise Unusable(f"{where} that is no duration such as 10s")
    return value


def _checked_any(value: Any, where: str) -> Any:
    """Of a plugin's configuration only Traefik's plugin knows what it may be."""
    try:
        if isinstance(value, Mapping):
            return {name: _checked_any(item, f"{where}.{name}") for name, item in _named(value, where).items()}
        if isinstance(value, (list, tuple)):
            return [_checked_any(item, f"{where}[{index}]") for index, item in enumerate(_items(value, where))]
    except RecursionError:
        raise Unusable(f"{where} that is nested too deep") from None
    return _checked_scalar(value, "text", where)


def _plain(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
