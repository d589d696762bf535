"""Findings of `kvproxy check`, as values."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import trustme
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import NameOID

from kvproxy.cli.check import certificates, findings
from kvproxy.cli.check import cmd as check
from kvproxy.cli.check.findings import Finding, Level
from kvproxy.cli.routes.compare import RouteStatus, Row, State, StoreState, TraefikState, store_state
from kvproxy.routing.encode import encode_route
from kvproxy.routing.entry import Entry, Layout
from kvproxy.routing.names import ALONE, Names
from kvproxy.routing.route import make_route
from kvproxy.store import Snapshot
from kvproxy.traefik.setup.certificate import placeholder_certificate

NOW = datetime(2030, 1, 15, tzinfo=timezone.utc)
ROUTE = make_route("/user/ada/", "http://127.0.0.1:1", {})
NAME = ALONE.route(ROUTE.key)
HELD = StoreState({NAME: encode_route(ROUTE, Layout())}, 7)
PEERS = json.loads(Path(__file__).parents[2].joinpath("data/jupyterhub-traefik-proxy-2.1.0.json").read_text())


def levels(found: list[Finding]) -> list[str]:
    return [one.level.value for one in found]


def test_the_exit_status_is_for_scripts() -> None:
    """Warnings count only if they are to."""
    fine, odd, bad = findings.ok("a", "b"), findings.warning("a", "b"), findings.error("a", "b")
    assert [findings.exit_status(found, False) for found in ([], [fine], [fine, odd], [fine, bad])] == [0, 0, 0, 1]
    assert [findings.exit_status(found, True) for found in ([], [fine], [fine, odd], [fine, bad])] == [0, 0, 1, 1]


def test_contents_of_a_store() -> None:
    """Routes, unreadable records, the peer's keys, and foreign ones."""
    assert [one.said for one in findings.contents(HELD)] == ["It holds 1 route."]
    odd = replace(HELD, entries={**HELD.entries, "x-kvp": Entry("x-kvp", {"http/routers/x-kvp/rule": "1"}, {})})
    assert "keys of 1 route without a readable record: 'x-kvp'" in findings.contents(odd)[1].said
    peers = {key.removeprefix("traefik/"): value for key, value in PEERS.items() if key.startswith("traefik/")}
    [_, left, others] = findings.contents(
        replace(HELD, foreign={**peers, "http/routers/mine/rule": "x"}), "kvproxy migrate --now"
    )
    assert left.level is Level.WARNING
    assert f"{len(peers)} keys of jupyterhub-traefik-proxy" in left.said
    assert left.advice == "Stop the hub, run: kvproxy migrate --now, and start it again."
    assert others.said == "It holds 1 key that kvproxy leaves alone: 'http/routers/mine/rule'."
    assert others.level is Level.OK


def test_records_of_the_peer_are_no_broken_ones() -> None:
    """A store that keeps a key a record shows them beside the hub's."""
    records = {"router__2Fuser_2Fada_2F/target": "http://127.0.0.1:1"}
    assert levels(findings.contents(store_state(Snapshot({}, records)))) == ["ok"]


def test_other_hubs_and_what_was_set_aside_are_told_of() -> None:
    """Neither is this hub's to remove."""
    odd = StoreState({}, 7, {"http/routers/abcdefghij234567-kvp-other/rule": "x"}, quarantined=("/user/eve/",))
    _, aside, others = findings.contents(odd)
    assert (aside.level, aside.said) == (
        Level.WARNING,
        "A hub has set aside 1 record that it could not read: '/user/eve/'.",
    )
    assert others == findings.ok("store contents", "It holds 1 key of other hubs.")


def test_a_key_that_traefik_cannot_decode_is_named() -> None:
    """If it can be told which it is."""
    [stuck] = findings.revisions(replace(HELD, foreign={Names("b").hold_key: "true"}), [TraefikState("b", revision=6)])
    assert "'http/kvproxy-is-writing-b'" in stuck.advice
    [lags] = findings.revisions(replace(HELD, foreign={"http/routers/mine/rool": "x"}), [TraefikState("b", revision=6)])
    assert "'http/routers/mine/rool'" in lags.advice


def test_notifications_matter_where_there_are_many_routes() -> None:
    """As in the hub's log."""
    assert findings.notifications(False, "Do it.", 1000).level is Level.OK
    assert findings.notifications(True, "Do it.", 2).level is Level.OK
    assert findings.notifications(True, "Do it.", 1000) == findings.warning(
        "notifications",
        "The store notifies Traefik per key of a change, and each time Traefik reads all routes again.",
        "Do it.",
    )


def test_clocks_that_differ_are_named() -> None:
    """By how much, and in which direction; who does not tell is passed over."""
    assert findings.clocks({"Redis": 0.4, "Traefik": None}) == [
        findings.ok("clock", "This machine's agrees with that of Redis.")
    ]
    assert findings.clocks({"Traefik": None}) == []
    [ahead, behind] = findings.clocks({"Redis": 61.2, "Traefik": -3600.0, "fine": 1.0})
    assert ahead.said == "The clock of Redis is 61 s ahead of this machine's."
    assert behind.said == "The clock of Traefik is 3600 s behind this machine's."


def test_versions_of_traefik() -> None:
    """Too old ones, those that cannot have a tree, and different ones."""
    assert levels(
        findings.versions([TraefikState("a", version="3.7.1"), TraefikState("b", version="3.7.1")], "tree")
    ) == ["ok", "ok"]
    assert levels(findings.versions([TraefikState("a", version="2.11.0")], "auto")) == ["error"]
    [refused] = findings.versions([TraefikState("a", version="3.5.0")], "tree")
    assert "needs Traefik 3.6" in refused.said
    assert (
        levels(findings.versions([TraefikState("a", version="3.7.1"), TraefikState("b", version="3.7.2")], "auto"))[-1]
        == "warning"
    )


def test_a_traefik_that_does_not_route_reserved_characters_is_a_fault_once_a_route_has_one() -> None:
    """Most hubs' users have plain names, for which an old Traefik is good enough even by `--strict`."""
    plain, reserved = ROUTE, make_route("/user/a%23b/", "http://127.0.0.1:1", {})
    assert findings.reserved_names("one", (3, 4, 1), [plain, reserved]) == []
    for version in ((3, 0, 0), (3, 4, 0)):
        [told] = findings.reserved_names("one", version, [plain])
        [fault] = findings.reserved_names("one", version, [plain, reserved])
        assert (told.level, fault.level) == (Level.OK, Level.WARNING)
        assert "'/user/a%23b/'" in fault.said
        for finding in (told, fault):
            assert finding.said.endswith("; update Traefik to 3.4.1 or newer.")
        assert fault.as_dict()["advice"] == "Update Traefik to 3.4.1 or newer."


def test_entry_points_that_are_missing_name_the_setting() -> None:
    """With the one that is there, where it listens."""
    wanted = {"traefik_entrypoint": "https", "traefik_api_entrypoint": "api"}
    [there, missing] = findings.entry_points("one", wanted, {"https": {"address": ":443"}})
    assert there == findings.ok("entry points", "one has 'https', which listens on :443.")
    assert missing.level is Level.ERROR
    assert "c.TraefikProxy.traefik_api_entrypoint" in missing.advice


def test_revisions_tell_which_replica_lags() -> None:
    """Or reads another store."""
    seen = [TraefikState("a", revision=7), TraefikState("b", revision=6), TraefikState("c", revision=None)]
    assert levels(findings.revisions(HELD, seen)) == ["ok", "error", "error"]
    assert levels(findings.revisions(replace(HELD, revision=None), seen)) == ["ok"]


@pytest.mark.parametrize("state", [State.PENDING, State.REJECTED, State.LEFT_OVER, State.UNKNOWN])
def test_routes_that_are_not_served_are_counted(state: State) -> None:
    """And `kvproxy routes` shows which they are."""
    fine = Row("a", ROUTE, "", {"one": RouteStatus(State.SERVED)})
    wrong = Row("b", ROUTE, "", {"one": RouteStatus(state)})
    [finding] = findings.served([fine, wrong], [TraefikState("one")])
    assert (finding.level, finding.said) == (Level.ERROR, "one does not serve 1 route as the store has it.")
    assert findings.served([fine, fine], [TraefikState("one")])[0].said == "one serves 2 routes, all that there are."
    assert levels(findings.served([replace(fine, store="odd")], [TraefikState("one")])) == ["ok", "warning"]


def test_an_open_api_is_told_of() -> None:
    """It tells strangers where everybody's server is."""
    assert findings.open_api("It", False) == []
    assert levels(findings.open_api("It", True)) == ["warning"]


# -- certificates


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """An authority that issues certificates."""
    return trustme.CA()


def made(common_name: str, begin: datetime, end: datetime, *names: str, ca: bool = False) -> tuple[bytes, bytes]:
    """A certificate and its key, PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(begin).not_valid_after(end)
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(one) for one in names]), False)
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(True, None), True)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM), private


YEAR = timedelta(days=365)
GOOD = made("hub", NOW - YEAR, NOW + YEAR, "hub.example.org", "*.hub.example.org")


def der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def test_a_good_certificate_is_good() -> None:
    """With its name, or one below it."""
    for host in ("", "hub.example.org", "ada.hub.example.org", "HUB.example.org"):
        assert [one.said for one in certificates.pair(*GOOD, host, NOW)] == ["ssl_cert is valid until 2031-01-15."]


@pytest.mark.parametrize("host", ["example.org", "a.b.hub.example.org", "hub.example.com"])
def test_a_certificate_for_others_is_told_of(host: str) -> None:
    """With the names that it is for."""
    [_, wrong] = certificates.pair(*GOOD, host, NOW)
    assert wrong.said == f"ssl_cert is not for {host}, but for hub.example.org, *.hub.example.org."
    assert wrong.level is Level.ERROR


@pytest.mark.parametrize(
    ("begin", "end", "level", "said"),
    [
        (-YEAR, -timedelta(days=1), "error", "expired on 2030-01-14"),
        (timedelta(days=1), YEAR, "error", "not valid before 2030-01-16"),
        (-YEAR, timedelta(days=7), "warning", "expires on 2030-01-22"),
    ],
)
def test_times_of_a_certificate(begin: timedelta, end: timedelta, level: str, said: str) -> None:
    """Not yet, no more, not for long."""
    [finding] = certificates.pair(*made("hub", NOW + begin, NOW + end), "", NOW)
    assert finding.level.value == level
    assert said in finding.said


def test_files_for_the_store_are_as_good_as_the_certificate_that_counts() -> None:
    """A client's own, the newest authority of a bundle; nothing is said of a key, or of what will do for long."""
    old = made("hub", NOW - YEAR, NOW + timedelta(days=7))
    assert certificates.of_store("/f", old[1], NOW) == certificates.of_store("/f", GOOD[0], NOW) == []
    [soon] = certificates.of_store("/f", old[0], NOW)
    assert (soon.level.value, soon.said) == ("warning", "/f expires on 2030-01-22.")
    [ended, good] = (made("authority", NOW - YEAR, NOW + end, ca=True)[0] for end in (timedelta(days=-1), YEAR))
    assert certificates.of_store("/f", ended + good, NOW) == certificates.of_store("/f", good + ended, NOW) == []
    assert levels(certificates.of_store("/f", ended, NOW)) == ["error"]
    assert levels(certificates.of_store("/f", old[0] + good, NOW)) == ["warning"]


def test_pairs_that_cannot_work() -> None:
    """Before Traefik finds out, which says so in its log only."""
    other = made("hub", NOW - YEAR, NOW + YEAR)
    key = load_pem_private_key(GOOD[1], None)
    encrypted = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"pw"))
    said = [
        certificates.pair(cert, key, "", NOW)[0].said
        for cert, key in [(GOOD[0], other[1]), (b"", GOOD[1]), (GOOD[0], b"x"), (GOOD[0], encrypted)]
    ]
    assert said == [
        "ssl_key is not the key of ssl_cert.",
        "ssl_cert holds no certificate that can be read.",
        "ssl_key holds no private key that can be read.",
        "ssl_key is encrypted.",
    ]


def test_the_certificate_shown_to_users_is_checked() -> None:
    """The configured one, another one, or a stand-in."""
    other = made("hub", NOW - YEAR, NOW + YEAR)
    assert levels(certificates.served("h:1", der(GOOD[0]), GOOD[0], "", NOW)) == ["ok"]
    assert levels(certificates.served("h:1", der(GOOD[0]), None, "elsewhere", NOW)) == ["ok", "error"]
    [renewed] = certificates.served("h:1", der(GOOD[0]), other[0], "", NOW)
    assert renewed.said == "h:1 serves a different certificate than ssl_cert."
    stand_in = placeholder_certificate(b"0" * 32)[0].encode()
    assert "a placeholder certificate" in certificates.served("h:1", der(stand_in), None, "", NOW)[0].said


def test_certificates_of_a_real_authority(authority: trustme.CA) -> None:
    """A chain, and an address as a name."""
    leaf = authority.issue_cert("127.0.0.1")
    chain = b"".join(blob.bytes() for blob in leaf.cert_chain_pems)
    now = datetime.now(timezone.utc)
    assert levels(certificates.pair(chain, leaf.private_key_pem.bytes(), "127.0.0.1", now)) == ["ok"]


# -- the report


def test_the_report_is_a_line_each_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """Level, what it is about, what was found, what to do; the status tells scripts."""

    async def examine(_: object) -> list[Finding]:
        return [findings.ok("store", "It answers."), findings.warning("clock", "It is late.", "Set it.")]

    monkeypatch.setattr("kvproxy.cli.check.run.examine", examine)
    monkeypatch.setattr("kvproxy.cli.hub.config.load_hub", lambda *_: None)
    said = CliRunner().invoke(check.command, [])
    assert said.output == "ok      store: It answers.\nwarning clock: It is late. Set it.\n"
    assert said.exit_code == 0
    assert CliRunner().invoke(check.command, ["--strict"]).exit_code == 1
    report = json.loads(CliRunner().invoke(check.command, ["--strict", "--json"]).output)
    assert report["ok"] is False
    assert report["findings"][1] == {"level": "warning", "about": "clock", "said": "It is late.", "advice": "Set it."}


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("Redis refuses the credentials; check redis_password.", "Check redis_password."),
        ("It keeps nothing on disk; set 'save 60 1'.", "Set 'save 60 1'."),
        (
            "It answers without a login. Give it a password (docs/how-to/redis.md).",
            "Give it a password (docs/how-to/redis.md).",
        ),
        ("Config option `x` not recognized. Did you mean one of: `y`?", "Did you mean one of: `y`?"),
        ("It cannot be reached.", ""),
    ],
)
def test_advice_in_json_is_where_programs_look_for_it(said: str, advice: str) -> None:
    """Also where the hub says it in one sentence with what is wrong."""
    assert findings.error("store", said).as_dict()["advice"] == advice
    assert findings.ok("store", said).as_dict()["advice"] == ""
    assert findings.error("store", said, "Do it.").as_dict()["advice"] == "Do it."
