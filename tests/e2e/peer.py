"""Data that jupyterhub-traefik-proxy 2.1.0 leaves in a store or in a file; its own keys are in ``tests/data``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tomli_w

#: The hash of some password that kvproxy does not know, as it makes one for the user ``api_admin``.
_LOGIN = "api_admin:$2b$04$IVgP/1y15HVlOy2q8vzDU.afdJssBiH/UR1OaI2QshgMRn3Gv7yGK"


def escaped(routespec: str) -> str:
    """As jupyterhub-traefik-proxy does it in its names (escapism)."""
    return "".join(c if c.isalnum() or c == "-" else f"_{ord(c):02X}" for c in routespec)


def peer_document(routes: Mapping[str, Mapping[str, Any]], login: str = _LOGIN) -> dict[str, Any]:
    """The contents of its file: configuration, and its records below ``jupyterhub``.

    Args:
        routes: as a proxy of JupyterHub's gives them, by routespec.
        login: name and hash of who may ask Traefik's API.
    """
    routers: dict[str, Any] = {
        "route_api": {
            "rule": "Host(`127.0.0.1`) && PathPrefix(`/api`)",
            "entryPoints": ["auth_api"],
            "service": "api@internal",
            "middlewares": ["auth_api"],
        }
    }
    services, records = {}, {}
    for spec, route in routes.items():
        router, service, path = f"router_{escaped(spec)}", f"service_{escaped(spec)}", spec.rstrip("/")
        rule = f"( PathPrefix(`{spec}`) || Path(`{path}`) )" if path else "PathPrefix(`/`)"
        routers[router] = {"service": service, "rule": rule, "entryPoints": ["http"]}
        services[service] = {"loadBalancer": {"servers": [{"url": route["target"]}], "passHostHeader": True}}
        records[router] = {
            "routespec": spec,
            "target": route["target"],
            "router": router,
            "service": service,
            "data": {key: value for key, value in route["data"].items() if key in {"hub", "user", "server_name"}},
        }
    http = {"routers": routers, "services": services, "middlewares": {"auth_api": {"basicAuth": {"users": [login]}}}}
    return {"http": http, "jupyterhub": {"routes": records}}


def peer_file(routes: Mapping[str, Mapping[str, Any]], login: str = _LOGIN) -> str:
    """Its file."""
    return tomli_w.dumps(peer_document(routes, login))


def peer_keys(routes: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Its keys in any other store."""
    document = peer_document(routes)
    return _flat("traefik/http", document["http"]) | _flat("jupyterhub", document["jupyterhub"])


def _flat(path: str, value: Any) -> dict[str, str]:
    if isinstance(value, dict):
        return {key: text for name, below in value.items() for key, text in _flat(f"{path}/{name}", below).items()}
    if isinstance(value, list):
        return _flat(path, dict(enumerate(value)))
    return {path: str(value).lower() if isinstance(value, bool) else str(value)}
