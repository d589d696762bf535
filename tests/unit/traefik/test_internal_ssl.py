"""From JupyterHub's internal certificates to what Traefik reads."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kvproxy.cli.check.store import examine_store
from kvproxy.errors import ConfigurationError
from kvproxy.proxy.setup import hub_secret, make_access, make_setup
from kvproxy.routing.encode import encode_route
from kvproxy.routing.entry import Entry, Layout
from kvproxy.routing.flatten import flatten
from kvproxy.routing.names import ALONE
from kvproxy.routing.route import make_route
from kvproxy.testing.memory import MemoryStore
from kvproxy.traefik.readiness import Pending, Ready, judge
from kvproxy.traefik.setup.internal_ssl import read_identity, servers_transport, transport_name
from kvproxy_redis import TraefikRedisProxy

HTTPS = make_route("/user/ada/", "https://127.0.0.1:1", {})
HTTP = make_route("/user/bob/", "http://127.0.0.1:1", {})
#: Keys of a serversTransport below a root.
TRANSPORT = ALONE.transport
PREFIX = f"http/serversTransports/{TRANSPORT}/"


@pytest.fixture
def app(tmp_path: Path) -> SimpleNamespace:
    """The settings of a JupyterHub with ``internal_ssl`` about its files."""
    for name in ("ca.crt", "client.crt", "client.key"):
        (tmp_path / name).write_text(f"contents of {name}\n")
    pair = {"keyfile": str(tmp_path / "client.key"), "certfile": str(tmp_path / "client.crt"), "cafile": "unused"}
    return SimpleNamespace(
        internal_ssl=True,
        cookie_secret=b"0" * 32,
        internal_proxy_certs={"proxy-client": pair},
        internal_trust_bundles={"proxy-client-ca": str(tmp_path / "ca.crt")},
    )


def setup_of(app: SimpleNamespace, **traits: Any) -> dict[str, str]:
    """The keys of the serversTransport that a proxy sets up."""
    proxy = TraefikRedisProxy(public_url="http://127.0.0.1:8000", **traits)
    proxy.app = app
    secret = hub_secret(proxy.app)
    keys = flatten(make_setup(proxy, make_access(proxy, secret), secret))
    return {key.removeprefix(PREFIX): value for key, value in keys.items() if key.startswith(PREFIX)}


def test_the_key_of_a_traefik_that_the_hub_starts_stays_in_its_file(app: SimpleNamespace, tmp_path: Path) -> None:
    """Only what is public is in the store."""
    assert setup_of(app) == {
        "rootCAs/0": "contents of ca.crt\n",
        "certificates/0/certFile": "contents of client.crt\n",
        "certificates/0/keyFile": str(tmp_path / "client.key"),
        "maxIdleConnsPerHost": "200",
    }


def test_another_traefik_gets_the_key_itself(app: SimpleNamespace) -> None:
    """It may be on another machine."""
    assert setup_of(app, should_start=False)["certificates/0/keyFile"] == "contents of client.key\n"


def test_a_path_holds_wherever_traefik_runs(app: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """``internal_certs_location`` is relative to the hub's directory unless it is set."""
    pair = app.internal_proxy_certs["proxy-client"]
    monkeypatch.chdir(Path(pair["keyfile"]).parent)
    absolute, pair["keyfile"] = pair["keyfile"], "client.key"
    assert read_identity(app, key_as_text=False).key == absolute


def test_new_certificates_under_old_paths_are_another_configuration(app: SimpleNamespace, tmp_path: Path) -> None:
    """Else a Traefik that outlives the hub would go on with the old ones."""
    before = servers_transport(read_identity(app, key_as_text=False))
    assert servers_transport(read_identity(app, key_as_text=False)) == before
    for name in ("ca.crt", "client.crt"):
        (tmp_path / name).write_text("new")
        after = servers_transport(read_identity(app, key_as_text=False))
        assert after != before
        before = after


@pytest.mark.parametrize("content", [None, b"\xff"])
def test_an_unreadable_certificate_is_named(app: SimpleNamespace, tmp_path: Path, content: bytes | None) -> None:
    """With what can be done."""
    file = tmp_path / "ca.crt"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigurationError, match=re.escape(str(file)) + ".*recreate_internal_certs"):
        read_identity(app, key_as_text=False)


def test_extra_dynamic_config_wins(app: SimpleNamespace) -> None:
    """As over everything else."""
    extra = {"http": {"serversTransports": {TRANSPORT: {"serverName": "hub.internal", "maxIdleConnsPerHost": 7}}}}
    keys = setup_of(app, extra_dynamic_config=extra)
    assert keys["serverName"] == "hub.internal"
    assert keys["maxIdleConnsPerHost"] == "7"
    assert keys["rootCAs/0"] == "contents of ca.crt\n"


def test_a_transport_of_ones_own_is_kept(app: SimpleNamespace) -> None:
    """Nor is anything read."""
    app.internal_proxy_certs.clear()
    assert setup_of(app, should_start=False, traefik_servers_transport="internal@file") == {}


def test_without_internal_ssl_there_is_none(app: SimpleNamespace) -> None:
    """Today's behaviour."""
    app.internal_ssl = False
    assert setup_of(app) == {}


@pytest.mark.parametrize(
    ("internal_ssl", "own", "set_up", "name"),
    [
        (False, "", True, ""),
        (False, "", False, ""),
        (False, "mine@file", False, "mine@file"),
        (True, "", True, TRANSPORT),
        (True, "mine@file", True, "mine@file"),
        (True, "mine@file", False, "mine@file"),
    ],
)
def test_which_transport(internal_ssl: bool, own: str, set_up: bool, name: str) -> None:
    """The administrator's own, ours, or none."""
    assert transport_name(internal_ssl=internal_ssl, own=own, set_up=set_up) == name


def test_a_missing_transport_is_refused() -> None:
    """Every server would be behind a closed door."""
    with pytest.raises(ConfigurationError, match="traefik_servers_transport"):
        transport_name(internal_ssl=True, own="", set_up=False)


@pytest.mark.parametrize("name", [TRANSPORT, "mine@file"])
def test_https_servers_name_the_transport_in_one_key_and_others_do_not(name: str) -> None:
    """A plain server has nothing to do with certificates."""
    layout = Layout(transport=name)
    key = f"http/services/{ALONE.route(HTTPS.key)}/loadBalancer/serversTransport"
    assert dict(encode_route(HTTPS, layout).config) == {**encode_route(HTTPS, Layout()).config, key: name}
    assert encode_route(HTTP, layout) == encode_route(HTTP, Layout())


def verdict(entry: Entry, shown: str | None) -> Any:
    """On a route of which Traefik shows all that is wanted, and this serversTransport."""
    name = ALONE.route(HTTPS.key)
    router = {"rule": entry.config[f"http/routers/{name}/rule"], "service": name, "status": "enabled"}
    service: dict[str, Any] = {"loadBalancer": {"servers": [{"url": HTTPS.target}]}, "status": "enabled"}
    if shown is not None:
        service["loadBalancer"]["serversTransport"] = shown
    return judge(entry, router, service)


@pytest.mark.parametrize(
    ("wanted", "shown", "ready"),
    [
        ("", None, True),
        ("", f"{TRANSPORT}@redis", False),
        (TRANSPORT, TRANSPORT, True),
        (TRANSPORT, f"{TRANSPORT}@redis", True),
        (TRANSPORT, None, False),
        (TRANSPORT, "other@redis", False),
        ("mine@file", "mine@file", True),
        ("mine@file", "mine@redis", False),
    ],
)
def test_a_service_without_the_right_transport_is_not_ready(wanted: str, shown: str | None, ready: bool) -> None:
    """Its server would refuse what Traefik sends, or be trusted unseen."""
    seen = verdict(encode_route(HTTPS, Layout(transport=wanted)), shown)
    assert isinstance(seen, Ready if ready else Pending)


class ReadableOnTheWay(MemoryStore):
    """A store on another machine that is reached without TLS."""

    def in_clear_text(self) -> list[str]:
        """See :meth:`kvproxy.store.base.Store.in_clear_text`."""
        return ["It is reached without TLS."]


@pytest.mark.parametrize(
    ("store", "traits", "named"),
    [
        (ReadableOnTheWay, {"should_start": False}, True),
        (ReadableOnTheWay, {"should_start": True}, False),
        (ReadableOnTheWay, {"should_start": False, "traefik_servers_transport": "internal@file"}, False),
        (MemoryStore, {"should_start": False}, False),
    ],
)
async def test_a_key_that_passes_the_network_in_clear_text_is_named(
    store: type[MemoryStore], traits: dict[str, Any], named: bool, app: SimpleNamespace
) -> None:
    """By `kvproxy check`; not where the key stays in its file, or the way is closed."""
    proxy = TraefikRedisProxy(public_url="http://127.0.0.1:8000", **traits)
    proxy.app = app
    findings, _ = await examine_store(SimpleNamespace(proxy=proxy), store())
    assert any("private key" in finding.said for finding in findings) == named
