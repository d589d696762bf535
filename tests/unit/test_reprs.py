"""No representation of a value shows a secret: error collectors and debuggers show those of all local variables."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

import kvproxy
import kvproxy_consul
import kvproxy_etcd
import kvproxy_file
import kvproxy_redis
from kvproxy.process.launch import environment_for_traefik, launch_spec, secrets_in
from kvproxy.proxy.setup import hub_secret, make_access, make_setup
from kvproxy.routing.encode import encode_setup
from kvproxy_redis import TraefikRedisProxy

MARKER = "hard-to-guess"
PACKAGES = (kvproxy, kvproxy_redis, kvproxy_etcd, kvproxy_consul, kvproxy_file)
#: Names of fields that may hold a secret: those of secrets, and of whatever is written for Traefik or to a store.
HIDES = re.compile(
    r"password|token|secret|key|users|environment|configuration|provider|extra|options|headers|data|body|value"
    r"|config|records|foreign"
)
#: Fields of these names that hold none: names of settings and keys, paths, what a user may see of himself.
PLAIN = {
    ("Dialect", "key"),
    ("Tls", "key"),
    ("Operation", "key"),
    ("Keys", "records"),
    ("Standby", "keys"),
    ("Hub", "secret_from"),
    ("Hub", "secret_problem"),
    ("Hub", "secret_to_come"),
    ("PeerRoutes", "records"),
    ("Hooks", "route_configuration"),
    ("Route", "data_text"),
    ("Wish", "copy_foreign"),
    ("Outcome", "foreign"),
    ("Suspects", "foreign"),
    ("Facts", "provider_error"),
}


def classes() -> Iterator[type]:
    """All data classes of the framework and its backends, but for the tests' own."""
    for package in PACKAGES:
        for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
            if ".testing" in found.name or found.name.endswith(("__main__", "hub_config")):
                continue
            for value in vars(importlib.import_module(found.name)).values():
                if inspect.isclass(value) and dataclasses.is_dataclass(value) and value.__module__ == found.name:
                    yield value


@pytest.mark.parametrize("made", list(classes()), ids=lambda made: f"{made.__module__}.{made.__name__}")
def test_fields_that_may_hold_a_secret_are_not_shown(made: type) -> None:
    """By their names; a new class with such a field must hide it, or say here why it need not."""
    value = object.__new__(made)
    fields = dataclasses.fields(made)  # type: ignore[arg-type]
    for field in fields:
        hides = HIDES.search(field.name) and (made.__name__, field.name) not in PLAIN
        object.__setattr__(value, field.name, {"x": MARKER} if hides else None)
    assert MARKER not in object.__repr__(value) + _shown(value)


def _shown(value: Any) -> str:
    """As the data class itself shows it, whatever it prints as."""
    return str(type(value).__repr__(value))


def test_nothing_that_a_proxy_makes_of_its_settings_shows_them() -> None:
    """From the passwords in the configuration to what Traefik is started with."""
    proxy = TraefikRedisProxy(
        public_url="http://127.0.0.1:8000/",
        redis_url=f"redis://hub:{MARKER}@h:1/0",
        redis_password=MARKER,
        redis_traefik_username="t",
        redis_traefik_password=MARKER,
        traefik_api_password=MARKER,
        traefik_env={"DNS_TOKEN": MARKER},
        extra_static_config={"certificatesResolvers": {"x": {"acme": {"eab": {"hmacEncoded": MARKER}}}}},
        extra_dynamic_config={"http": {"middlewares": {"a": {"basicAuth": {"users": [f"u:{MARKER}"]}}}}},
    )
    proxy.app = type("App", (), {"cookie_secret": MARKER.encode(), "config": proxy.config, "internal_ssl": False})()
    secret = hub_secret(proxy.app)
    access = make_access(proxy, secret)
    settings = proxy.static_settings(proxy.traefik_provider(), (3, 7, 15))
    launch = launch_spec("/bin/traefik", (3, 7, 15), proxy.traefik_env, settings, "t.toml")
    setup = make_setup(proxy, access, secret)
    values = [secret, access, settings, launch, proxy.connection, encode_setup(setup), proxy.open_store(proxy.roots)]
    values += [partial(make_setup, proxy, access, secret), proxy.discovery(access)]
    for value in values:
        assert MARKER not in repr(value)
        assert MARKER not in str(value)
        assert MARKER not in f"{value}"
    assert MARKER in launch.configuration
    assert bytes(secret) == MARKER.encode()


def test_the_hubs_secrets_are_not_traefiks() -> None:
    """Those that JupyterHub and its authenticators read from the environment; Traefik's own stay, and are set again."""
    hub = {
        "JUPYTERHUB_CRYPT_KEY": "x",
        "JPY_COOKIE_SECRET": "x",
        "CONFIGPROXY_AUTH_TOKEN": "x",
        "OAUTH_CLIENT_SECRET": "x",
        "GITHUB_CLIENT_SECRET": "x",
        "LTI13_PRIVATE_KEY": "x",
        "PGPASSWORD": "x",
    }
    traefiks = {
        "PATH": "/bin",
        "LANG": "C",
        "SSL_CERT_DIR": "/certs",
        "CF_DNS_API_TOKEN": "x",
        "AZURE_CLIENT_SECRET": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "HTTPS_PROXY": "http://p",
        "JUPYTERHUB_BASE_URL": "/",
    }
    assert environment_for_traefik(hub | traefiks, {}) == traefiks
    assert secrets_in({"CF_DNS_API_TOKEN": "one", "GOGC": "300", "DB_PASSWORD": "two"}) == ["one", "two"]
    assert environment_for_traefik(hub, {"PGPASSWORD": "wanted"}) == {"PGPASSWORD": "wanted"}
