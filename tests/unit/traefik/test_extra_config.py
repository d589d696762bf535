"""``extra_dynamic_config``: every accepted configuration means in a store what it means in a file."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvproxy.errors import ConfigurationError
from kvproxy.routing.flatten import flatten
from kvproxy.store import Operation, Space
from kvproxy.traefik.features import Features
from kvproxy.traefik.schema import DYNAMIC, Entries, Fields, Kind
from kvproxy.traefik.setup.extra_config import checked_dynamic_config, without_unset
from kvproxy.traefik.static_config import deep_merge
from kvproxy.traefik.validation import Reader, fold
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_file import TraefikFileProviderProxy
from kvproxy_file.document import Document
from kvproxy_file.formats import format_of
from kvproxy_redis import TraefikRedisProxy

from ..kv_reader import meant, read_document, read_keys

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

REDIS, ETCD, FILE = Reader(), Reader(drops_empty=False), Reader(drops_empty=False, nested=True)
WORDS = st.sampled_from(["x", "a b", "/p:`'\"", "{{ x }}", "é", "true", "0", "[0]", "-"])
ODD_WORDS = WORDS | st.sampled_from(["", "a,b", " x ", "\n", ",", " "])
NAMES = st.sampled_from(["a", "b-1", "c.d", "X-A", "1x"])
ODD_NAMES = NAMES | st.sampled_from(["[x]", "A", "12", "a/b", "", "ſ", "K", "\u212a", "x-a"])


WRONG: st.SearchStrategy[Any] = st.sampled_from([None, "", 1.5, [], {}, b"x", 2**70, True, ["a,b"]])
SIMPLE: Mapping[str, st.SearchStrategy[Any]] = {
    "whole": st.integers(-9, 99) | st.just("7"),
    "flag": st.booleans() | st.just("true"),
    "time": st.sampled_from(["10s", "1m30s", 5]),
    "statuses": st.dictionaries(st.sampled_from(["418", "500-599", 404]), st.integers(200, 599), min_size=1),
}
CHANCE = st.integers(0, 19)
COUNT = st.sampled_from([1, 1, 2, 11, 12])
FEW = st.sampled_from([1, 1, 2])


@st.composite
def configurations(draw: st.DrawFn, odd: bool = False) -> dict[str, Any]:
    """Whole configurations; in odd ones anything may be wrong, so that they may be refused."""
    words, names = (ODD_WORDS, ODD_NAMES) if odd else (WORDS, NAMES)

    def entries(kind: Kind) -> dict[str, Any]:
        return {draw(names): value(kind) for _ in range(draw(FEW))}

    def fields(kind: Fields) -> dict[str, Any]:
        known = list(kind.known)
        count = draw(FEW) if known and not (kind.may_be_empty and draw(CHANCE) > 15) else 0
        chosen = [known[draw(st.integers(0, len(known) - 1))] for _ in range(count)]
        return {name.upper() if odd and draw(CHANCE) == 9 else name: value(kind.known[name]) for name in chosen}

    def raw(depth: int) -> Any:
        if (choice := draw(CHANCE)) < 8 or depth > 2:
            return draw(words)
        if choice < 14:
            return {draw(names): raw(depth + 1) for _ in range(draw(FEW))}
        return [{draw(names): raw(depth + 1)} if choice < 17 else draw(words) for _ in range(draw(COUNT))]

    def value(kind: Kind) -> Any:
        if odd and draw(CHANCE) == 7:
            return draw(WRONG)
        if isinstance(kind, Fields):
            return fields(kind)
        if isinstance(kind, Entries):
            return entries(kind.kind)
        if isinstance(kind, tuple):
            return [fields(kind[0]) for _ in range(draw(COUNT))]
        if kind == "names":
            return entries("text")
        if kind == "texts":
            return [draw(words) for _ in range(draw(COUNT))]
        if kind == "any":
            return {draw(names): raw(0) for _ in range(draw(FEW))}
        return draw(words | st.integers(0, 9) if kind == "text" else SIMPLE[kind])

    return fields(DYNAMIC)


def accepted(extra: Any, reader: Reader) -> dict[str, Any] | None:
    """The checked configuration, None if it is refused, in one sentence that names the setting."""
    try:
        return checked_dynamic_config(extra, reader)
    except ConfigurationError as error:
        said = str(error)
    assert re.match(r"c\.TraefikProxy\.extra_dynamic_config has (http|tcp|udp|tls|sections with)", said)
    return None


@pytest.mark.parametrize("reader", [REDIS, ETCD])
@given(extra=configurations() | configurations(odd=True))
def test_a_store_gives_back_the_meaning_in_a_file_or_it_is_refused(reader: Reader, extra: Any) -> None:
    """Of every section and kind, whatever the names and values are."""
    if (found := accepted(extra, reader)) is not None:
        keys = flatten(without_unset(found))
        assert read_keys(keys, DYNAMIC, drops_empty=reader.drops_empty) == (meant(extra, DYNAMIC, lists=False) or {})


@given(extra=configurations() | configurations(odd=True))
def test_the_file_backend_keeps_what_is_not_refused(extra: Any) -> None:
    """Empty values, and items with commas, too."""
    if (found := accepted(extra, FILE)) is not None:
        document = Document({}, {}, format_of("rules.toml"))
        document.apply(Operation(Space.CONFIG, key, value) for key, value in flatten(without_unset(found)).items())
        read = tomllib.loads(document.text())
        assert read_document(read, DYNAMIC) == (meant(extra, DYNAMIC, lists=True) or {})


@pytest.mark.parametrize("reader", [REDIS, ETCD, FILE])
@given(extra=configurations())
def test_a_plain_configuration_is_accepted(reader: Reader, extra: Any) -> None:
    """Every field of every section, for every store."""
    if reader.nested or not _has_empty_of_files(extra, DYNAMIC):
        checked_dynamic_config(extra, reader)


def _has_empty_of_files(value: Any, kind: Kind) -> bool:
    if isinstance(kind, Fields):
        nothing = kind.empty_in_files and all(item in (None, []) for item in value.values())
        return nothing or any(_has_empty_of_files(item, kind.known[name]) for name, item in value.items())
    if isinstance(kind, Entries):
        return any(_has_empty_of_files(item, kind.kind) for item in value.values())
    return False


def middleware(**kinds: Any) -> dict[str, Any]:
    """A configuration with one middleware."""
    return {"http": {"middlewares": {"a": kinds}}}


REFUSED: Mapping[str, Any] = {
    "http.middlewares.a.headers.customRequestHeader, which Traefik does not know there (is customRequestHeaders "
    "meant?)": middleware(headers={"customRequestHeader": {"X-A": "b"}}),
    "http.middlewares.a.headers.customResponseHeaders.Server that is empty; Traefik reads no empty values from a "
    "store; leave it out, or put what needs it into a file for Traefik's file provider": middleware(
        headers={"customResponseHeaders": {"Server": ""}}
    ),
    "http.middlewares.a.headers.accessControlAllowOriginListRegex[0] with a comma, which Traefik would take for the "
    "end of an item; leave it out, or": middleware(headers={"accessControlAllowOriginListRegex": ["a{1,3}"]}),
    "http.middlewares with the name '12', which cannot be a part of a key: Traefik takes digits only for a place in a "
    "list; give it a letter": {"http": {"middlewares": {"12": {"compress": {}}}}},
    "http.middlewares with the name 12, which cannot be a part of a key; it has to be a text": {
        "http": {"middlewares": {12: {"compress": {}}}}
    },
    "http.middlewares with the name 'a/b', which cannot be a part of a key, as it holds a '/'": {
        "http": {"middlewares": {"a/b": {"compress": {}}}}
    },
    "a section with the name 'a/b', which cannot be a part of a key, as it holds a '/'": {"a/b": {}},
    "sections with names that differ in upper and lower case only, which Traefik takes for one": {
        "http": {"routers": {"r": {"service": "s"}}},
        "HTTP": {"routers": {"r": {"service": "s"}}},
    },
    "http.services with names that differ in upper and lower case only, which Traefik takes for one": {
        "http": {"services": {"one": {"loadBalancer": {}}, "One": {"loadBalancer": {}}}}
    },
    "http.router, which Traefik does not know there (is routers meant?)": {"http": {"router": {}}},
    "grpc, which Traefik does not know there (it knows http, tcp, udp, tls)": {"grpc": {}},
    "http.routers.r.priority that is not a whole number": {"http": {"routers": {"r": {"priority": "high"}}}},
    "http.routers.r.entryPoints that is not a list but of type str": {
        "http": {"routers": {"r": {"entryPoints": "web"}}}
    },
    "http.routers.r.tls that is not a mapping but of type bool; {} stands for one without any field": {
        "http": {"routers": {"r": {"tls": True}}}
    },
    "tcp.services.s.loadBalancer.terminationDelay that is not a whole number": {
        "tcp": {"services": {"s": {"loadBalancer": {"terminationDelay": 2**63}}}}
    },
    "http.services.s.failover.healthCheck with nothing in it, which Traefik takes from a file only; leave it out, or": {
        "http": {"services": {"s": {"failover": {"service": "a", "healthCheck": {}}}}}
    },
    "http.middlewares with nothing in it": {"http": {"middlewares": {}}},
    "tls.certificates[1] with nothing in it": {"tls": {"certificates": [{"certFile": "a"}, {"certFile": None}]}},
    "http.middlewares.a.plugin.p that is not a mapping but of type str": middleware(plugin={"p": "secret"}),
    "http.middlewares.a.plugin.p.x with items of several types": middleware(
        plugin={"p": {"x": ["secret", {"y": "z"}]}}
    ),
    "http.middlewares.a.buffering.maxRequestBodyBytes that is not a whole number": middleware(
        buffering={"maxRequestBodyBytes": "secret"}
    ),
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_refusal_names_the_setting_the_place_and_the_remedy(words: str) -> None:
    """In one sentence, which shows no value."""
    with pytest.raises(ConfigurationError) as refused:
        checked_dynamic_config(REFUSED[words], REDIS)
    assert str(refused.value).startswith(f"c.TraefikProxy.extra_dynamic_config has {words}")
    assert str(refused.value).endswith(". Nothing was written.")
    assert "secret" not in str(refused.value)


def test_single_statuses_become_ranges() -> None:
    """A name of digits only would be a place in a list; numbers are as good as texts."""
    extra = middleware(errors={"statusRewrites": {"418": 503, 404: 410, "500-599": 502}})
    made = checked_dynamic_config(extra, REDIS)
    assert made["http"]["middlewares"]["a"]["errors"]["statusRewrites"] == {
        "418-418": 503,
        "404-404": 410,
        "500-599": 502,
    }


def test_fields_are_spelled_as_by_traefik() -> None:
    """Traefik takes any case; kvproxy's own set-up, which the configuration is merged over, has one."""
    made = checked_dynamic_config({"HTTP": {"Routers": {"Mine": {"entrypoints": ["web"]}}}}, REDIS)
    assert made == {"http": {"routers": {"Mine": {"entryPoints": ["web"]}}}}


def test_none_takes_a_value_of_the_set_up_away() -> None:
    """So does an empty list."""
    base = {
        "tls": {
            "stores": {"default": {"defaultCertificate": {"certFile": "c"}}},
            "options": {"o": {"cipherSuites": ["x"]}},
        }
    }
    extra = {"tls": {"stores": {"default": {"defaultCertificate": None}}, "options": {"o": {"cipherSuites": []}}}}
    assert flatten(without_unset(deep_merge(base, checked_dynamic_config(extra, REDIS)))) == {
        "tls/stores/default": "true",
        "tls/options/o": "true",
    }


@pytest.mark.parametrize("version", [(3,), (3, 7, 15)])
def test_a_field_of_a_newer_traefik_is_refused_for_an_older_one(version: tuple[int, ...]) -> None:
    """As far as the version is known: one unknown field stops all updates."""
    extra = {"http": {"services": {"s": {"loadBalancer": {"strategy": "p2c"}}}}}
    assert checked_dynamic_config(extra, Reader(version=version)) == extra
    with pytest.raises(
        ConfigurationError, match=r"strategy, which Traefik 3\.3\.6 does not know; .* Traefik 3\.4 or newer"
    ):
        checked_dynamic_config(extra, Reader(version=(3, 3, 6)))


def test_each_backend_knows_its_reader() -> None:
    """Empty values are lost on Redis alone; only a file keeps commas in items."""
    empty = middleware(headers={"customResponseHeaders": {"Server": ""}})
    comma = middleware(stripPrefixRegex={"regex": ["/a{1,3}"]})
    takes = {
        made: [accepted(extra, made().reader()) is not None for extra in (empty, comma)]
        for made in (TraefikRedisProxy, TraefikEtcdProxy, TraefikConsulProxy, TraefikFileProviderProxy)
    }
    assert list(takes.values()) == [[False, False], [True, False], [True, False], [True, True]]


def test_configuration_that_is_not_written_is_not_checked() -> None:
    """An external Traefik that is set up by hand."""
    proxy = TraefikRedisProxy(extra_dynamic_config={"x": 1}, should_start=False, enable_setup_dynamic_config=False)
    assert proxy.dynamic_config(Features()) == {}


@given(st.characters(exclude_categories=["Cs"]), st.characters(exclude_categories=["Cs"]))
def test_names_are_told_apart_as_by_traefik(one: str, other: str) -> None:
    """``strings.EqualFold`` and Python's regular expressions fold single characters."""
    alike = re.fullmatch(re.escape(one), other, re.IGNORECASE) is not None
    assert (fold(one) == fold(other)) >= alike
