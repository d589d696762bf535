"""The example for Kubernetes: a hub as Zero to JupyterHub's chart configures it, Traefiks, Redis, the chart's proxy.

All run on this machine; there is no cluster. The chart's own files and the real configurable-http-proxy are used where
they are, see `chart.py`; a configuration of the same shape, and a port that passes on, stand in for them elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http.server
import json
import secrets
import ssl
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from kvproxy.testing.hub import HubClient, HubProcess
from kvproxy.testing.servers import Certificates, RedisServer, TraefikServer, free_port
from kvproxy.testing.servers.haproxy import HaproxyServer

from .chart import ChartProxy, StandIn, by_way_of, chart_hub, example_values, find_proxy
from .deployed import EXAMPLES, ExampleHotTraefik, ExampleTraefik, example_balancer, example_redis
from .proxies import until_true

pytestmark = [pytest.mark.hub, pytest.mark.timeout(240)]

#: An Ingress that ends TLS, in front of the chart's proxy or of Traefik.
INGRESS = """
global
    maxconn 500
defaults
    mode http
    timeout connect 2s
    timeout client 1m
    timeout server 1m
    timeout tunnel 1h
frontend users
    bind 127.0.0.1:{port} ssl crt {pem}
    http-request set-header X-Forwarded-Proto https
    http-request set-header X-Forwarded-Port 443
    option forwardfor
    default_backend service
backend service
    server service 127.0.0.1:{target}
"""


#: As the chart's own Traefik, which gets certificates from Let's Encrypt; here it has one already.
WITH_CERTIFICATE = """
[entryPoints.https]
address = "127.0.0.1:{port}"
[providers.file]
filename = "{directory}/dynamic-{port}.toml"
"""
BY_SCHEME = """
[http.middlewares.scheme.headers.customRequestHeaders]
X-Scheme = "https"
[http.routers.default]
entryPoints = ["https"]
rule = "PathPrefix(`/`)"
middlewares = ["scheme"]
service = "default"
tls = {{}}
[[http.services.default.loadBalancer.servers]]
url = "http://127.0.0.1:{target}/"
[tls.stores.default.defaultCertificate]
certFile = "{certificates.server_certificate}"
keyFile = "{certificates.server_key}"
"""


@dataclass
class Cluster:
    """All that runs, and how it is reached."""

    hub: HubProcess
    redis: RedisServer
    traefiks: list[ExampleTraefik]
    #: The Service kvproxy-public.
    public: HaproxyServer
    #: The Service proxy-public.
    proxy: ChartProxy | StandIn
    certificates: Certificates


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[Cluster]:
    """All of it at work; tests share it."""
    directory, token = tmp_path_factory.mktemp("cluster"), secrets.token_hex(16)
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(example_redis())
        traefiks = [stack.enter_context(traefik) for traefik in make_traefiks(directory, redis)]
        public = stack.enter_context(example_balancer(traefiks))
        proxy = stack.enter_context(chart_proxy(directory, token, public.port))
        hub = chart_hub(directory, redis, traefiks, proxy.api_url, token)
        hub.port = proxy.port
        yield Cluster(stack.enter_context(hub), redis, traefiks, public, proxy, certificates)
        assert hub.end() == 0
        assert hub.log_text.partition("Traceback")[2][:3000] == ""


def make_traefiks(directory: Path, redis: RedisServer) -> list[ExampleTraefik]:
    """Two, not started yet, that do not take a minute to end."""
    end = {"graceTimeOut": "1s"}
    return [ExampleTraefik(directory, f"traefik-{number}", "kubernetes", redis.port, end) for number in (1, 2)]


def chart_proxy(directory: Path, token: str, public_port: int) -> ChartProxy | StandIn:
    """The chart's proxy with the example's default target, the Service kvproxy-public; not started yet."""
    assert example_values()["proxy"]["chp"]["defaultTarget"] == "http://kvproxy-public"
    if find_proxy() is None:
        return StandIn(public_port)
    return ChartProxy(directory, token, f"http://127.0.0.1:{public_port}", free_port())


@contextlib.contextmanager
def ingress(cluster: Cluster, target: int) -> Iterator[HubProcess]:
    """The hub as it is reached by an Ingress that ends TLS in front of a Service's port."""
    port, folder = free_port(), cluster.hub.directory
    certificates = cluster.certificates
    pem = folder / f"{port}.pem"
    pem.write_text(certificates.server_certificate.read_text() + certificates.server_key.read_text())
    with HaproxyServer(INGRESS.format(port=port, pem=pem, target=target), port):
        yield by_way_of(cluster.hub, port, certificates)


@contextlib.asynccontextmanager
async def at_work(hub: HubProcess) -> AsyncIterator[HubClient]:
    """Somebody who has logged in and whose server runs; all tests share it."""
    async with HubClient(hub, "ada") as ada:
        assert (await ada.log_in()).status == 200
        if not (await ada.servers()).get("", {}).get("ready"):
            await ada.spawn()
        yield ada


@contextlib.contextmanager
def lets_encrypt(cluster: Cluster, target: int) -> Iterator[HubProcess]:
    """The hub as it is reached by the chart's Traefik that has a certificate."""
    port, directory = free_port(), cluster.hub.directory
    static, dynamic = directory / f"static-{port}.toml", directory / f"dynamic-{port}.toml"
    static.write_text(WITH_CERTIFICATE.format(port=port, directory=directory))
    dynamic.write_text(BY_SCHEME.format(target=target, certificates=cluster.certificates))
    with TraefikServer(static, [port]):
        yield by_way_of(cluster.hub, port, cluster.certificates)


async def test_users_come_by_the_charts_service(cluster: Cluster) -> None:
    """Log-in, a server, its pages, a websocket: all by proxy-public, whose proxy knows no route."""
    async with at_work(cluster.hub) as ada:
        page = await ada.browse("/user/ada/lab")
        assert (page.status, page.url) == (200, f"{cluster.hub.url}/user/ada/lab")
        assert await ada.run("print(6 * 7)") == "42\n"
        # From a user's server: the Services in the cluster, by which dask-gateway and others come.
        for port in (cluster.proxy.port, cluster.public.port):
            url = f"http://127.0.0.1:{port}/hub/api/"
            code = f"import urllib.request as u; print(u.urlopen({url!r}).status)"
            assert await ada.run(code) == "200\n"


@pytest.mark.parametrize("straight", [False, True], ids=["to the chart's Service", "straight to Traefik"])
@pytest.mark.parametrize("front", [ingress, lets_encrypt])
async def test_a_proxy_that_ends_tls_in_front_is_trusted(
    cluster: Cluster, front: Callable[..., Any], straight: bool
) -> None:
    """An Ingress, or the chart's Traefik for Let's Encrypt, in front of either Service: the hub knows of https."""
    with front(cluster, cluster.public.port if straight else cluster.proxy.port) as hub:
        await works_by_https(hub)


async def works_by_https(hub: HubProcess) -> None:
    """Pages, a websocket, and cookies that are for https only."""
    await until_true(functools.partial(answers, f"{hub.url}/hub/health", hub.trust or True), 10)
    async with at_work(hub) as ada:
        page = await ada.browse("/user/ada/lab")
        assert (page.status, page.url) == (200, f"{hub.url}/user/ada/lab")
        assert await ada.run("print(6 * 7)") == "42\n"
        assert all(await secure_cookies(hub, "/user/ada/lab"))


async def secure_cookies(hub: HubProcess, path: str) -> list[bool]:
    """For each cookie that a server gives a stranger: whether it is for https only."""
    async with (
        aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.get(f"{hub.url}{path}", ssl=hub.trust or True, allow_redirects=False) as answer,
    ):
        cookies = SimpleCookie("\n".join(answer.headers.getall("Set-Cookie")))
    assert cookies
    return [bool(cookie["secure"]) for cookie in cookies.values()]


async def test_each_part_may_be_restarted(cluster: Cluster) -> None:
    """One after another; whoever has a server works on by the chart's Service, and a new one can be started after."""
    async with at_work(cluster.hub) as ada:
        works = functools.partial(answers, f"{cluster.hub.url}/user/ada/api")
        assert await works()
        assert cluster.hub.end() == 0
        assert await works()
        cluster.hub.start()
        assert await works()
        for traefik in cluster.traefiks:
            traefik.stop()
            await until_true(works, 10)
            traefik.start()
            await until_true(functools.partial(is_ready, traefik), 30)
        cluster.redis.stop()
        assert await works()
        cluster.redis.start()
        cluster.proxy.restart()
        await until_true(works, 20)
        assert await ada.run("print(6 * 7)") == "42\n"
        await ada.stop_server()
        await ada.spawn()
        assert await works()


async def is_ready(traefik: ExampleTraefik) -> bool:
    """By the URL of its probe."""
    return await answers(traefik.probe_url)


async def leads_to_traefik(public: HaproxyServer) -> bool:
    """The Service has a Traefik that is ready."""
    return await answers(f"http://127.0.0.1:{public.port}/hub/health")


async def answers(url: str, trust: ssl.SSLContext | bool = True) -> bool:
    """With status 200."""
    with contextlib.suppress(aiohttp.ClientError):
        async with aiohttp.ClientSession() as session, session.get(url, ssl=trust) as answer:
            return answer.status == 200
    return False


async def test_two_tiers_with_a_second_traefik_in_the_pod(tmp_path: Path) -> None:
    """As two-tiers/ and values-two-tiers.yaml have it; its users of Redis have the rights. The hub is replaced."""
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(example_redis("kubernetes/two-tiers"))
        hot = stack.enter_context(ExampleHotTraefik(tmp_path, redis.port))
        end = {"graceTimeOut": "1s"}
        traefik = stack.enter_context(ExampleTraefik(tmp_path, "traefik", "kubernetes", redis.port, end))
        made = chart_hub(tmp_path, redis, [traefik], "http://127.0.0.1:9", secrets.token_hex(16), hot=hot)
        hub = stack.enter_context(made)
        async with HubClient(hub, "ada") as ada:
            await ada.log_in()
            await ada.spawn()
            assert await ada.run("print(6 * 7)") == "42\n"
            command = [sys.executable, "-m", "kvproxy", "check", "-f", str(hub.directory / "jupyterhub_config.py")]
            looking = functools.partial(subprocess.run, cwd=hub.directory, env=hub.environment, capture_output=True)
            done = await asyncio.to_thread(looking, command, text=True, timeout=60)
            assert done.returncode == 0, done.stdout + done.stderr
            assert f"{hot.api_url} has loaded the store's latest contents" in done.stdout
            hub.kill()
            assert await ada.run("print(6 * 7)") == "42\n"
            await asyncio.to_thread(hub.start)
            hot.restart()
            await until_true(functools.partial(answers, f"{hub.url}/user/ada/api"), 30)
            assert await ada.run("print(6 * 7)") == "42\n"
        assert hub.end() == 0
        assert hub.log_text.partition("Traceback")[2][:3000] == ""


def test_the_first_look_when_something_is_wrong(cluster: Cluster) -> None:
    """`kvproxy check` with the chart's configuration; with a Traefik away, it says which."""

    config = str(cluster.hub.directory / "jupyterhub_config.py")
    command = [sys.executable, "-m", "kvproxy", "check", "-f", config]

    def look() -> subprocess.CompletedProcess[str]:
        folder, variables = cluster.hub.directory, cluster.hub.environment
        return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=60)

    done = look()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ConfigurableHTTPProxy" not in done.stdout + cluster.hub.log_text
    cluster.traefiks[1].stop()
    try:
        done = look()
        assert done.returncode == 1
        assert f"{cluster.traefiks[1].api_url} cannot be reached" in done.stdout
    finally:
        cluster.traefiks[1].start()


def test_the_running_proxy_is_told_to_pass_everything_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """First what fits no route, then the routes are removed: at no moment does a request lead nowhere."""
    asked: list[tuple[str, str, object]] = []

    class Api(http.server.BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            assert self.headers["Authorization"] == "token of the proxy"
            asked.append((self.command, self.path, json.loads(self.rfile.read(length)) if length else None))
            body = json.dumps({"/": {}, "/user/ada": {}, "/user/a b": {}}).encode() if self.command == "GET" else b""
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = _answer

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            pass_on(monkeypatch, server.server_port, "of the proxy", "http://kvproxy-public")
        finally:
            server.shutdown()
            thread.join()
    assert asked == [
        ("GET", "/api/routes", None),
        ("POST", "/api/routes/", {"target": "http://kvproxy-public"}),
        ("DELETE", "/api/routes/user/a%20b", None),
        ("DELETE", "/api/routes/user/ada", None),
    ]


def pass_on(monkeypatch: pytest.MonkeyPatch, port: int, token: str, target: str) -> None:
    """Run the example's script beside the API of a proxy on this machine."""
    script = (EXAMPLES / "kubernetes/pass-on.py").read_text()
    assert "//proxy-api:" in script
    placed = script.replace("//proxy-api:", "//127.0.0.1:").replace("http://kvproxy-public", target)
    monkeypatch.setenv("PROXY_API_SERVICE_PORT", str(port))
    monkeypatch.setenv("CONFIGPROXY_AUTH_TOKEN", token)
    exec(compile(placed, "pass-on.py", "exec"), {})


async def kernel_answers(socket: aiohttp.ClientWebSocketResponse[bool]) -> bool:
    """Ask a kernel by this websocket; True if it answers."""
    header = {"msg_id": secrets.token_hex(8), "msg_type": "kernel_info_request", "version": "5.4"}
    question = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": {}}
    await socket.send_json(question)
    while message := json.loads(await socket.receive_str(timeout=30)):
        if message["parent_header"].get("msg_id") == header["msg_id"] and message["msg_type"] == "kernel_info_reply":
            return True
    return False


if find_proxy() is not None:

    async def test_a_certificate_in_the_charts_proxy(cluster: Cluster, tmp_path: Path) -> None:
        """`proxy.https.type: manual` or `secret`."""
        tls = (f"--ssl-key={cluster.certificates.server_key}", f"--ssl-cert={cluster.certificates.server_certificate}")
        target = f"http://127.0.0.1:{cluster.public.port}"
        with ChartProxy(tmp_path, "token", target, free_port(), *tls) as proxy:
            await works_by_https(by_way_of(cluster.hub, proxy.port, cluster.certificates))

    @pytest.fixture
    def old_proxy(tmp_path: Path) -> Iterator[Callable[..., ChartProxy]]:
        """Starts the chart's proxy."""
        with contextlib.ExitStack() as stack:
            yield lambda *arguments: stack.enter_context(ChartProxy(tmp_path, *arguments))

    async def test_a_hub_with_users_changes_over_and_back(
        tmp_path: Path, old_proxy: Callable[..., ChartProxy], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the steps of the page, whoever is at work goes on, by the websocket that is open too."""
        token = secrets.token_hex(16)
        with contextlib.ExitStack() as stack:
            redis = stack.enter_context(example_redis())
            traefiks = [stack.enter_context(traefik) for traefik in make_traefiks(tmp_path, redis)]
            public = stack.enter_context(example_balancer(traefiks))
            # The chart's own default target is the hub.
            hub_port = free_port()
            proxy = old_proxy(token, f"http://127.0.0.1:{hub_port}", hub_port)

            def hub_of(ours: bool) -> HubProcess:
                made = chart_hub(tmp_path, redis, traefiks, proxy.api_url, token, ours=ours, hub_port=hub_port)
                made.port = proxy.port
                return stack.enter_context(made)

            hub = hub_of(ours=False)
            async with HubClient(hub, "ada") as ada:
                await ada.log_in()
                await ada.spawn()
                kernel = (await ada.server("POST", "api/kernels", {"name": "python3"})).json()["id"]
                url = f"{hub.url.replace('http', 'ws')}/user/ada/api/kernels/{kernel}/channels"
                own = {"Authorization": f"token {hub.token}"}
                async with (
                    aiohttp.ClientSession() as session,
                    session.ws_connect(url, headers=own) as open_all_along,
                ):
                    assert hub.end() == 0
                    hub = hub_of(ours=True)
                    assert await answers(f"{hub.url}/user/ada/api")
                    await until_true(functools.partial(leads_to_traefik, public), 10)
                    pass_on(monkeypatch, proxy.api_port, token, f"http://127.0.0.1:{public.port}")
                    ada.hub = hub
                    assert await answers(f"{hub.url}/user/ada/api")
                    async with HubClient(hub, "grace") as grace:
                        await grace.log_in()
                        await grace.spawn()
                        assert (await grace.browse("/user/grace/lab")).url == f"{hub.url}/user/grace/lab"
                        assert hub.end() == 0
                        # Back: the hub of the chart, and the proxy as it runs.
                        assert await answers(f"{hub.url}/user/grace/api")
                        hub = hub_of(ours=False)
                        for traefik in traefiks:
                            traefik.stop()
                        grace.hub = ada.hub = hub
                        for user in ("ada", "grace"):
                            assert await answers(f"{hub.url}/user/{user}/api")
                    assert await kernel_answers(open_all_along)
                    await ada.stop_server()
                    hub.end()
