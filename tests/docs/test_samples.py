"""Every static configuration of Traefik's that a reader may copy has what `kvproxy static-config` would write."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from traitlets.config import Config

from kvproxy.cli.static_config.render import PLACES, Place, external_configuration, masked
from kvproxy.proxy import KVTraefikProxy
from kvproxy.traefik.entry_point import seconds
from kvproxy_consul import TraefikConsulProxy
from kvproxy_etcd import TraefikEtcdProxy
from kvproxy_file import TraefikFileProviderProxy
from kvproxy_redis import TraefikRedisProxy

from .blocks import ROOT, Block, all_blocks
from .configuration import is_static, load
from .test_examples import COMPOSE, hub_configurations, interpolate, static_configurations

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NEWEST = (3, 7, 15)
READER = {"username": "traefik", "password": "change-me-too"}
REDIS = {f"redis_traefik_{name}": value for name, value in READER.items()}
ETCD = {f"etcd_traefik_{name}": value for name, value in READER.items()}
SENTINELS = {
    "redis_sentinels": ["redis-1:26379", "redis-2:26379", "redis-3:26379"],
    "redis_sentinel_username": "kvproxy",
    "redis_sentinel_password": "change-me-3",
}
#: The hub for which a page of the documentation shows a Traefik. Other pages show a part of the configuration.
HUBS: dict[str, tuple[type[KVTraefikProxy], dict[str, Any]]] = {
    "redis.md": (TraefikRedisProxy, REDIS),
    "external-traefik.md": (TraefikRedisProxy, REDIS),
    "https.md": (TraefikRedisProxy, {"public_url": "http://:443/", "traefik_entrypoint": "https"}),
    "file.md": (TraefikFileProviderProxy, {"dynamic_config_file": "/srv/jupyterhub/rules.toml"}),
    "etcd.md": (TraefikEtcdProxy, ETCD),
    "consul.md": (TraefikConsulProxy, {"consul_traefik_token": "change-me-too"}),
    "sentinel.md": (TraefikRedisProxy, {**REDIS, **SENTINELS}),
}


def samples() -> list[Block]:
    """The blocks of the documentation with a static configuration, or the provider of one."""
    return [block for block in all_blocks() if block.language == "toml" and is_static(tomllib.loads(block.text))]


def made_for(proxy: KVTraefikProxy, version: tuple[int, ...] = NEWEST, place: str = "") -> dict[str, Any]:
    """The output of `kvproxy static-config` for a hub."""
    return external_configuration(
        proxy.static_settings(proxy.traefik_provider(), version), PLACES[place] if place else Place()
    )


def lacking(sample: Any, made: Any, path: str = "") -> Iterator[str]:
    """The fields that are made and not in the sample, or not with the same value. A sample may have more."""
    if isinstance(made, Mapping):
        if not isinstance(sample, Mapping):
            yield f"{path} is missing"
            return
        for name, value in made.items():
            yield from lacking(sample.get(name), value, f"{path}.{name}".lstrip("."))
    elif path.endswith(".address") and str(made).startswith(":"):
        # Where it listens on all addresses, one of them may do.
        if not str(sample).endswith(made):
            yield f"{path} = {sample!r} instead of {made!r}"
    elif sample != made and (seconds(made) is None or seconds(sample) != seconds(made)):
        yield f"{path} = {sample!r} instead of {made!r}"


def page_of(block: Block) -> str:
    """The name of its file."""
    return block.page.rpartition("/")[2]


@pytest.mark.parametrize("block", [one for one in samples() if page_of(one) in HUBS], ids=lambda block: block.name)
def test_samples_of_the_documentation_have_what_is_made(block: Block) -> None:
    """A page may show the provider alone, which then is all of it."""
    proxy_class, traits = HUBS[page_of(block)]
    sample, made = tomllib.loads(block.text), made_for(proxy_class(**{"public_url": "http://:8000/", **traits}))
    if "entryPoints" not in sample:
        assert sample == {"providers": {proxy_class.provider_name: made["providers"][proxy_class.provider_name]}}
        return
    if certificates := sample.get("certificatesResolvers"):
        assert set(certificates) == {sample["entryPoints"]["https"]["http"]["tls"]["certResolver"]}
    assert list(lacking(sample, made)) == []


@pytest.mark.parametrize("block", [one for one in samples() if page_of(one) not in HUBS], ids=lambda block: block.name)
def test_parts_have_the_values_that_are_made(block: Block) -> None:
    """Where static-config writes the same field."""
    sample = tomllib.loads(block.text)
    made = made_for(TraefikRedisProxy(public_url="http://:8000/"))
    assert list(lacking(sample, common(made, sample))) == []


def common(made: Mapping[str, Any], sample: Mapping[str, Any]) -> dict[str, Any]:
    """The generated configuration, as far as the sample speaks of it."""
    both = {name: (made[name], sample[name]) for name in made if name in sample}
    maps = {name: common(*pair) for name, pair in both.items() if all(isinstance(one, Mapping) for one in pair)}
    return {name: maps.get(name, pair[0]) for name, pair in both.items()}


def test_every_page_that_is_named_has_a_sample() -> None:
    """Or nothing of it would be compared."""
    assert set(map(page_of, samples())) >= set(HUBS)


def version_of_image() -> tuple[int, ...]:
    """The version of Traefik in Compose and Kubernetes, of which its tag names the last with these numbers."""
    texts = [COMPOSE.joinpath("compose.yaml").read_text(), (ROOT / "examples/kubernetes/traefik.yaml").read_text()]
    [tag] = {tag for text in texts for tag in re.findall(r" traefik:v(\S+)", text)}
    return (*map(int, tag.split(".")), 99)


@pytest.mark.parametrize("name", hub_configurations())
def test_examples_are_what_is_made_for_their_hub(name: str, tmp_path: Any) -> None:
    """Field by field, by `kvproxy static-config --for`: all that is made, and nothing else.

    But for passwords, which come from elsewhere, and Traefik's login, which the hub of an example is not told of.
    """
    config: Config = load(hub_configurations()[name], tmp_path)
    url = str(config.JupyterHub.get("bind_url", "http://:8000")) + "/"
    proxy = TraefikRedisProxy(config=config, public_url=url)
    made = masked(made_for(proxy, version_of_image(), name), ())
    sample = masked(tomllib.loads(interpolate(static_configurations()[name])), ())
    for login in ("username", "password"):
        del made["providers"]["redis"][login]
        del sample["providers"]["redis"][login]
    assert [*lacking(sample, made), *lacking(made, sample)] == []
    addresses = [{n: point["address"] for n, point in one["entryPoints"].items()} for one in (sample, made)]
    assert addresses[0] == addresses[1]


def test_missing_and_different_settings_are_found() -> None:
    """Or the tests above would show nothing."""
    made = {"a": {"readTimeout": "3600s", "x": 1}, "b": {"address": ":1"}}
    assert list(lacking({"a": {"readTimeout": "1h", "x": 1, "more": 2}, "b": {"address": ":1"}}, made)) == []
    assert list(lacking({"a": {"readTimeout": "0s"}}, made)) == [
        "a.readTimeout = '0s' instead of '3600s'",
        "a.x = None instead of 1",
        "b is missing",
    ]
