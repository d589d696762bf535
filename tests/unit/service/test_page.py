"""The page for administrators: what it shows, that all of it is escaped, and that it holds any number of routes."""

from __future__ import annotations

import asyncio
import re
import time
from types import SimpleNamespace
from typing import Any

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from kvproxy.cli.check.findings import error, ok, warning
from kvproxy.cli.routes.compare import RouteStatus, Row, State, StoreState, TraefikState, compare, store_state
from kvproxy.routing.encode import encode_route
from kvproxy.routing.entry import Layout
from kvproxy.routing.route import make_route
from kvproxy.service import source as module
from kvproxy.service.source import Source, first_sight
from kvproxy.service.view import PAGE, Asked, HubSide, Observation, page
from kvproxy.store.base import Snapshot

TRAEFIK = "http://127.0.0.1:8099"


def row(user: str, state: State = State.SERVED, why: str = "", store: str = "") -> Row:
    route = make_route(f"/user/{user}/", "http://127.0.0.1:4001", {"user": user, "server_name": ""})
    return Row(f"name-of-{user}", route, store, {TRAEFIK: RouteStatus(state, why)})


def observed(*rows: Row, hub: HubSide = HubSide(), problem: str = "") -> Observation:  # noqa: B008 - a value
    return Observation(
        "below 'traefik'",
        StoreState({}, 7),
        [TraefikState(TRAEFIK, revision=7, stored=7, version="3.7.15")],
        rows,
        hub,
        problem,
    )


def shown(observation: Observation, asked: Asked = Asked(), findings: Any = ()) -> BeautifulSoup:  # noqa: B008 - a value
    return BeautifulSoup(page(observation, asked, findings, "/services/kvproxy/", "ada"), "html5lib")


def cells(soup: BeautifulSoup) -> list[list[str]]:
    return [[cell.text for cell in line.find_all("td")] for line in soup.select("#routes tbody tr")]


def test_a_route_is_shown_with_who_serves_it_and_when_it_was_used() -> None:
    told = {"/user/ada/": {"data": {"last_activity": "2026-01-02T03:04:05.678Z"}}}
    soup = shown(observed(row("ada"), hub=HubSide(told, {"edits_waiting": 1})))
    assert cells(soup) == [["/user/ada/", "ada", "http://127.0.0.1:4001", "served", "2026-01-02 03:04:05", ""]]
    text = " ".join(soup.text.split())
    assert "1 route in the store. All are served." in text
    assert "1 edit waiting for the store" in text
    assert [cell.text for cell in soup.select("main table")[0].select("td")] == [
        f"1. {TRAEFIK}",
        "3.7.15",
        "has loaded what the store holds",
    ]


def test_a_failed_edit_is_shown_with_its_reason() -> None:
    """By Traefik's reason, and by the hub's list that the store does not match."""
    wanted = HubSide({"/user/ada/": {}, "/user/bob/": {}})
    soup = shown(observed(row("ada", State.REJECTED, "the middleware x does not exist."), hub=wanted))
    (line,) = cells(soup)
    assert line[3:] == ["rejected", "", "the middleware x does not exist."]
    text = " ".join(soup.text.split())
    assert "1 differs" in text
    assert "1 route wanted by the hub and not in the store: /user/bob/" in text
    assert soup.title is not None
    assert soup.title.text.startswith("1 problems: ")


def test_errors_of_check_come_first_and_those_without_a_store_are_told() -> None:
    found = [ok("store", "It answers."), warning("clock", "It is late.", "Set it."), error("store", "It is away.")]
    soup = shown(observed(problem="Redis is away."), findings=found)
    assert [one.text.partition(":")[0] for one in soup.select(".findings li")] == [
        "error, store",
        "warning, clock",
        "store",
    ]
    assert "The store cannot be read: Redis is away." in soup.text
    assert "Looking …" in shown(observed(), findings=None).text


@given(st.text(min_size=1, max_size=60))
def test_no_text_becomes_markup(text: str) -> None:
    """Texts of users, Traefik, the store and URLs stay text."""
    strange = observed(row("ada", State.REJECTED, f"<script>{text}</script>", f"<img src=x>{text}"), problem=text)
    findings = [error(f"<b>{text}", f"<i>{text}", f"<u onclick=x>{text}")]
    soup = shown(strange, Asked(f'"><script>{text}', page=2), findings)
    plain = shown(observed(row("ada")))
    kinds = {tag.name for tag in plain.find_all()} | {"em", "li", "strong", "p", "td"}
    assert {tag.name for tag in soup.find_all()} <= kinds
    assert len(soup.find_all("script")) == 1
    assert not soup.select("[onclick], [style], main script")


@given(st.text(max_size=12), st.text(max_size=3), st.text(max_size=12))
def test_any_query_is_a_page(prefix: str, differing: str, number: str) -> None:
    soup = shown(observed(row("ada")), Asked.of(prefix, differing, number))
    assert len(cells(soup)) == 1


def test_many_routes_are_on_several_pages_with_links() -> None:
    rows = [row(f"user{number:03}") for number in range(2 * PAGE + 1)]
    first, last = shown(observed(*rows)), shown(observed(*rows), Asked(page=9))
    assert (len(cells(first)), len(cells(last))) == (PAGE, 1)
    assert first.select_one("#next")["href"] == "?page=2#routes"
    assert last.select_one("#next") is None
    kept = shown(observed(*rows), Asked("/user/user", page=2))
    assert kept.select_one("#previous")["href"] == "?prefix=%2Fuser%2Fuser&page=1#routes"


def test_the_keyboard_reaches_all_there_is_to_do() -> None:
    soup = shown(observed(*(row(f"user{number}") for number in range(PAGE + 1))))
    reached = [tag.get("id") or tag.get("href") for tag in soup.select("a, input, button, summary, select")]
    assert reached == ["#routes", None, "prefix", "differing", "show", "next"]
    assert not soup.select("[tabindex]")
    assert all(field.find_parent("label") for field in soup.select("input"))


@pytest.mark.endurance
def test_five_thousand_routes_open_well_within_a_second(capsys: pytest.CaptureFixture[str]) -> None:
    """The part of opening the page that grows with the routes, beside the store's answer, and what follows later."""
    entries = {}
    for number in range(5000):
        route = make_route(f"/user/user{number}/", f"http://127.0.0.1:{4000 + number}", {"user": f"user{number}"})
        entries[Layout().names.route(route.key)] = encode_route(route, Layout())
    config = {key: value for entry in entries.values() for key, value in entry.config.items()}
    records = {key: value for entry in entries.values() for key, value in entry.records.items()}
    routers, services = {}, {}
    for name, entry in entries.items():
        rule = entry.config[f"http/routers/{name}/rule"]
        url = entry.config[f"http/services/{name}/loadBalancer/servers/0/url"]
        priority = int(entry.config.get(f"http/routers/{name}/priority", len(rule)))
        routers[name] = {"rule": rule, "service": name, "status": "enabled", "priority": priority}
        services[name] = {"status": "enabled", "loadBalancer": {"servers": [{"url": url}]}}
    opening = []
    for _ in range(3):  # the best counts, as the machine is shared
        start = time.process_time()
        held = store_state(Snapshot(config, records))
        html = page(first_sight("", held), Asked(), None, "/", "ada")
        opened = time.process_time()
        opening.append(opened - start)
    seen = [TraefikState(TRAEFIK, routers, services, held.revision, held.revision, "3.7.15")]
    compared = page(Observation("", held, seen, compare(held, seen, Layout())), Asked(), [], "/", "ada")
    times = f"opens in {min(opening):.2f} s of CPU, compared in {time.process_time() - opened:.2f} s"
    with capsys.disabled():
        print(f"\n5,000 routes: {times}, {len(html) / 1000:.0f} kB")
    assert "<strong>5000 routes</strong> in the store.\nChecking which Traefik serves them …" in html
    assert "<strong>5000 routes</strong> in the store.\nAll are served." in compared
    assert (min(opening) < 0.9, len(html) < 100_000) == (True, True)


async def test_however_many_look_the_hub_is_asked_once_and_nobody_looking_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = {"looks": 0, "hub": 0, "check": 0}
    now = 0.0

    async def look(self: Source) -> Observation:
        asked["looks"] += 1
        return observed(row("ada"))

    async def examine(hub: Any) -> list[Any]:
        asked["check"] += 1
        return []

    monkeypatch.setattr(Source, "_look", look)
    monkeypatch.setattr(module, "examine", examine)
    source = Source(SimpleNamespace(), SimpleNamespace(), lambda: now)  # type: ignore[arg-type]
    assert asked == {"looks": 0, "hub": 0, "check": 0}
    await asyncio.gather(*(source.observation() for _ in range(20)))
    assert await source.findings() is None
    while await source.findings() is None:
        await asyncio.sleep(0)
    assert asked == {"looks": 1, "hub": 0, "check": 1}
    now = 10.0
    await source.observation()
    await source.findings()
    assert asked == {"looks": 2, "hub": 0, "check": 1}
    assert len(asyncio.all_tasks()) == 1
    await source.aclose()


def test_the_script_makes_no_markup_of_its_own() -> None:
    """All content comes escaped from the service; the script only exchanges it."""
    script = (module.__file__.rsplit("/", 1)[0]) + "/assets/page.js"
    with open(script, encoding="utf-8") as file:
        assert not re.search("innerHTML|outerHTML|insertAdjacentHTML|document.write|eval", file.read())
