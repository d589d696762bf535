"""Former names are followed and named, and so is everything else that is set and not read."""

from __future__ import annotations

import logging
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyterhub.proxy import ConfigurableHTTPProxy
from traitlets.config import Config, Configurable

from kvproxy.errors import ConfigurationError
from kvproxy.plugins import proxy_class_for, proxy_names
from kvproxy.proxy import KVTraefikProxy
from kvproxy.proxy.any_store import TraefikKVProxy
from kvproxy.proxy.former_names import tell_remarks
from kvproxy.proxy.setting_names import AcceptedSettings, Remark, Weight, remarks
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_file import TraefikFileProviderProxy, TraefikTomlProxy
from kvproxy_redis import TraefikRedisProxy

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PROXIES = [TraefikConsulProxy, TraefikEtcdProxy, TraefikFileProviderProxy, TraefikRedisProxy, TraefikTomlProxy]
SECRET = "a-value-that-nobody-should-read"

#: The settings of jupyterhub-traefik-proxy that have other names here, and the versions that have them.
FORMER = [
    (TraefikTomlProxy, "TraefikTomlProxy", "toml_dynamic_config_file", "dynamic_config_file", "/a.toml"),  # 0.1 to 2.1
    (TraefikTomlProxy, "TraefikTomlProxy", "toml_static_config_file", "static_config_file", "/a.toml"),  # 0.1.0a1
    (TraefikFileProviderProxy, "TraefikTomlProxy", "toml_dynamic_config_file", "dynamic_config_file", "/a.toml"),
    (TraefikRedisProxy, "TraefikProxy", "toml_static_config_file", "static_config_file", "/a.toml"),  # 0.1 to 2.1
    (TraefikEtcdProxy, "TraefikEtcdProxy", "kv_url", "etcd_url", "http://a:1"),  # 0.1.4 to 2.1
    (TraefikEtcdProxy, "TKvProxy", "kv_url", "etcd_url", "http://a:1"),  # 0.1.4 to 0.3
    (TraefikEtcdProxy, "TraefikEtcdProxy", "kv_username", "etcd_username", "ada"),
    (TraefikEtcdProxy, "TraefikEtcdProxy", "kv_password", "etcd_password", SECRET),
    (TraefikEtcdProxy, "TraefikEtcdProxy", "etcd_traefik_prefix", "kv_traefik_prefix", "/a/"),  # 0.1.0 to 0.1.3
    (TraefikEtcdProxy, "TraefikEtcdProxy", "etcd_jupyterhub_prefix", "kv_jupyterhub_prefix", "/a/"),
    (TraefikConsulProxy, "TraefikConsulProxy", "kv_url", "consul_url", "http://a:1"),  # 0.1.4 to 2.1
    (TraefikConsulProxy, "TraefikConsulProxy", "kv_username", "consul_username", "ada"),
    (TraefikConsulProxy, "TraefikConsulProxy", "kv_password", "consul_password", SECRET),
    (TraefikConsulProxy, "TKvProxy", "kv_password", "consul_password", SECRET),
]


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO)
    return caplog


def make(cls: type[KVTraefikProxy], settings: dict[str, object]) -> KVTraefikProxy:
    """A proxy from settings by ``Section.name``."""
    config = Config()
    for name, value in settings.items():
        section, _, trait = name.partition(".")
        config[section][trait] = value
    return cls(config=config, log=logging.getLogger("kvproxy.test"))


def said(proxy: KVTraefikProxy) -> list[str]:
    return list(map(str, proxy.setting_remarks()))


@pytest.mark.parametrize(("cls", "section", "old", "new", "value"), FORMER)
def test_a_former_name_is_followed_and_the_new_one_is_named_once(
    cls: type[KVTraefikProxy], section: str, old: str, new: str, value: str, log: pytest.LogCaptureFixture
) -> None:
    """Nothing else is said of it, by traitlets for example, and its value is not shown."""
    proxy = make(cls, {f"{section}.{old}": value})
    assert getattr(proxy, new) == value
    tell_remarks(proxy.setting_remarks(), proxy.log)
    about = [record for record in log.records if old in record.getMessage() and "former name of c." not in record.msg]
    naming = [record for record in about if f"is the former name of {new}; its value is used." in record.getMessage()]
    assert [record.levelname for record in naming] == ["WARNING"]
    assert not any(value in record.getMessage() for record in log.records)
    assert not any("not recognized" in record.getMessage() for record in log.records)


@pytest.mark.parametrize("backwards", [False, True])
def test_the_new_name_wins_in_any_order(backwards: bool) -> None:
    """Also where it is set to the default."""
    lines: list[tuple[str, object]] = [
        ("TraefikEtcdProxy.kv_url", "http://old:1"),
        ("TraefikEtcdProxy.etcd_url", "http://127.0.0.1:2379"),
        ("TraefikProxy.toml_static_config_file", "old.toml"),
        ("TraefikEtcdProxy.static_config_file", "new.toml"),
    ]
    proxy = make(TraefikEtcdProxy, dict(reversed(lines) if backwards else lines))
    assert isinstance(proxy, TraefikEtcdProxy)
    assert (proxy.etcd_url, proxy.static_config_file) == ("http://127.0.0.1:2379", "new.toml")
    assert (
        "c.TraefikEtcdProxy.kv_url is the former name of etcd_url, which is set too and wins. Remove "
        "c.TraefikEtcdProxy.kv_url."
    ) in said(proxy)


def test_a_former_name_with_a_wrong_value_is_an_error_of_the_new_one() -> None:
    """As it would be there."""
    with pytest.raises(ConfigurationError, match="static_config_file"):
        make(TraefikRedisProxy, {"TraefikProxy.toml_static_config_file": "traefik.ini"})


@pytest.mark.parametrize("cls", [*PROXIES, TraefikKVProxy])
def test_the_former_section_of_all_stores_is_read(cls: type[KVTraefikProxy]) -> None:
    """TKvProxy; the present section wins."""
    old = {"TKvProxy.kv_traefik_prefix": "/old/", "TKvProxy.kv_jupyterhub_prefix": "/hub/"}
    proxy = make(cls, {"KVTraefikProxy.kv_traefik_prefix": "new", **old})
    assert (proxy.traefik_root, proxy.jupyterhub_root) == ("new", "hub")
    [remark] = [text for text in said(proxy) if "TKvProxy" in text]
    assert remark == (
        "c.TKvProxy is the former name of c.KVTraefikProxy; its settings (kv_jupyterhub_prefix, kv_traefik_prefix) are "
        "used. Write c.KVTraefikProxy instead."
    )


def test_the_former_proxy_class_says_what_to_write() -> None:
    """Once, with the name that takes its place."""
    assert said(make(TraefikTomlProxy, {})) == [
        "TraefikTomlProxy is the former name of the proxy class 'traefik_file', and works the same way. Write "
        'c.JupyterHub.proxy_class = "traefik_file".'
    ]


def test_all_proxy_classes_are_registered() -> None:
    """An environment's own metadata may be older than this checkout."""
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    registered = project["entry-points"]["jupyterhub.proxies"]
    assert {name: EntryPoint(name, value, "x").load() for name, value in registered.items()} == {
        "traefik_redis": TraefikRedisProxy,
        "traefik_file": TraefikFileProviderProxy,
        "traefik_toml": TraefikTomlProxy,
        "traefik_etcd": TraefikEtcdProxy,
        "traefik_consul": TraefikConsulProxy,
        "traefik_kv": TraefikKVProxy,
    }


def test_another_separator_than_traefiks_ends_the_start(log: pytest.LogCaptureFixture) -> None:
    """Traefik's own changes nothing."""
    assert said(make(TraefikRedisProxy, {"TraefikRedisProxy.kv_separator": "/"})) == []
    proxy = make(TraefikRedisProxy, {"TraefikRedisProxy.kv_separator": "."})
    with pytest.raises(ConfigurationError, match=r"c\.TraefikRedisProxy\.kv_separator is not supported: Traefik"):
        tell_remarks(proxy.setting_remarks(), proxy.log)


@pytest.mark.parametrize(
    ("line", "level", "text"),
    [
        (
            "TraefikReidsProxy.redis_password",
            "WARNING",
            "c.TraefikReidsProxy (redis_password) is not used: there is no proxy class of that name. Did you mean "
            "c.TraefikRedisProxy?",
        ),
        (
            # jupyterhub-traefik-proxy's own warning tells its users to write this.
            "TraefikFileProvider.dynamic_config_file",
            "WARNING",
            "c.TraefikFileProvider (dynamic_config_file) is not used: there is no proxy class of that name. Did you "
            "mean c.TraefikFileProviderProxy?",
        ),
        (
            "ConfigurableHTTPProxy.auth_token",
            "WARNING",
            "c.ConfigurableHTTPProxy (auth_token) has no effect any more, as the hub uses TraefikRedisProxy. "
            "Remove it.",
        ),
        (
            "ConfigurableHTTPProxy.should_start",
            "WARNING",
            "c.ConfigurableHTTPProxy (should_start) has no effect any more, as the hub uses TraefikRedisProxy. "
            "Remove it, or write c.TraefikProxy for the settings that are meant for this proxy: should_start.",
        ),
        (
            "TraefikEtcdProxy.etcd_password",
            "INFO",
            "c.TraefikEtcdProxy (etcd_password) is not used, as the hub uses TraefikRedisProxy.",
        ),
        (
            "TraefikEtcdProxy.traefik_api_password",
            "WARNING",
            "c.TraefikEtcdProxy (traefik_api_password) is not used, as the hub uses TraefikRedisProxy. Remove it, or "
            "write c.TraefikProxy for the settings that are meant for this proxy: traefik_api_password.",
        ),
        (
            "WonderfulProxy.speed",
            "WARNING",
            "c.WonderfulProxy (speed) is not used: there is no proxy class of that name. Remove or correct it.",
        ),
    ],
)
def test_a_section_that_nothing_reads_is_named_without_values(
    line: str, level: str, text: str, log: pytest.LogCaptureFixture
) -> None:
    """One line of the log for a section."""
    proxy = make(TraefikRedisProxy, {line: SECRET})
    tell_remarks(proxy.setting_remarks(), proxy.log)
    assert [(record.levelname, record.getMessage()) for record in log.records] == [(level, text)]


def test_sections_of_others_are_left_alone() -> None:
    """Such as those of an authenticator, which may be called so too, and of the base classes."""

    class HeaderProxy(Configurable):
        """Not a proxy of JupyterHub's."""

    quiet = {
        f"{HeaderProxy.__name__}.x": 1,
        "JupyterHub.port": 1,
        "KubeSpawner.x": 1,
        "Proxy.should_start": True,
        "TraefikProxy.concurrency": 3,
        "KVTraefikProxy.store_timeout": 3,
    }
    assert said(make(TraefikRedisProxy, quiet)) == []


def test_a_store_by_its_url_reads_the_sections_of_its_backend() -> None:
    """And of no other; a URL that leads nowhere is told elsewhere."""
    settings = {"TraefikRedisProxy.redis_password": SECRET, "TraefikEtcdProxy.etcd_password": SECRET}
    redis = make(TraefikKVProxy, {"KVTraefikProxy.store_url": "redis://a", **settings})
    assert said(redis) == ["c.TraefikEtcdProxy (etcd_password) is not used, as the hub uses TraefikKVProxy."]
    assert len(said(make(TraefikKVProxy, settings))) == 2


NAMES = st.sampled_from(["a", "b", "old", "new", "refused"])
SECTIONS = st.sampled_from(["Read", "Former", "TraefikThing", "SomeProxy", "Other", "KnownProxy"])


@given(st.dictionaries(SECTIONS, st.lists(NAMES, unique=True)))
def test_every_section_for_a_proxy_is_either_read_or_named(config: dict[str, list[str]]) -> None:
    """And every former or refused name in one that is read."""
    accepted = AcceptedSettings(
        "Read", ["Former", "Read"], ["a", "new"], {"Former": "Read"}, {"old": "new"}, {"refused": "Why."}
    )
    found = remarks(config, accepted, ["Read", "KnownProxy"], ["Other"])
    named = [remark.said.split()[0] for remark in found]
    unread = [section for section in config if section in {"TraefikThing", "SomeProxy", "KnownProxy"}]
    read = [section for section in config if section in {"Former", "Read"}]
    expected = [f"c.{section}" for section in [*unread, *(section for section in read if section == "Former")]]
    expected += [f"c.{section}.{name}" for section in read for name in config[section] if name in {"old", "refused"}]
    assert sorted(named) == sorted(expected)
    assert all((remark.weight is Weight.ERROR) == ("is not supported" in remark.said) for remark in found)
    assert all(remark.said.endswith(".") for remark in found)


def test_a_remark_without_advice_is_its_sentence() -> None:
    """Nothing hangs behind it."""
    assert str(Remark(Weight.INFO, "It is so.")) == "It is so."


GROUP = "jupyterhub.proxies"
ENTRIES = [
    EntryPoint("traefik_redis", "kvproxy_redis:TraefikRedisProxy", GROUP),
    EntryPoint("traefik_toml", "kvproxy_file:TraefikTomlProxy", GROUP),
    EntryPoint("traefik_toml", "jupyterhub_traefik_proxy.toml:TraefikTomlProxy", GROUP),
    EntryPoint("traefik_file", "kvproxy_file:TraefikFileProviderProxy", GROUP),
    EntryPoint("traefik_broken", "kvproxy_broken:TraefikBrokenProxy", GROUP),
    EntryPoint("configurable-http-proxy", "jupyterhub.proxy:ConfigurableHTTPProxy", GROUP),
]


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("TraefikRedisProxy", "kvproxy_redis.TraefikRedisProxy"),
        ("TraefikTomlProxy", "kvproxy_file.TraefikFileProviderProxy"),
        (ConfigurableHTTPProxy.__name__, ""),
        ("TraefikBrokenProxy", ""),
        ("Nonsense", ""),
    ],
)
def test_the_class_to_write_for_another_packages(name: str, line: str) -> None:
    """In full, so that it is clear which package is meant."""
    assert proxy_class_for(name, ENTRIES) == line


def test_proxies_are_offered_under_their_present_names() -> None:
    """Kvproxy's own only, without a plugin's that is broken."""
    assert proxy_names(ENTRIES) == ["traefik_file", "traefik_redis"]
