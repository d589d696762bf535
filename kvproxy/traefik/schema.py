"""The words of Traefik's dynamic configuration: its sections, their fields, and which kind of value each takes.

Traefik reads all keys of a store or none: one field that it does not know, or a word in place of a number, stops every
update of that provider. So a hook's answer and ``extra_dynamic_config`` are compared with these tables before they are
written (:mod:`kvproxy.traefik.validation`). Names and kinds are those of Traefik 3.7 (``pkg/config/dynamic``,
``pkg/tls``) that its key-value providers take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

Version: TypeAlias = "tuple[int, ...]"


@dataclass(frozen=True)
class Fields:
    """A mapping with certain fields.

    Args:
        known: name of a field -> its kind.
        may_be_empty: whether Traefik takes one without any field (its tag ``allowEmpty``, or an entry of a mapping).
        empty_in_files: whether only Traefik's file provider takes one without any field.
        since: name of a field -> the first version of Traefik that knows it, where that is later than 3.0.
    """

    known: Mapping[str, Kind]
    may_be_empty: bool = False
    empty_in_files: bool = False
    since: Mapping[str, Version] = field(default_factory=dict)

    def __add__(self, other: Fields) -> Fields:
        """These fields and some more; whether there may be none is as here."""
        known, since = {**self.known, **other.known}, {**self.since, **other.since}
        return Fields(known, self.may_be_empty, self.empty_in_files, since)


@dataclass(frozen=True)
class Entries:
    """A mapping by names of the user's choice.

    Args:
        kind: of each entry.
    """

    kind: Kind


#: ``text``, ``whole``, ``flag``, ``time``, ``texts`` (a list), ``names`` (text by any name), ``statuses`` (numbers by
#: a status or a range of them) or ``any``; fields; entries; or a list of fields in a tuple of one.
Kind: TypeAlias = "str | Fields | Entries | tuple[Fields]"


def _fields(words: str = "", may_be_empty: bool = False, empty_in_files: bool = False, **nested: Kind) -> Fields:
    """Fields as ``name`` (of text) or ``name:kind``, and those that have fields of their own.

    ``@3.4`` at the end of a word is the first version that knows the field, found by giving each field to Traefik
    3.0.4, the first and last releases of 3.2 to 3.6, and 3.7.0; ``@3.1`` means 3.1 or 3.2.
    """
    known: dict[str, Kind] = {}
    since: dict[str, Version] = {}
    for word in words.split():
        told, _, version = word.partition("@")
        name, _, kind = told.partition(":")
        known[name] = kind or "text"
        if version:
            since[name] = tuple(map(int, version.split(".")))
    return Fields({**known, **nested}, may_be_empty, empty_in_files, since)


_IP: Final = _fields("depth:whole excludedIPs:texts ipv6Subnet:whole@3.1", may_be_empty=True)
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
    "contentSecurityPolicyReportOnly@3.1 publicKey referrerPolicy permissionsPolicy isDevelopment:flag featurePolicy "
    "sslRedirect:flag sslTemporaryRedirect:flag sslHost sslForceHost:flag"
)
_FORWARD_AUTH: Final = _fields(
    "address trustForwardHeader:flag authResponseHeaders:texts authResponseHeadersRegex authRequestHeaders:texts "
    "maxResponseBodySize:whole@3.6.9 addAuthCookiesToResponse:texts headerField@3.1 forwardBody:flag@3.3 "
    "maxBodySize:whole@3.3 preserveLocationHeader:flag@3.3 preserveRequestMethod:flag@3.4 authSigninURL@3.7",
    tls=_fields(_CLIENT_TLS + " caOptional:flag"),
)
_ENCODED: Final = ("Slash", "BackSlash", "NullCharacter", "Semicolon", "Percent", "QuestionMark", "Hash")

_DOMAIN: Final = _fields("main sans:texts")
_ROUTER_TLS: Final = _fields("options certResolver", may_be_empty=True, domains=(_DOMAIN,))

#: The kinds of middlewares; each is one of them.
MIDDLEWARE: Final = _fields(
    "encodedCharacters@3.7",
    addPrefix=_fields("prefix"),
    stripPrefix=_fields("prefixes:texts forceSlash:flag"),
    stripPrefixRegex=_fields("regex:texts"),
    replacePath=_fields("path"),
    replacePathRegex=_fields("regex replacement"),
    chain=_fields("middlewares:texts"),
    ipWhiteList=_fields("sourceRange:texts", ipStrategy=_IP),
    ipAllowList=_fields("sourceRange:texts rejectStatusCode:whole", ipStrategy=_IP),
    headers=_HEADERS,
    encodedCharacters=_fields(" ".join(f"allowEncoded{name}:flag" for name in _ENCODED)),
    errors=_fields("status:texts statusRewrites:statuses@3.4 service query errorRequestHeaders:texts@3.6.15"),
    rateLimit=_fields("average:whole period:time burst:whole redis@3.4", sourceCriterion=_CRITERION, redis=_REDIS),
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
        "excludedContentTypes:texts includedContentTypes:texts minResponseBodyBytes:whole encodings:texts@3.1 "
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
        "attempts:whole timeout:time@3.7 initialInterval:time maxRequestBodyBytes:whole@3.7 status:texts@3.7 "
        "disableRetryOnNetworkError:flag@3.7 retryNonIdempotentMethod:flag@3.7"
    ),
    contentType=_fields("autoDetect:flag", may_be_empty=True),
    grpcWeb=_fields("allowOrigins:texts"),
    plugin=Entries("any"),
)
#: The fields of a router that a hook may set; the others are kvproxy's.
ROUTER: Final = _fields(
    "middlewares:texts observability@3.3",
    tls=_ROUTER_TLS,
    observability=_fields("accessLogs:flag metrics:flag tracing:flag traceVerbosity@3.5"),
)
_STICKY: Final = _fields(
    may_be_empty=True,
    cookie=_fields("name secure:flag httpOnly:flag sameSite maxAge:whole path@3.3 domain@3.4", may_be_empty=True),
)
#: A service of a route: a load balancer over servers.
SERVICE: Final = _fields(
    loadBalancer=_fields(
        "strategy@3.4 passHostHeader:flag serversTransport passiveHealthCheck@3.6",
        servers=(_fields("url weight:whole preservePath:flag@3.1"),),
        sticky=_STICKY,
        healthCheck=_fields(
            "scheme mode path method status:whole port:whole interval:time unhealthyInterval:time@3.5 timeout:time "
            "hostname followRedirects:flag headers:names"
        ),
        passiveHealthCheck=_fields("failureWindow:time maxFailedAttempts:whole"),
        responseForwarding=_fields("flushInterval:time"),
    )
)

_HEALTHY: Final = _fields(may_be_empty=True)
_SHARE: Final = _fields("name weight:whole")
_PAIR: Final = _fields("certFile keyFile")
_PROXY_PROTOCOL: Final = _fields("version:whole", may_be_empty=True)
_UPSTREAM_TLS: Final = _fields(
    "serverName insecureSkipVerify:flag rootCAs:texts peerCertURI",
    may_be_empty=True,
    certificates=(_PAIR,),
    spiffe=_fields("ids:texts trustDomain", empty_in_files=True),
)
_TRANSPORT: Final = _UPSTREAM_TLS + _fields(
    "cipherSuites:texts@3.7 minVersion@3.7 maxVersion@3.7 maxIdleConnsPerHost:whole disableHTTP2:flag",
    forwardingTimeouts=_fields(
        "dialTimeout:time responseHeaderTimeout:time idleConnTimeout:time readIdleTimeout:time pingTimeout:time"
    ),
)
_HTTP: Final = _fields(
    routers=Entries(ROUTER + _fields("entryPoints:texts service rule parentRefs:texts@3.6 ruleSyntax priority:whole")),
    services=Entries(
        SERVICE
        + _fields(
            "middlewares:texts@3.7 highestRandomWeight@3.6",
            highestRandomWeight=_fields(services=(_SHARE,), healthCheck=_HEALTHY),
            weighted=_fields(services=(_SHARE,), sticky=_STICKY, healthCheck=_HEALTHY),
            mirroring=_fields(
                "service mirrorBody:flag@3.1 maxBodySize:whole",
                mirrors=(_fields("name percent:whole"),),
                healthCheck=_HEALTHY,
            ),
            failover=_fields(
                "service fallback errors@3.7",
                healthCheck=_fields(empty_in_files=True),
                errors=_fields("maxRequestBodyBytes:whole status:texts"),
            ),
        )
    ),
    middlewares=Entries(MIDDLEWARE),
    models=Entries(ROUTER),
    serversTransports=Entries(_TRANSPORT),
)
_RANGES: Final = _fields("sourceRange:texts")
_TCP: Final = _fields(
    routers=Entries(
        _fields(
            "entryPoints:texts middlewares:texts service rule ruleSyntax priority:whole",
            tls=_ROUTER_TLS + _fields("passthrough:flag"),
        )
    ),
    services=Entries(
        _fields(
            loadBalancer=_fields(
                "serversTransport terminationDelay:whole healthCheck@3.6",
                servers=(_fields("address tls:flag"),),
                proxyProtocol=_PROXY_PROTOCOL,
                healthCheck=_fields(
                    "port:whole send expect interval:time unhealthyInterval:time timeout:time", may_be_empty=True
                ),
            ),
            weighted=_fields("healthCheck@3.6", services=(_SHARE,), healthCheck=_HEALTHY),
        )
    ),
    middlewares=Entries(_fields(inFlightConn=_fields("amount:whole"), ipWhiteList=_RANGES, ipAllowList=_RANGES)),
    serversTransports=Entries(
        _fields(
            "dialKeepAlive:time dialTimeout:time terminationDelay:time proxyProtocol@3.5.2",
            may_be_empty=True,
            proxyProtocol=_PROXY_PROTOCOL,
            tls=_UPSTREAM_TLS,
        )
    ),
)
_UDP: Final = _fields(
    routers=Entries(_fields("entryPoints:texts service")),
    services=Entries(
        _fields(loadBalancer=_fields(servers=(_fields("address"),)), weighted=_fields(services=(_SHARE,)))
    ),
)
_TLS: Final = _fields(
    certificates=(_PAIR + _fields("stores:texts"),),
    options=Entries(
        _fields(
            "minVersion maxVersion cipherSuites:texts curvePreferences:texts sniStrict:flag alpnProtocols:texts "
            "disableSessionTickets:flag@3.4 preferServerCipherSuites:flag",
            may_be_empty=True,
            clientAuth=_fields("caFiles:texts clientAuthType"),
        )
    ),
    stores=Entries(
        _fields(
            may_be_empty=True,
            defaultCertificate=_PAIR,
            defaultGeneratedCert=_fields("resolver", domain=_DOMAIN),
        )
    ),
)
#: The whole of a dynamic configuration.
DYNAMIC: Final = _fields(http=_HTTP, tcp=_TCP, udp=_UDP, tls=_TLS)
