"""A hub as the chart of Zero to JupyterHub configures it, on one machine, and the chart's proxy.

The chart's own files are used where the variable KVPROXY_CHART names a folder with them (`helm pull --untar`, or the
folder `jupyterhub` of its repository). Otherwise a configuration of our own has the same shape.
"""

from __future__ import annotations

import copy
import importlib.util
import os
import secrets
import shutil
from pathlib import Path
from typing import Any, Final

import yaml

from kvproxy.testing.hub import HubProcess
from kvproxy.testing.servers import RedisServer, ServerError, free_port
from kvproxy.testing.servers.base import Server, Started
from kvproxy.testing.servers.programs import Program, accepts
from kvproxy.testing.servers.tcp_proxy import TcpProxy
from kvproxy.testing.servers.tls import Certificates
from kvproxy.traefik.static_config import deep_merge

from .deployed import EXAMPLES, HUB_PASSWORD, ExampleHotTraefik, ExampleTraefik

CHART_VARIABLE: Final = "KVPROXY_CHART"
#: The program of configurable-http-proxy, if it is not on PATH.
PROXY_VARIABLE: Final = "KVPROXY_CONFIGURABLE_HTTP_PROXY"
_WHERE: Final = "/usr/local/etc/jupyterhub"
#: Settings of a hub of ours that a machine without Kubernetes needs, by their beginnings.
_OF_THIS_MACHINE: Final = (
    *("JupyterHub.db", "JupyterHub.cookie", "JupyterHub.auth", "JupyterHub.services", "JupyterHub.load_roles"),
    *("JupyterHub.spawner_class", "DummyAuthenticator.", "Authenticator.", "Spawner.", "SimpleLocalProcessSpawner."),
)
_URLS: Final = ("bind", "connect")

#: Settings of the chart that matter to a proxy. `values` are those of Helm.
_SHAPE: Final = """
c.JupyterHub.spawner_class = "kubespawner.KubeSpawner"
c.ConfigurableHTTPProxy.api_url = "http://proxy-api:8001"
c.ConfigurableHTTPProxy.should_start = False
c.JupyterHub.cleanup_servers = False
c.JupyterHub.last_activity_interval = 60
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
c.JupyterHub.db_url = "sqlite:///jupyterhub.sqlite"
c.JupyterHub.hub_bind_url = "http://:8081"
c.JupyterHub.hub_connect_url = "http://hub:8081"
c.JupyterHub.services = []
c.JupyterHub.load_roles = []
c.JupyterHub.cookie_secret = "5a" * 32
for section, settings in values["hub"].get("config", {}).items():
    c[section].update(settings)
for name, code in sorted(values["hub"]["extraConfig"].items()):
    exec(code)
"""


def chart_folder() -> Path | None:
    """The folder with the chart's files, if the variable names one."""
    return Path(named) if (named := os.environ.get(CHART_VARIABLE)) else None


def find_proxy() -> str | None:
    """The program of configurable-http-proxy, the chart's proxy, if there is one here."""
    return shutil.which(os.environ.get(PROXY_VARIABLE, "configurable-http-proxy"))


def example_values() -> dict[str, Any]:
    """examples/kubernetes/values.yaml."""
    values: dict[str, Any] = yaml.safe_load((EXAMPLES / "kubernetes/values.yaml").read_text())
    return values


def chart_hub(
    directory: Path,
    redis: RedisServer,
    traefiks: list[ExampleTraefik],
    proxy_api: str,
    token: str,
    *,
    ours: bool = True,
    hub_port: int = 0,
    hot: ExampleHotTraefik | None = None,
) -> HubProcess:
    """A hub with the chart's configuration and the example's values; addresses are those of this machine.

    Args:
        directory: where all its files go.
        redis: the example's Redis.
        traefiks: the example's Traefiks.
        proxy_api: URL of the API of the chart's proxy.
        token: what that proxy lets its hub in with.
        ours: False for the hub that the chart makes without the example's values.
        hub_port: where the hub listens for the proxy and users' servers; a free port if 0.
        hot: the example's second Traefik, for a hub with two tiers of routes.
    """
    hub_port = hub_port or free_port()
    code = _placed(example_values()["hub"]["extraConfig"]["kvproxy"], redis, traefiks) if ours else ""
    extra = {"kvproxy": code, **(_two_tiers(hot) if hot is not None else {})}
    values = {"hub": {"extraConfig": extra}}
    if (chart := chart_folder()) is not None:
        prelude = _of_the_chart(chart, directory, values)
    else:
        (directory / "values.yaml").write_text(yaml.safe_dump(values))
        prelude = (
            "import pathlib\nimport yaml\n"
            f"values = yaml.safe_load(pathlib.Path({str(directory / 'values.yaml')!r}).read_text())\n{_SHAPE}"
        )
    hub = HubProcess(directory, {"JupyterHub.proxy_class": "configurable-http-proxy"}, config=prelude)
    hub.port = traefiks[0].port
    # Where and for whom it runs here; the chart has said what comes before.
    local = {name: value for name, value in hub._defaults().items() if name.startswith(_OF_THIS_MACHINE)}
    hub.configure({**local, **{f"JupyterHub.hub_{kind}_url": f"http://127.0.0.1:{hub_port}" for kind in _URLS}})
    if not ours:
        hub.configure({"ConfigurableHTTPProxy.api_url": proxy_api})
    hub.environment["REDIS_PASSWORD"] = HUB_PASSWORD
    hub.environment["CONFIGPROXY_AUTH_TOKEN"] = token
    hub.environment["HUB_SERVICE_PORT"] = str(hub_port)
    hub.environment["PROXY_API_SERVICE_PORT"] = proxy_api.rpartition(":")[2]
    return hub


def by_way_of(hub: HubProcess, port: int, certificates: Certificates | None = None) -> HubProcess:
    """The same hub for clients that come by another port, with TLS if there are certificates."""
    other = copy.copy(hub)
    other.port, other.certificates = port, certificates
    return other


def _placed(code: str, redis: RedisServer, traefiks: list[ExampleTraefik]) -> str:
    by = {
        "redis://kvproxy-redis:6379": redis.url,
        '"http://kvproxy-traefik-api:8099"': repr([traefik.api_url for traefik in traefiks]),
    }
    for old, new in by.items():
        assert old in code
        code = code.replace(old, new)
    return code


def _two_tiers(hot: ExampleHotTraefik) -> dict[str, str]:
    values = yaml.safe_load((EXAMPLES / "kubernetes/values-two-tiers.yaml").read_text())
    extra: dict[str, str] = values["hub"]["extraConfig"]
    ((name, code),) = extra.items()
    assert "http://kvproxy-traefik-api:8098" in code
    placed = code.replace("http://kvproxy-traefik-api:8098", hot.api_url)
    return {name: f"{placed}\nc.TraefikProxy.hot_traefik_url = {hot.url!r}\n"}


def _of_the_chart(chart: Path, directory: Path, values: dict[str, Any]) -> str:
    """Code that loads the chart's own configuration, from the files that its pod would have."""
    here = directory / "chart"
    for folder in ("config", "secret"):
        (here / folder).mkdir(parents=True, exist_ok=True)
    for name in ("hub", "proxy-api", "user-scheduler", "priority", "singleuser", "image-pull-secret"):
        (here / "config" / name).write_text(name)
    defaults = yaml.safe_load((chart / "values.yaml").read_text())
    merged = deep_merge(deep_merge(defaults, {"Chart": {"Name": "jupyterhub"}, "Release": {"Name": "hub"}}), values)
    (here / "secret" / "values.yaml").write_text(yaml.safe_dump(merged))
    for name in ("hub.config.JupyterHub.cookie_secret", "hub.config.CryptKeeper.keys"):
        (here / "secret" / name).write_text(secrets.token_hex(32))
    for file in ("jupyterhub_config.py", "z2jh.py"):
        text = (chart / "files/hub" / file).read_text().replace(_WHERE, str(here))
        if importlib.util.find_spec("pycurl") is None:
            text = text.replace('AsyncHTTPClient.configure("tornado.curl_httpclient.CurlAsyncHTTPClient")', "pass")
        (here / file).write_text(text)
    own = f"import sys\nfrom unittest import mock\nsys.path.insert(0, {str(here)!r})\n"
    if importlib.util.find_spec("kubernetes_asyncio") is None:
        own += "sys.modules['kubernetes_asyncio'] = mock.MagicMock()\n"
    return f"{own}load_subconfig({str(here / 'jupyterhub_config.py')!r})\n"


class ChartProxy(Server):
    """The real configurable-http-proxy with the arguments that the chart gives it."""

    def __init__(self, directory: Path, token: str, target: str, hub_port: int, *tls: str) -> None:
        program = find_proxy()
        if program is None:
            raise ServerError(f"No configurable-http-proxy was found; name it in the variable {PROXY_VARIABLE}.")
        self.port, self.api_port = free_port(), free_port()
        command = [
            *(program, "--ip=127.0.0.1", "--api-ip=127.0.0.1", f"--api-port={self.api_port}", f"--port={self.port}"),
            *(f"--default-target={target}", f"--error-target=http://127.0.0.1:{hub_port}/hub/error", *tls),
        ]
        environment = {**os.environ, "CONFIGPROXY_AUTH_TOKEN": token}
        super().__init__(Program(command, directory / "chart-proxy.log", environment), None)

    @property
    def api_url(self) -> str:
        """Where its API is."""
        return f"http://127.0.0.1:{self.api_port}"

    def start(self) -> None:
        """Start it and wait until it listens. Raises ServerError with its last log lines if it does not."""
        self._program.start()
        self._program.wait_ready(lambda: accepts(self.port) and accepts(self.api_port), 20)


class StandIn(Started):
    """A port that passes on to Traefik whatever comes, in the place of the chart's proxy."""

    def __init__(self, target_port: int) -> None:
        self._proxy = TcpProxy(target_port)
        self.port, self.api_url = self._proxy.port, "http://127.0.0.1:9"

    def start(self) -> None:
        """Listen."""
        self._proxy.start()

    def restart(self) -> None:
        """Close all connections, and listen again."""
        self._proxy.stop()
        self._proxy.start()

    def close(self) -> None:
        """Close the port and all connections."""
        self._proxy.stop()
