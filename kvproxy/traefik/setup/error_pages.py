"""The hub's own pages where a server does not answer, or no route fits, instead of Traefik's two words, as values.

Traefik's middleware ``errors`` (3.7, ``pkg/middlewares/customerrors``) puts the answer of another service in the place
of one with certain statuses. It sees the status only, so it cannot tell what Traefik itself says of a server that is
gone (502 if it refuses connections, 504 if it does not react) from the same status out of the server.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from ...routing.names import ALONE, Names

#: Traefik's statuses for a server that it cannot reach (``ComputeStatusCode``, ``pkg/proxy/httputil``, 3.7).
_STATUSES: Final = ["502", "504"]
#: The status that users get instead, as from configurable-http-proxy: to JupyterLab, 503 is a server that has ended.
_SHOWN: Final = 503
#: The status of Traefik's service ``noop@internal``, and what a request that fits no route gets.
_NO_SERVICE: Final = "418"
_NOT_FOUND: Final = 404
#: The first version whose middleware can change a status, and the first whose services can have middlewares, and whose
#: middleware can choose the headers of the request for a page. An older one would refuse all updates for such a key.
_REWRITES_SINCE: Final = (3, 4)
_COOKIELESS_SINCE: Final = (3, 7)
#: The headers of a request that the hub needs for a page. The others may hold a token for the user's server.
_HEADERS: Final = (
    "Accept,Accept-Language,X-Forwarded-For,X-Forwarded-Host,X-Forwarded-Port,X-Forwarded-Proto,X-Real-Ip,X-Scheme"
)


def pages_configuration(
    url: str, transport: str, names: Names = ALONE, version: tuple[int, ...] = (3,)
) -> dict[str, Any]:
    """The dynamic configuration with the middleware and the service that it asks for pages.

    The service is one of its own: a middleware whose service is missing disables all its routers, and the hub adds its
    own route late. The URL that was asked for is not passed on: it may hold a token, which the hub's log would keep.

    Args:
        url: of the hub, with its path: ``http[s]://host:port/hub/``.
        transport: name of the serversTransport if the hub is reached by https; empty for Traefik's default one.
        names: how the hub calls what it has there.
        version: Traefik's, as far as it is known.
    """
    parts = urlsplit(url)
    balancer: dict[str, Any] = {"servers": [{"url": f"{parts.scheme}://{parts.netloc}"}]}
    if transport and parts.scheme == "https":
        balancer["serversTransport"] = transport
    service: dict[str, Any] = {"loadBalancer": balancer}
    middlewares: dict[str, Any] = {names.pages: {"errors": _errors(_STATUSES, _SHOWN, parts.path, names, version)}}
    if version >= _COOKIELESS_SINCE:
        # The hub is not shown its own cookies at a user's path, so with a page that was navigated to it would hand out
        # those of a stranger (JupyterHub 6.1, `_xsrf_utils`), and its forms in other tabs would be refused.
        service["middlewares"] = [names.cookieless]
        middlewares[names.cookieless] = {"headers": {"customRequestHeaders": {"Sec-Fetch-Mode": "no-cors"}}}
    return {"http": {"services": {names.pages: service}, "middlewares": middlewares}}


def not_found_page(url: str, names: Names, version: tuple[int, ...]) -> dict[str, Any] | None:
    """The middleware that gives the hub's page to a request that fits no route; None if Traefik cannot do that.

    Args:
        url: of the hub, with its path.
        names: how the hub calls what it has there.
        version: Traefik's, as far as it is known.
    """
    if version < _REWRITES_SINCE:
        return None
    return {"errors": _errors([_NO_SERVICE], _NOT_FOUND, urlsplit(url).path, names, version)}


def _errors(statuses: Sequence[str], shown: int, path: str, names: Names, version: tuple[int, ...]) -> dict[str, Any]:
    errors: dict[str, Any] = {
        "status": list(statuses),
        "service": names.pages,
        "query": f"{path.rstrip('/')}/error/{shown}",
    }
    if version >= _REWRITES_SINCE:
        # A name of digits only would be taken for a list index.
        errors["statusRewrites"] = {f"{statuses[0]}-{statuses[-1]}": shown}
    if version >= _COOKIELESS_SINCE:
        errors["errorRequestHeaders"] = _HEADERS
    return errors
