"""The files below examples/, each by the tool that it is for, as far as that is on this machine.

If a tool is missing, a line of pytest's summary names the files that were not checked with it.
"""

from __future__ import annotations

import configparser
import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import jupyterhub
import kubernetes_validate
import pytest
import yaml
from redis import Redis
from redis.exceptions import AuthenticationError

from kvproxy.testing.servers.debian import debian_program
from kvproxy.testing.servers.haproxy import find_haproxy
from kvproxy.testing.servers.ports import free_port
from kvproxy.testing.servers.programs import Program, ServerError, accepts, find_redis, wait_until
from kvproxy.testing.servers.redis import CLOSED

from .blocks import ROOT
from .configuration import check, check_static, load, placed_traefik

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLES = ROOT / "examples"
COMPOSE, KUBERNETES, SYSTEMD = (EXAMPLES / name for name in ("compose", "kubernetes", "systemd"))
#: A version of Kubernetes whose schemas everything has to fit; Zero to JupyterHub asks for 1.32.
KUBERNETES_VERSION = "1.32"

# Programs are fetched, and unpacked, on first use.
pytestmark = pytest.mark.timeout(400)


@pytest.fixture
def missing(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Say in the summary which tool is missing and what it would have looked at."""

    def say(tool: str, what: str) -> None:
        reporter = request.config.pluginmanager.get_plugin("terminalreporter")
        if reporter is not None:
            reporter.ensure_newline()
            reporter.write_line(f"{request.node.name}: {tool} is not on this machine; {what}")

    return say


def environment() -> dict[str, str]:
    """The variables of .env.example, each with a value of its own."""
    lines = (COMPOSE / ".env.example").read_text().splitlines()
    return {line.partition("=")[0]: f"value{number}" for number, line in enumerate(lines) if line[:1].isalpha()}


def interpolate(text: str) -> str:
    """What Compose makes of ``${NAME:?…}`` and ``$$``; a name that .env.example has not is an error."""
    filled = re.sub(r"(?<!\$)\$\{(\w+):\?[^}]*\}", lambda name: environment()[name[1]], text)
    return filled.replace("$$", "$")


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return yaml.safe_load(interpolate((COMPOSE / "compose.yaml").read_text()))


# -- systemd


@pytest.mark.parametrize("unit", sorted(SYSTEMD.glob("*.service")), ids=lambda unit: unit.name)
def test_units(unit: Path, tmp_path: Path, missing: Callable[[str, str], None]) -> None:
    """systemd itself has nothing to say about them; a stub stands in for each program."""
    text = unit.read_text()
    read = configparser.ConfigParser(strict=False, interpolation=None)
    read.read_string(text)
    program = read["Service"]["ExecStart"].split()[0]
    config = re.search(r"--config(?:file)?=/etc/jupyterhub/(\S+)", read["Service"]["ExecStart"])
    assert config is not None
    assert (SYSTEMD / config[1]).exists()
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze", "the units were read as INI files only")
        return
    stub = tmp_path / Path(program).name
    stub.write_text("#!/bin/sh\n")
    stub.chmod(0o755)
    for other in SYSTEMD.glob("*.service"):
        (tmp_path / other.name).write_text(re.sub(r"ExecStart=\S+", f"ExecStart={stub}", other.read_text()))
    command = ["systemd-analyze", "verify", "--man=no", str(tmp_path / unit.name)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    # A setting that it does not know is reported and ignored.
    assert (ran.returncode, ran.stdout + ran.stderr) == (0, "")


def test_little_is_left_to_a_traefik_that_was_taken_over(missing: Callable[[str, str], None]) -> None:
    """systemd's own score of the unit, of 10 at most, is 2 or less; the page names it."""
    page = (ROOT / "docs/how-to/systemd.md").read_text()
    (named,) = re.findall(r"`systemd-analyze security traefik` says (\d\.\d)", page)
    assert float(named) <= 2.0
    if shutil.which("systemd-analyze") is None:
        missing("systemd-analyze", "the unit's exposure was not looked at")
        return
    command = ["systemd-analyze", "security", "--offline=true", "--no-pager", str(SYSTEMD / "traefik.service")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    (score,) = re.findall(r"Overall exposure level for traefik.service: (\d+\.\d+)", ran.stdout)
    # Versions of systemd differ by a little.
    assert abs(float(score) - float(named)) <= 0.2


def test_the_unit_and_the_hub_agree_that_servers_go_on(tmp_path: Path) -> None:
    """One without the other ends users' servers with the hub."""
    config = load((SYSTEMD / "jupyterhub_config.py").read_text(), tmp_path)
    assert config.JupyterHub.cleanup_servers is False
    assert "\nKillMode=process\n" in (SYSTEMD / "jupyterhub.service").read_text()


# -- what the hub and Traefik read


def hub_configurations() -> dict[str, str]:
    values = yaml.safe_load((KUBERNETES / "values.yaml").read_text())
    return {
        "systemd": (SYSTEMD / "jupyterhub_config.py").read_text(),
        "compose": (COMPOSE / "jupyterhub_config.py").read_text(),
        "kubernetes": values["hub"]["extraConfig"]["kvproxy"],
    }


def static_configurations() -> dict[str, str]:
    secret = next(yaml.safe_load_all((KUBERNETES / "secret.yaml").read_text()))
    composed = yaml.safe_load(interpolate((COMPOSE / "compose.yaml").read_text()))
    return {
        "systemd": (SYSTEMD / "traefik.toml").read_text(),
        "compose": composed["configs"]["traefik.toml"]["content"],
        "kubernetes": secret["stringData"]["traefik.toml"],
    }


@pytest.mark.parametrize("name", hub_configurations())
def test_hub_configurations(name: str, tmp_path: Path) -> None:
    """Loaded by JupyterHub itself; every setting exists and takes its value."""
    check(load(hub_configurations()[name], tmp_path))


@pytest.mark.parametrize("name", static_configurations())
def test_traefik_takes_the_static_configurations(name: str, tmp_path: Path) -> None:
    """The real one."""
    check_static(tomllib.loads(static_configurations()[name]), tmp_path)


@pytest.mark.parametrize("name", hub_configurations())
def test_hub_and_traefik_agree(name: str, tmp_path: Path) -> None:
    """On where Redis is, on the root, and on the names and ports of the entry points."""
    config = load(hub_configurations()[name], tmp_path)
    static = tomllib.loads(static_configurations()[name])
    redis, settings = static["providers"]["redis"], config.TraefikRedisProxy
    sentinels = settings.get("redis_sentinels", [])
    assert redis["endpoints"] == (sentinels or [settings.redis_url.removeprefix("redis://")])
    assert ("sentinel" in redis) == bool(sentinels)
    assert redis["rootKey"] == "traefik"
    assert redis["username"] == "traefik"
    assert settings.redis_username == "hub"
    assert set(static["entryPoints"]) == {"http", "auth_api"}
    urls = config.TraefikProxy.traefik_api_url
    ports = {url.rpartition(":")[2] for url in ([urls] if isinstance(urls, str) else urls)}
    assert ports == {static["entryPoints"]["auth_api"]["address"].rpartition(":")[2]}


def documented_users() -> dict[str, str]:
    """Rights of the Redis users, as the how-to guides have them."""
    text = "\n".join(page.read_text() for page in (ROOT / "docs" / "how-to").glob("*.md"))
    return dict(re.findall(r"^user (\w+) on >\S+ (.*)$", text, re.MULTILINE))


@pytest.mark.parametrize("name", ["compose", "kubernetes", "systemd"])
def test_redis_users_have_the_documented_rights(name: str, compose: dict[str, Any]) -> None:
    """And no other client is let in."""
    secret = next(yaml.safe_load_all((KUBERNETES / "secret.yaml").read_text()))["stringData"]["users.acl"]
    acl = {
        "compose": compose["configs"]["users.acl"]["content"],
        "kubernetes": secret,
        "systemd": (SYSTEMD / "users.acl").read_text(),
    }[name]
    lines = acl.splitlines()
    assert lines[0] == f"user {CLOSED}"
    users = dict(re.findall(r"^user (\w+) on >\S+ (.*)$", acl, re.MULTILINE))
    assert users == {user: documented_users()[user] for user in users}
    assert len(users) == len(lines) - 1


# -- Redis and Sentinel


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Starts the real server with configuration files of the example."""
    started: list[Program] = []

    def start(name: str, text: str, *arguments: str) -> Program:
        port = int(re.findall(r"^port (\d+)$", text, re.MULTILINE)[0])
        file = tmp_path / name
        file.write_text(text)
        program = Program([str(find_redis()), str(file), *arguments], tmp_path / f"{name}.log")
        started.append(program)
        program.start()
        program.wait_ready(lambda: accepts(port), 15)
        return program

    yield start
    for program in started:
        program.stop()


def test_traefik_finds_the_master_by_the_sentinel(
    compose: dict[str, Any], tmp_path: Path, redis_server: Callable[..., Program]
) -> None:
    """The real servers take their configurations, with other ports and folders, and fit together."""
    port, sentinel_port = free_port(), free_port()
    contents = {name: config["content"] for name, config in compose["configs"].items()}
    (tmp_path / "users.acl").write_text(contents["users.acl"])
    here = {"port 6379": f"port {port}", "dir /data": f"dir {tmp_path}", "/users.acl": f"{tmp_path}/users.acl"}
    redis_server("redis.conf", _replaced(contents["redis.conf"], here) + "replica-announce-ip localhost\n")
    there = {"port 26379": f"port {sentinel_port}", "dir /data": f"dir {tmp_path}", "redis-1 6379": f"localhost {port}"}
    sentinel = redis_server("sentinel.conf", _replaced(contents["sentinel.conf"], there), "--sentinel")
    wait_until(lambda: "+monitor master mymaster" in sentinel.log.read_text(), "the sentinel has found the master")
    with Redis(port=sentinel_port) as stranger, pytest.raises(AuthenticationError):
        stranger.sentinel_masters()
    static = tomllib.loads(contents["traefik.toml"])
    with (
        placed_traefik(static, tmp_path, f"127.0.0.1:{sentinel_port}"),
        Redis(port=port, username="hub", password=environment()["HUB_PASSWORD"], decode_responses=True) as redis,
    ):
        wait_until(lambda: redis.pubsub_numpat() > 0, "Traefik listens")


def _replaced(text: str, by: dict[str, str]) -> str:
    for old, new in by.items():
        assert old in text
        text = text.replace(old, new)
    return text


# -- Docker Compose


def test_compose_file(compose: dict[str, Any], missing: Callable[[str, str], None]) -> None:
    """Compose itself takes it, if it is there; nothing in it names what is not there."""
    services = compose["services"]
    for service in services.values():
        assert {name for name in service.get("depends_on", [])} <= services.keys()
        assert {mount.partition(":")[0] for mount in service.get("volumes", []) if mount[0].isalnum()} <= set(
            compose["volumes"]
        )
        named = [entry if isinstance(entry, str) else entry["source"] for entry in service.get("configs", [])]
        assert set(named) <= compose["configs"].keys()
        assert set(service["networks"]) <= compose["networks"].keys()
    for volume in (mount for service in services.values() for mount in service.get("volumes", [])):
        if volume.startswith("./"):
            assert (COMPOSE / volume.partition(":")[0]).exists()
    program = find_compose()
    if program is None:
        missing("Docker Compose", "compose.yaml was looked at without it")
        return
    ran = subprocess.run(
        [*program, "--file", str(COMPOSE / "compose.yaml"), "config", "--format", "json"],
        env={**os.environ, **environment()},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    seen = {name: config["content"] for name, config in json.loads(ran.stdout)["configs"].items()}
    assert seen == {name: config["content"] for name, config in compose["configs"].items()}


def test_compose_with_two_tiers(compose: dict[str, Any], tmp_path: Path, missing: Callable[[str, str], None]) -> None:
    """A second Traefik beside each one, whose network the first one joins; the hub asks both by the same names."""
    program = find_compose()
    if program is None:
        missing("Docker Compose", "compose.two-tiers.yaml was not looked at")
        return
    files = [f"--file={COMPOSE / name}" for name in ("compose.yaml", "compose.two-tiers.yaml")]
    command = [*program, *files, "config", "--format", "json"]
    ran = subprocess.run(command, env={**os.environ, **environment()}, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
    made = json.loads(ran.stdout)
    services, configs = made["services"], {name: one["content"] for name, one in made["configs"].items()}
    for number in (1, 2):
        base, hot, before = services[f"traefik-{number}"], services[f"hot-{number}"], f"traefik-{number}"
        assert (base["network_mode"], base.get("networks")) == (f"service:hot-{number}", None)
        assert hot["image"] == base["image"] == compose["services"][before]["image"]
        place = compose["services"][before]["networks"]["store"]["ipv4_address"]
        assert hot["networks"]["store"] == {"ipv4_address": place, "aliases": [before]}
        assert hot["networks"]["users"] == {"aliases": [before]}
        assert [one["source"] for one in hot["configs"]] == ["hot.toml"]
    static = tomllib.loads(configs["hot.toml"])
    check_static(static, tmp_path)
    first = tomllib.loads(configs["traefik.toml"])["providers"]["redis"]
    assert static["providers"]["redis"] == {**first, "db": 1, "rootKey": "hot-traefik"}
    assert configs["traefik.toml"] == compose["configs"]["traefik.toml"]["content"]
    text = (COMPOSE / "jupyterhub_config.py").read_text()
    assert "route_tiers" not in load(text, tmp_path).TraefikProxy
    chosen = text.replace('os.environ.get("ROUTE_TIERS")', repr(services["hub"]["environment"]["ROUTE_TIERS"]))
    settings = load(chosen, tmp_path).TraefikProxy
    assert settings.route_tiers == "two"
    (port,) = {url.rpartition(":")[2] for url in settings.hot_traefik_api_url}
    assert static["entryPoints"]["auth_api"]["address"] == f"api-here:{port}"
    names = [
        [url.rpartition(":")[0] for url in urls] for urls in (settings.traefik_api_url, settings.hot_traefik_api_url)
    ]
    assert names[0] == names[1]
    kubernetes = yaml.safe_load((KUBERNETES / "two-tiers/secret.yaml").read_text())["stringData"]["users.acl"]
    rights = [
        dict(re.findall(r"^user (\w+) on >\S+ (.*)$", acl, re.MULTILINE)) for acl in (kubernetes, configs["users.acl"])
    ]
    assert {**rights[1], **rights[0]} == rights[1]


def find_compose() -> list[str] | None:
    """Docker's plugin if there is one, else Debian's package of it; it needs no Docker engine to read a file."""
    if shutil.which("docker"):
        plugin = ["docker", "compose"]
        if subprocess.run([*plugin, "version"], capture_output=True).returncode == 0:
            return plugin
    with contextlib.suppress(ServerError):
        return [str(debian_program("docker-compose", "trixie", "usr/libexec/docker/cli-plugins/docker-compose"))]
    return None


def test_names_of_containers_are_those_in_the_configurations(compose: dict[str, Any]) -> None:
    """Each host that hub, Traefik, HAProxy and sentinels are told of is a service."""
    texts = [
        (COMPOSE / "jupyterhub_config.py").read_text(),
        (COMPOSE / "haproxy.cfg").read_text(),
        *(config["content"] for config in compose["configs"].values()),
    ]
    hosts = {name for text in texts for name in re.findall(r"\b((?:redis|sentinel|traefik)-\d)\b", text)}
    numbered = {name for name in compose["services"] if name[-1].isdigit()}
    assert hosts | {"redis-2"} == numbered
    assert 'hub_connect_ip = "hub"' in texts[0]
    assert f'network_name = "{compose["networks"]["users"]["name"]}"' in texts[0]


def test_users_containers_reach_neither_the_store_nor_an_api(compose: dict[str, Any]) -> None:
    """They share a network with the hub and Traefik only, whose API listens in the other one."""
    services, networks = compose["services"], compose["networks"]
    in_users = {name for name, service in services.items() if "users" in service["networks"]}
    assert in_users == {"hub", "traefik-1", "traefik-2"}
    assert networks["store"]["internal"] is True
    static = tomllib.loads(compose["configs"]["traefik.toml"]["content"])
    host = static["entryPoints"]["auth_api"]["address"].partition(":")[0]
    for name in ("traefik-1", "traefik-2"):
        assert services[name]["extra_hosts"] == [f"{host}:{services[name]['networks']['store']['ipv4_address']}"]
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_haproxy(tmp_path: Path, missing: Callable[[str, str], None]) -> None:
    """It takes its configuration, if it is there."""
    text = (COMPOSE / "haproxy.cfg").read_text()
    assert re.findall(r"^ *server (\S+) (\S+)$", text, re.MULTILINE) == [
        ("traefik-1", "traefik-1:8000"),
        ("traefik-2", "traefik-2:8000"),
    ]
    try:
        program, libraries = find_haproxy()
    except ServerError as error:
        missing("HAProxy", f"haproxy.cfg was looked at without it. {error}")
        return
    # The names of the containers are no hosts here.
    (tmp_path / "haproxy.cfg").write_text(re.sub(r"(server traefik-\d) traefik-\d", r"\1 127.0.0.1", text))
    command = [str(program), "-c", "-f", str(tmp_path / "haproxy.cfg")]
    ran = subprocess.run(command, env={**os.environ, **libraries}, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "WARNING" not in ran.stderr


# -- Kubernetes


def manifests() -> list[dict[str, Any]]:
    listed = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    return [one for name in listed for one in yaml.safe_load_all((KUBERNETES / name).read_text())]


def further_manifests() -> list[dict[str, Any]]:
    """Manifests that are applied only on demand."""
    return list(yaml.safe_load_all((KUBERNETES / "ingress.yaml").read_text()))


@pytest.mark.parametrize(
    "manifest", [*manifests(), *further_manifests()], ids=lambda one: f"{one['kind']}-{one['metadata']['name']}"
)
def test_manifests_fit_the_schemas_of_kubernetes(manifest: dict[str, Any]) -> None:
    """With no field that Kubernetes does not know."""
    kubernetes_validate.validate(manifest, KUBERNETES_VERSION, strict=True)


def test_kustomize(missing: Callable[[str, str], None]) -> None:
    """It gives back all manifests."""
    if shutil.which("kubectl") is None:
        missing("kubectl", "kustomization.yaml was read without it")
        return
    ran = subprocess.run(["kubectl", "kustomize", str(KUBERNETES)], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr

    def names(found: Iterator[dict[str, Any]] | list[dict[str, Any]]) -> set[tuple[str, str]]:
        return {(one["kind"], one["metadata"]["name"]) for one in found}

    assert names(yaml.safe_load_all(ran.stdout)) == names(manifests())


def test_selectors_services_and_secrets_fit() -> None:
    """Each selector finds pods, each port of a service is one of theirs, each key of the Secret exists."""
    found = manifests()
    pods = [one["spec"]["template"] for one in found if one["kind"] in {"Deployment", "StatefulSet"}]
    (secret,) = [one for one in found if one["kind"] == "Secret"]
    for service in (one for one in found if one["kind"] == "Service"):
        (pod,) = [pod for pod in pods if service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()]
        ports = {port["name"] for container in pod["spec"]["containers"] for port in container["ports"]}
        assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports
    for one in found:
        labels = (one["spec"].get("selector") or one["spec"].get("podSelector") or {}) if "spec" in one else {}
        if "matchLabels" in labels:
            assert any(labels["matchLabels"].items() <= pod["metadata"]["labels"].items() for pod in pods)
    for volume in (volume for pod in pods for volume in pod["spec"].get("volumes", [])):
        assert volume["secret"]["secretName"] == secret["metadata"]["name"]
        assert {item["key"] for item in volume["secret"]["items"]} <= secret["stringData"].keys()
    reference = values()["hub"]["extraEnv"]["REDIS_PASSWORD"]["valueFrom"]["secretKeyRef"]
    assert reference["name"] == secret["metadata"]["name"]
    assert secret["stringData"][reference["key"]] in secret["stringData"]["users.acl"]
    services = {one["metadata"]["name"] for one in found if one["kind"] == "Service"}
    assert set(re.findall(r"//(kvproxy-[\w-]+):", values()["hub"]["extraConfig"]["kvproxy"])) <= services


def test_images_do_not_change_by_themselves(compose: dict[str, Any]) -> None:
    """Each has a version down to the last digit, and stands in one place; users' servers are of the hub's version."""
    dockerfile = (COMPOSE / "Dockerfile").read_text()
    pods = [one["spec"]["template"]["spec"] for one in manifests() if "template" in one.get("spec", {})]
    images = {
        "kubernetes": [container["image"] for pod in pods for container in pod["containers"]],
        "compose": [service["image"] for service in compose["services"].values() if "image" in service],
        "Dockerfile": re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE),
    }
    assert {name: len(set(found)) for name, found in images.items()} == {"kubernetes": 2, "compose": 3, "Dockerfile": 1}
    everything = {image for found in images.values() for image in found}
    assert [image for image in everything if not re.search(r":v?\d+\.\d+\.\d+", image)] == []
    text = (COMPOSE / "compose.yaml").read_text()
    assert [text.count(image) for image in set(images["compose"])] == [1, 1, 1]
    (hub,) = re.findall(r"jupyterhub==(\S+)", dockerfile)
    page = (ROOT / "docs/how-to/docker-compose.md").read_text()
    assert re.findall(r"docker pull \S+/singleuser:(\S+)", page) == [hub]
    assert re.findall(r"==(\S+)", dockerfile) == [hub, "14.0.0"]


def test_users_servers_are_of_the_hubs_version(tmp_path: Path) -> None:
    """A server of another version could refuse the hub."""
    config = load((COMPOSE / "jupyterhub_config.py").read_text(), tmp_path)
    assert config.DockerSpawner.image == f"quay.io/jupyterhub/singleuser:{jupyterhub.__version__}"


def test_users_files_outlive_their_containers(tmp_path: Path) -> None:
    """Which are removed when a server stops."""
    config = load((COMPOSE / "jupyterhub_config.py").read_text(), tmp_path)
    assert config.DockerSpawner.remove is True
    assert config.DockerSpawner.volumes == {"jupyterhub-{username}": "/home/jovyan"}


def test_network_policies_let_through_what_must_pass_and_nothing_else() -> None:
    """Both ways: to Redis come hub and Traefik, and Redis calls no server; Traefik reaches its routes' servers."""
    policies = {one["metadata"]["name"]: one["spec"] for one in manifests() if one["kind"] == "NetworkPolicy"}
    assert all(set(spec["policyTypes"]) == {"Ingress", "Egress"} for spec in policies.values())
    assert policies["kvproxy-redis"]["egress"] == []
    names, redis, served = policies["kvproxy-traefik"]["egress"]
    assert {port["port"] for port in names["ports"]} == {53}
    assert redis["ports"] == [{"port": 6379}]
    assert redis["to"][0]["podSelector"] == policies["kvproxy-redis"]["podSelector"]
    labels = [tuple(to["podSelector"]["matchLabels"].values()) for to in served["to"]]
    assert labels == [("hub",), ("singleuser-server",), ("singleuser-server",)]


def values() -> dict[str, Any]:
    return yaml.safe_load((KUBERNETES / "values.yaml").read_text())


def traefik_pod() -> dict[str, Any]:
    (found,) = [one for one in manifests() if one["kind"] == "Deployment"]
    return found["spec"]["template"]


def test_every_way_in_leads_to_traefik() -> None:
    """The chart's proxy, its Traefik for Let's Encrypt and an Ingress name the Service, by a port that it has."""
    (service,) = [one for one in manifests() if one["metadata"]["name"] == "kvproxy-public"]
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    assert values()["proxy"]["chp"] == {"defaultTarget": "http://kvproxy-public"}
    assert ports == {"http": 80}
    encrypted = yaml.safe_load((KUBERNETES / "values-letsencrypt.yaml").read_text())
    servers = encrypted["proxy"]["traefik"]["extraDynamicConfig"]["http"]["services"]["default"]["loadBalancer"]
    assert servers == {"servers": [{"url": "http://kvproxy-public:80/"}]}
    (ingress,) = further_manifests()
    (path,) = ingress["spec"]["rules"][0]["http"]["paths"]
    assert path["backend"]["service"] == {"name": "kvproxy-public", "port": {"name": "http"}}


def with_two_tiers() -> dict[str, dict[str, Any]]:
    """The manifests that the component changes, by kind and name, as Kustomize makes them; all its patches add."""
    found = {f"{one['kind']} {one['metadata']['name']}": one for one in manifests()}
    component = yaml.safe_load((KUBERNETES / "two-tiers/kustomization.yaml").read_text())
    changed = {}
    for patch in component["patches"]:
        if "path" in patch:
            over = yaml.safe_load((KUBERNETES / "two-tiers" / patch["path"]).read_text())
            name = f"{over['kind']} {over['metadata']['name']}"
            changed[name] = {**found[name], "stringData": {**found[name]["stringData"], **over["stringData"]}}
            continue
        name = f"{patch['target']['kind']} {patch['target']['name']}"
        changed[name] = found[name]
        for step in yaml.safe_load(patch["patch"]):
            assert step["op"] == "add"
            *above, last = step["path"].strip("/").split("/")
            place: Any = changed[name]
            for part in above:
                place = place[int(part) if isinstance(place, list) else part]
            if isinstance(place, list):
                assert last == "-"
                place.append(step["value"])
            else:
                assert last not in place
                place[last] = step["value"]
    return changed


@pytest.mark.parametrize("name", with_two_tiers())
def test_manifests_with_two_tiers_fit_the_schemas_of_kubernetes(name: str) -> None:
    """With no field that Kubernetes does not know."""
    kubernetes_validate.validate(with_two_tiers()[name], KUBERNETES_VERSION, strict=True)


def test_two_tiers_fit_together(tmp_path: Path) -> None:
    """A second Traefik of the same image in each pod; the hub finds its API by the same name, and may reach it."""
    changed = with_two_tiers()
    pod = changed["Deployment kvproxy-traefik"]["spec"]["template"]["spec"]
    (hot,), (base,) = pod["initContainers"], pod["containers"]
    assert (hot["image"], hot["restartPolicy"]) == (base["image"], "Always")
    secret = changed["Secret kvproxy"]["stringData"]
    assert {item["key"] for item in pod["volumes"][0]["secret"]["items"]} <= secret.keys()
    static = tomllib.loads(secret["hot.toml"])
    check_static(static, tmp_path)
    assert static["providers"]["redis"] == {
        **tomllib.loads(secret["traefik.toml"])["providers"]["redis"],
        "db": 1,
        "rootKey": "hot-traefik",
    }
    (code,) = yaml.safe_load((KUBERNETES / "values-two-tiers.yaml").read_text())["hub"]["extraConfig"].values()
    settings = load(hub_configurations()["kubernetes"] + code, tmp_path).TraefikProxy
    assert settings.route_tiers == "two"
    host, _, port = settings.hot_traefik_api_url.rpartition(":")
    assert host == settings.traefik_api_url.rpartition(":")[0]
    assert static["entryPoints"]["auth_api"]["address"] == f":{port}"
    assert [one["containerPort"] for one in hot["ports"]] == [int(port)]
    ports = changed["Service kvproxy-traefik-api"]["spec"]["ports"]
    assert {one["name"]: (one["port"], one["targetPort"]) for one in ports}["hot-api"] == (int(port), int(port))
    (rule,) = [one for one in changed["NetworkPolicy kvproxy-traefik"]["spec"]["ingress"] if "from" in one]
    assert rule["ports"] == [{"port": "api"}, {"port": int(port)}]
    kustomization = (KUBERNETES / "kustomization.yaml").read_text()
    assert "components" not in yaml.safe_load(kustomization)
    assert yaml.safe_load(kustomization.replace("# components:\n#   -", "components:\n  -"))["components"] == [
        "two-tiers"
    ]


def test_users_servers_may_come_to_traefik() -> None:
    """By the port that its pods have, which the chart's policy would not let through."""
    ((rule,), pod) = values()["singleuser"]["networkPolicy"]["egress"], traefik_pod()
    assert rule["to"][0]["podSelector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    (container,) = pod["spec"]["containers"]
    assert {port["port"] for port in rule["ports"]} == {
        port["containerPort"] for port in container["ports"] if port["name"] == "http"
    }


def seconds_to_end(static: dict[str, Any]) -> int:
    """How long Traefik takes to end while something is open."""
    life_cycle = static["entryPoints"]["http"]["transport"]["lifeCycle"]
    return sum(int(text.removesuffix("s")) for text in life_cycle.values())


def test_nothing_that_is_open_is_killed_before_its_time(compose: dict[str, Any]) -> None:
    """Kubernetes and Compose wait for longer than Traefik takes, and the page names the times."""
    static = {name: tomllib.loads(text) for name, text in static_configurations().items()}
    pod = traefik_pod()["spec"]
    pause = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    kubernetes = seconds_to_end(static["kubernetes"])
    assert pause + kubernetes < pod["terminationGracePeriodSeconds"] <= pause + kubernetes + 10
    page = (ROOT / "docs/how-to/kubernetes.md").read_text()
    assert f"for {pause} s (`preStop`)" in page
    assert f"for {kubernetes} s (`graceTimeOut`)" in page
    for name in ("traefik-1", "traefik-2"):
        period = int(compose["services"][name]["stop_grace_period"].removesuffix("s"))
        assert seconds_to_end(static["compose"]) < period <= seconds_to_end(static["compose"]) + 10


def test_memory_is_freed_before_its_limit_is_reached(compose: dict[str, Any]) -> None:
    """By Traefik's garbage collector, and by Redis, which refuses writes."""
    (traefik,) = traefik_pod()["spec"]["containers"]
    assert {one["name"]: one["value"] for one in traefik["env"]}["GOMEMLIMIT"] == "900MiB"
    assert traefik["resources"]["limits"] == {"memory": "1Gi"}
    for name in ("traefik-1", "traefik-2"):
        assert compose["services"][name]["environment"]["GOMEMLIMIT"] == "900MiB"
        assert compose["services"][name]["mem_limit"] == "1g"
    unit = (SYSTEMD / "traefik.service").read_text()
    assert "\nEnvironment=GOGC=300 GOMEMLIMIT=900MiB\n" in unit
    assert "\nMemoryMax=1G\n" in unit
    (redis,) = [one for one in manifests() if one["kind"] == "StatefulSet"]
    (container,) = redis["spec"]["template"]["spec"]["containers"]
    given = dict(zip(container["args"], container["args"][1:], strict=False))
    assert given["--maxmemory"] == "192mb"
    assert container["resources"]["limits"] == {"memory": "256Mi"}


def test_images_of_ours_do_not_run_as_root() -> None:
    """By a number, which Kubernetes can look at; a variable of the base's Dockerfile would be empty here."""
    lines = (KUBERNETES / "Dockerfile").read_text().splitlines()
    assert [line for line in lines if line.startswith("USER ")][-1] == "USER 1000"


def test_pods_go_where_the_charts_own_go() -> None:
    """They tolerate, and prefer, nodes for core pods."""
    pods = [one["spec"]["template"]["spec"] for one in manifests() if one["kind"] in {"Deployment", "StatefulSet"}]
    for pod in pods:
        assert {one["key"] for one in pod["tolerations"]} == {"hub.jupyter.org/dedicated", "hub.jupyter.org_dedicated"}
        assert {one["value"] for one in pod["tolerations"]} == {"core"}
        assert "hub.jupyter.org/node-purpose" in str(pod["affinity"])


def test_jsonschema_is_what_finds_a_slip() -> None:
    """Or the test above would show nothing."""
    wrong = json.loads(json.dumps(manifests()[1]))
    wrong["spec"]["selectors"] = {}
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError)):
        kubernetes_validate.validate(wrong, KUBERNETES_VERSION, strict=True)
