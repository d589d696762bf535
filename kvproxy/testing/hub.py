"""A real JupyterHub as a process of its own, and a client that uses it as a user's browser would."""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final
from urllib.parse import quote

import aiohttp
import psutil
from yarl import URL

from kvproxy.testing.programs import Program, ServerError, free_port

#: The password of every user of a `HubProcess`.
USER_PASSWORD: Final = "any-user"  # noqa: S105 - a dummy authenticator's, on the loopback interface
#: Marks, in the environment, whatever a hub started, directly or not.
_MARK: Final = "KVPROXY_TEST_HUB"

_START_SECONDS: Final = 90.0
_STOP_SECONDS: Final = 60.0
_SPAWN_SECONDS: Final = 120.0
_RUN_SECONDS: Final = 60.0

_SERVICE: Final = "tester"
_FORM_TOKEN: Final = re.compile(r'name="_xsrf"\s+value="([^"]*)"')


class HubProcess(Program):
    """JupyterHub with JupyterLab for anybody who knows `USER_PASSWORD`, on 127.0.0.1 and free ports.

    directory: where all its files go, its users' homes included; it survives restarts and is not removed.
    settings: configuration by trait, on top of what makes a hub that runs anywhere, e.g.
        ``{"TraefikRedisProxy.redis_url": redis_server.url}``.
    config: Python code that is appended to the configuration file.
    base_url: path that the hub is served below.

    Example::

        with HubProcess(tmp_path, {"TraefikRedisProxy.redis_url": server.url}) as hub:
            async with HubClient(hub, "ada") as ada:
                await ada.log_in()
    """

    def __init__(
        self,
        directory: Path,
        settings: Mapping[str, Any] | None = None,
        *,
        config: str = "",
        base_url: str = "/",
    ):
        self.directory = directory
        self.port = free_port()
        self.api_port = free_port()
        self.base_url = base_url
        self.token = secrets.token_hex(16)
        self.admin = "admin"
        self._log_start = 0
        file = directory / "jupyterhub_config.py"
        self._write(file, {**self._defaults(), **(settings or {})}, config)
        arguments = [sys.executable, "-m", "jupyterhub", "-f", str(file)]
        super().__init__(arguments, directory / "hub.log", {**os.environ, _MARK: str(directory)})

    @property
    def url(self) -> str:
        """The public URL, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}{self.base_url}".rstrip("/")

    @property
    def log_text(self) -> str:
        """What the hub has logged since it was started last, its Traefik's lines included."""
        return self.log.read_bytes()[self._log_start :].decode(errors="replace") if self.log.exists() else ""

    @property
    def static_config_file(self) -> Path:
        """Where the hub writes Traefik's static configuration, unless the settings say otherwise."""
        return self.directory / "traefik.toml"

    def home(self, user: str) -> Path:
        """The home directory of a user, which is what JupyterLab shows."""
        return self.directory / "home" / user

    def start(self) -> None:
        """Start the hub and wait until it answers at its public URL.

        Raises ServerError with the last lines of its log if it ends or does not answer.
        """
        self.launch()
        self.wait_ready(self.answers, _START_SECONDS)

    def launch(self) -> None:
        """Start the hub and return at once."""
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        super().start()

    def answers(self) -> bool:
        """Whether the hub has done all it does at start, and answers at its public URL."""
        if "JupyterHub is now running" not in self.log_text:
            return False  # a signal would not yet be handled
        try:
            with urllib.request.urlopen(f"{self.url}/hub/health", timeout=2) as reply:  # noqa: S310
                return bool(reply.status == 200)
        except OSError:
            return False

    def end(self, number: int = signal.SIGTERM, seconds: float = _STOP_SECONDS) -> int:
        """Ask the hub to stop by a signal and return its exit status. Its users' servers may live on."""
        if self._process is None:
            raise ServerError("The hub is not running.")
        self._process.send_signal(number)
        return self.wait(seconds)

    def wait(self, seconds: float = _STOP_SECONDS) -> int:
        """Wait until the hub has ended by itself and return its exit status.

        Raises TimeoutError if it still runs after that many seconds.
        """
        if self._process is None:
            raise ServerError("The hub is not running.")
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"The hub still runs after {seconds:g} s:\n{self.log_tail()}") from None

    def family(self) -> list[psutil.Process]:
        """The hub's own process and all that it, or an earlier start of it, has started and that still live."""
        return [process for process in psutil.process_iter() if _marked(process, str(self.directory))]

    def close(self) -> None:
        """Stop the hub, and whatever of its family outlives it."""
        self.stop(_STOP_SECONDS)
        family = self.family()
        for process in family:
            with contextlib.suppress(psutil.Error):
                process.kill()
        psutil.wait_procs(family, timeout=10)

    def __enter__(self) -> HubProcess:
        try:
            self.start()
        except ServerError:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _defaults(self) -> dict[str, Any]:
        return {
            "JupyterHub.proxy_class": "traefik_redis",
            "JupyterHub.bind_url": f"http://127.0.0.1:{self.port}{self.base_url}",
            "JupyterHub.hub_bind_url": f"http://127.0.0.1:{free_port()}",
            "JupyterHub.db_url": f"sqlite:///{self.directory}/jupyterhub.sqlite",
            "JupyterHub.cookie_secret_file": f"{self.directory}/cookie_secret",
            "JupyterHub.authenticator_class": "dummy",
            "JupyterHub.allow_named_servers": True,
            "JupyterHub.services": [{"name": _SERVICE, "api_token": self.token}],
            "JupyterHub.load_roles": [{"name": "admin", "services": [_SERVICE]}],
            "TraefikProxy.static_config_file": str(self.static_config_file),
            "TraefikProxy.traefik_api_url": f"http://127.0.0.1:{self.api_port}",
            "DummyAuthenticator.password": USER_PASSWORD,
            "Authenticator.allow_all": True,
            "Authenticator.admin_users": {self.admin},
            **self._spawner_defaults(),
        }

    def _spawner_defaults(self) -> dict[str, Any]:
        return {
            "JupyterHub.spawner_class": "simple",
            "SimpleLocalProcessSpawner.home_dir_template": f"{self.directory}/home/{{username}}",
            "Spawner.ip": "127.0.0.1",
            "Spawner.cmd": [sys.executable, "-m", "jupyterhub.singleuser"],
            "Spawner.args": ["--allow-root"] if os.geteuid() == 0 else [],
            "Spawner.default_url": "/lab",
            "Spawner.environment": {_MARK: str(self.directory)},
            "Spawner.start_timeout": int(_SPAWN_SECONDS),
            "Spawner.http_timeout": int(_SPAWN_SECONDS),
        }

    @staticmethod
    def _write(file: Path, settings: Mapping[str, Any], config: str) -> None:
        lines = ["c = get_config()", *(f"c.{name} = {value!r}" for name, value in settings.items()), config]
        file.touch(0o600)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _marked(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get(_MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False


@dataclass(frozen=True)
class Answer:
    """What came back: status, headers, body, and the URL that it came from after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body read as JSON. Raises ValueError if it is none."""
        return json.loads(self.body)


class HubClient:
    """One user of a hub: logs in as a browser does, and works with servers by the REST API.

    hub: where.
    user: name of the user; made by the first `log_in` or `spawn`.

    Paths are sent as they are given, percent-encoded by the caller, relative to the hub's public URL.
    Use it with ``async with``; see `HubProcess` for an example.
    """

    def __init__(self, hub: HubProcess, user: str):
        self.hub = hub
        self.user = user
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> HubClient:
        limit = aiohttp.ClientTimeout(total=_RUN_SECONDS)
        jar = aiohttp.CookieJar(unsafe=True)  # keeps cookies of an IP address
        self._browser = await self._open(aiohttp.ClientSession(cookie_jar=jar, timeout=limit))
        headers = {"Authorization": f"token {self.hub.token}"}
        self._rest = await self._open(
            aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), headers=headers, timeout=limit)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # -- as a browser

    async def browse(self, path: str, form: Mapping[str, str] | None = None) -> Answer:
        """Open a page with the cookies got so far, following redirects; with a form, submit it."""
        return await _send(self._browser, "POST" if form else "GET", self.hub.url + path, form, redirects=True)

    async def log_in(self, password: str = USER_PASSWORD) -> Answer:
        """Fill in the hub's login form and return the page that follows."""
        token = _FORM_TOKEN.search((await self.browse("/hub/login")).text)
        if token is None:
            raise ServerError("The hub's login page has no form.")
        form = {"username": self.user, "password": password, "_xsrf": html.unescape(token[1])}
        return await self.browse("/hub/login?next=", form)

    # -- the hub's REST API, with a token that may do anything

    async def api(self, method: str, path: str, content: Any = None) -> Answer:
        """Call ``/hub/api`` + path with JSON content."""
        return await self._with_token(method, f"{self.hub.url}/hub/api{path}", content)

    async def spawn(self, server: str = "") -> None:
        """Start the user's server (the default one, or a named one) unless it runs, and wait until it is ready.

        Raises ServerError with the hub's last log lines if it does not become so.
        """
        await self.api("POST", self._user_api)
        if server not in await self.servers():
            await self._start(server)
        deadline = time.monotonic() + _SPAWN_SECONDS
        while not (await self.servers()).get(server, {}).get("ready"):
            await _pause(deadline, f"the server {server!r} of {self.user} is ready\n{self.hub.log_tail()}")

    async def stop_server(self, server: str = "", *, remove: bool = False) -> None:
        """Stop the server and wait until it is gone; with ``remove``, a named server is forgotten too."""
        await self.api("DELETE", self._server_api(server), {"remove": True} if remove else None)
        deadline = time.monotonic() + _STOP_SECONDS
        while server in (await self.servers()):
            await _pause(deadline, f"the server {server!r} of {self.user} stops\n{self.hub.log_tail()}")

    async def servers(self) -> dict[str, Any]:
        """The user's active servers by name, as the hub describes them."""
        servers: dict[str, Any] = (await self.api("GET", self._user_api)).json()["servers"]
        return {name: about for name, about in servers.items() if not about.get("stopped")}

    async def routes(self) -> dict[str, Any]:
        """What the hub says is routed."""
        routes: dict[str, Any] = (await self.api("GET", "/proxy")).json()
        return routes

    async def check_routes(self) -> Answer:
        """Have the hub compare its routes with the proxy's, as it does every few minutes."""
        return await self.api("POST", "/proxy")

    # -- the user's server, through the proxy

    def server_path(self, server: str = "") -> str:
        """Where the server is below the hub's URL, with a slash at its end."""
        return f"/user/{_quote(self.user)}/" + (f"{_quote(server)}/" if server else "")

    async def server_url(self, server: str = "") -> str:
        """Where the server itself listens, around the proxy; ends with a slash."""
        spec = self.hub.base_url.rstrip("/") + self.server_path(server)
        return str((await self.routes())[spec]["target"]) + spec

    async def server(self, method: str, path: str, content: Any = None, server: str = "", base: str = "") -> Answer:
        """Call the server's own REST API, ``path`` below its URL; with ``base``, below that one instead."""
        return await self._with_token(method, (base or self.hub.url + self.server_path(server)) + path, content)

    async def run(self, code: str, server: str = "", kernel: str = "") -> str:
        """What code prints in a kernel, spoken to over the websocket; in a new kernel unless one is given.

        Raises ServerError with the traceback if the code fails.
        """
        kernel = kernel or (await self.server("POST", "api/kernels", {"name": "python3"}, server)).json()["id"]
        url = f"{self.hub.url}{self.server_path(server)}api/kernels/{kernel}/channels"
        request = _execute_request(code)
        async with self._rest.ws_connect(URL(url, encoded=True)) as socket:
            await socket.send_json(request)
            return await _printed(socket, request["header"]["msg_id"])

    # -- below

    async def _start(self, server: str) -> None:
        answer = await self.api("POST", self._server_api(server), {})
        if answer.status not in {201, 202}:
            raise ServerError(f"The hub refuses to start the server ({answer.status}): {answer.text}")

    async def _open(self, session: aiohttp.ClientSession) -> aiohttp.ClientSession:
        return await self._stack.enter_async_context(session)

    @property
    def _user_api(self) -> str:
        return f"/users/{_quote(self.user)}"

    def _server_api(self, server: str) -> str:
        return f"{self._user_api}/servers/{_quote(server)}" if server else f"{self._user_api}/server"

    async def _with_token(self, method: str, url: str, content: Any) -> Answer:
        body = None if content is None else json.dumps(content)
        return await _send(self._rest, method, url, body)


async def _send(
    session: aiohttp.ClientSession, method: str, url: str, body: Any = None, *, redirects: bool = False
) -> Answer:
    async with session.request(method, URL(url, encoded=True), data=body, allow_redirects=redirects) as reply:
        return Answer(reply.status, dict(reply.headers), await reply.read(), str(reply.url))


def _quote(name: str) -> str:
    return quote(name, safe="@~")


async def _pause(deadline: float, what: str) -> None:
    if time.monotonic() > deadline:
        raise ServerError(f"Not in time: {what}")
    await asyncio.sleep(0.2)


def _execute_request(code: str) -> dict[str, Any]:
    header = {
        "msg_id": uuid.uuid4().hex,
        "session": uuid.uuid4().hex,
        "username": "tester",
        "msg_type": "execute_request",
        "version": "5.4",
        "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False, "stop_on_error": True}
    return {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}


async def _printed(socket: aiohttp.ClientWebSocketResponse[bool], request: str) -> str:
    """Collect what a request prints, until its reply and the kernel's return to idleness are both there."""
    printed, missing = [], {"execute_reply", "idle"}
    while missing:
        message = json.loads(await socket.receive_str(timeout=_RUN_SECONDS))
        kind, content = message["header"]["msg_type"], message["content"]
        if message["parent_header"].get("msg_id") != request:
            continue
        if kind == "stream":
            printed.append(content["text"])
        elif kind == "error":
            raise ServerError("The code failed:\n" + "\n".join(content["traceback"]))
        missing -= {content["execution_state"] if kind == "status" else kind}
    return "".join(printed)
