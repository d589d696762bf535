"""The names of several hubs on one Traefik, and the host that a hub's routes are for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvproxy.errors import ConfigurationError
from kvproxy.routing.decode import parse_snapshot, route_of
from kvproxy.routing.encode import encode_route, encode_setup
from kvproxy.routing.entry import Entry, Layout
from kvproxy.routing.names import ALONE, Names, check_hub_id, is_hold, is_kvproxys
from kvproxy.routing.route import Route, make_route
from kvproxy.traefik.static_config import setup_configuration

from ..strategies import routes

HUBS = [ALONE, Names("a"), Names("b"), Names("a-b"), Names("team-7")]


@given(st.lists(routes(), max_size=4, unique_by=lambda route: route.key))
def test_no_hub_takes_anothers_keys_for_its_own(table: list[Route]) -> None:
    """With any routes: each finds just its own, and it is clear that the rest is kvproxy's."""
    layouts = {names: Layout(names=names) for names in HUBS}
    entries = {names: [encode_route(route, layout) for route in table] for names, layout in layouts.items()}
    config = {key: value for ours in entries.values() for entry in ours for key, value in entry.config.items()}
    assert len(config) == sum(len(entry.config) for ours in entries.values() for entry in ours)
    for names in HUBS:
        records = {key: value for entry in entries[names] for key, value in entry.records.items()}
        found = parse_snapshot(config, records, {}, names)
        assert {name: route_of(entry) for name, entry in found.items()} == {
            names.route(route.key): route for route in table
        }
    assert all(map(is_kvproxys, config))
    assert not any(map(is_hold, config))
    assert all(is_hold(names.hold_key) and is_kvproxys(names.hold_key) for names in HUBS)


def test_each_hub_has_a_router_of_its_own_for_traefiks_api() -> None:
    """Told by a header, so that each comes in with its own token; none sets a default certificate for all."""
    setups = [
        encode_setup(
            setup_configuration(
                api_url="http://t:1", api_entry_point="api", api_users=["x:y"], certificate=None, extra={}, names=names
            )
        )
        for names in HUBS
    ]
    keys = [key for setup in setups for key in setup.config]
    assert len(keys) == len(set(keys))
    rules = [value for setup in setups for key, value in setup.config.items() if key.endswith("/rule")]
    assert len(set(rules)) == len(HUBS)


def test_a_hub_with_a_host_answers_to_no_other() -> None:
    """Routes that have a host keep it."""
    layout = Layout(host="hub.example.org")

    def rule(spec: str) -> str:
        entry: Entry = encode_route(make_route(spec, "http://127.0.0.1:1", {}), layout)
        return next(value for key, value in entry.config.items() if key.endswith("/rule"))

    assert rule("/user/ada/").startswith('Host("hub.example.org") && ')
    assert rule("ada.example.org/x/").startswith('Host("ada.example.org") && ')


@given(st.text())
def test_an_id_makes_good_names_or_is_refused(hub: str) -> None:
    """Nothing in it can be taken for another part of a key."""
    try:
        names = Names(check_hub_id(hub))
    except ConfigurationError:
        return
    assert names.owner(f"http/routers/{names.route('/x/')}/rule") == names.route("/x/")
    assert names.revision_key.count("/") == ALONE.revision_key.count("/")


@pytest.mark.parametrize("hub", ["A", "a b", "a/b", "-a", "a-", "a--b", "routes", "hub", "é", "a" * 41, "a.b"])
def test_invalid_hub_ids_are_refused(hub: str) -> None:
    """It says what is."""
    with pytest.raises(ConfigurationError, match="hub_id"):
        check_hub_id(hub)
