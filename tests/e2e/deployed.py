"""The parts of examples/, on free ports of this machine: their Redis users, their Traefiks, their balancer."""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import tomli_w
import yaml

from kvproxy.testing.servers import RedisServer, TraefikServer, free_port
from kvproxy.testing.servers.haproxy import HaproxyServer
from kvproxy.traefik.static_config import deep_merge

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLES: Final = Path(__file__).parents[2] / "examples"
#: Passwords of Redis' users, as in examples/kubernetes/secret.yaml.
HUB_PASSWORD, TRAEFIK_PASSWORD = "change-me", "change-me-too"


def static_of(example: str) -> dict[str, Any]:
    """Traefik's static configuration in an example."""
    if example == "systemd":
        return tomllib.loads((EXAMPLES / "systemd/traefik.toml").read_text())
    if example == "compose":
        composed = yaml.safe_load((EXAMPLES / "compose/compose.yaml").read_text())
        return tomllib.loads(composed["configs"]["traefik.toml"]["content"])
    return tomllib.loads(_secret()["traefik.toml"])


def _secret(folder: str = "kubernetes") -> dict[str, str]:
    found: dict[str, str] = yaml.safe_load((EXAMPLES / folder / "secret.yaml").read_text())["stringData"]
    return found


def example_redis(folder: str = "kubernetes") -> RedisServer:
    """A Redis with the users of an example for Kubernetes, which survives restarts; it does not run yet."""
    users = [line.removeprefix("user ") for line in _secret(folder)["users.acl"].splitlines()]
    return RedisServer(acl=users, appendonly=True)


class ExampleHotTraefik(TraefikServer):
    """The second Traefik of a pod in examples/kubernetes/two-tiers, beside a Redis with its users.

    Args:
        directory: where its configuration is written.
        redis_port: where its Redis listens.
    """

    def __init__(self, directory: Path, redis_port: int):
        static = tomllib.loads(_secret("kubernetes/two-tiers")["hot.toml"])
        port, api_port = free_port(), free_port()
        #: Where it serves the first Traefik, and where its API is.
        self.url, self.api_url = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{api_port}"
        static["entryPoints"]["hot"]["address"] = f"127.0.0.1:{port}"
        static["entryPoints"]["hot"]["transport"]["lifeCycle"] = {"graceTimeOut": "1s"}
        static["entryPoints"]["auth_api"]["address"] = f"127.0.0.1:{api_port}"
        assert static["providers"]["redis"]["password"] == TRAEFIK_PASSWORD
        static["providers"]["redis"]["endpoints"] = [f"127.0.0.1:{redis_port}"]
        file = directory / "hot.toml"
        file.write_text(tomli_w.dumps(static))
        super().__init__(file, [port, api_port])


class ExampleTraefik(TraefikServer):
    """A Traefik with the static configuration of an example, beside a Redis with the users of examples/kubernetes.

    Args:
        directory: where its configuration is written.
        name: its own name.
        example: name of the example.
        redis_port: where its Redis listens.
        life_cycle: replaces times of the public entry point's `lifeCycle`, which tests cannot wait for.
        extra: merged over the example's configuration, whose entry points are then moved to free ports.
    """

    def __init__(
        self,
        directory: Path,
        name: str,
        example: str,
        redis_port: int,
        life_cycle: Mapping[str, str] | None = None,
        extra: Mapping[str, Any] | None = None,
    ):
        self.port, self.api_port = free_port(), free_port()
        static = deep_merge(static_of(example), extra or {})
        #: Where its other entry points listen, by their names.
        self.ports_of = {name: free_port() for name in set(static["entryPoints"]) - {"http", "auth_api"}}
        assert set(life_cycle or {}) <= set(static["entryPoints"]["http"]["transport"].get("lifeCycle", {}))
        redis = {**static["providers"]["redis"], "endpoints": [f"127.0.0.1:{redis_port}"]}
        redis = {**redis, "username": "traefik", "password": TRAEFIK_PASSWORD}
        redis.pop("sentinel", None)
        points: dict[str, dict[str, Any]] = {
            "http": {"address": f"127.0.0.1:{self.port}", "transport": {"lifeCycle": dict(life_cycle or {})}},
            "auth_api": {"address": f"127.0.0.1:{self.api_port}"},
            **{name: {"address": f"127.0.0.1:{port}"} for name, port in self.ports_of.items()},
        }
        if (trusted := static["entryPoints"]["http"].get("forwardedHeaders")) is not None:
            # The proxies in front of it run on this machine.
            points["http"]["forwardedHeaders"] = {"trustedIPs": [*trusted["trustedIPs"], "127.0.0.0/8"]}
        placed = deep_merge(static, {"entryPoints": points})
        placed["providers"] = {**static["providers"], "redis": redis}
        if not placed["entryPoints"]["http"]["transport"]["lifeCycle"]:
            del placed["entryPoints"]["http"]["transport"]["lifeCycle"]
        file = directory / f"{name}.toml"
        file.write_text(tomli_w.dumps(placed))
        super().__init__(file, [self.port, self.api_port])

    def close(self) -> None:
        """End it at once: it would wait for what is still open."""
        self.kill()

    @property
    def url(self) -> str:
        """Where it serves users."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api_url(self) -> str:
        """Where its API is."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def probe_url(self) -> str:
        """Where Kubernetes asks whether it is ready, by the example's readinessProbe."""
        manifests = yaml.safe_load_all((EXAMPLES / "kubernetes/traefik.yaml").read_text())
        (container,) = next(one for one in manifests if one["kind"] == "Deployment")["spec"]["template"]["spec"][
            "containers"
        ]
        probe = container["readinessProbe"]["httpGet"]
        assert probe["port"] == "http"
        return f"{self.url}{probe['path']}"


def example_balancer(traefiks: Sequence[ExampleTraefik]) -> HaproxyServer:
    """HAProxy as in examples/compose, in front of two Traefiks; it does not run yet."""
    port = free_port()
    text = (EXAMPLES / "compose/haproxy.cfg").read_text().replace("bind :8000", f"bind 127.0.0.1:{port}")
    # It asks for twice as many file descriptors, which a container's limit allows and a machine's may not.
    text = text.replace("maxconn 20000", "maxconn 500")
    for number, traefik in enumerate(traefiks, 1):
        text, count = re.subn(f"traefik-{number}:8000", f"127.0.0.1:{traefik.port}", text)
        assert count == 1
    return HaproxyServer(text, port)
