"""A user of a hub that does what a browser would."""

from __future__ import annotations

import asyncio
import contextlib
import html
import json
import re
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import aiohttp
from yarl import URL

from kvproxy.testing.hub.process import USER_PASSWORD
from kvproxy.testing.servers.programs import ServerError

if TYPE_CHECKING:
    from kvproxy.testing.hub.process import HubProcess

_SPAWN_SECONDS: Final = 120.0
_STOP_SECONDS: Final = 60.0
_RUN_SECONDS: Final = 60.0
#: Lines of the hub's log that an error quotes.
_LINES: Final = 30

_FORM_TOKEN: Final = re.compile(r'name="_xsrf"\s+value="([^"]*)"')


@dataclass(frozen=True)
class Answer:
    """An answer: status, headers, body, and the URL that it came from after redirects."""

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
        self._browser = await self._open(
            aiohttp.ClientSession(cookie_jar=jar, timeout=limit, connector=self._connector())
        )
        headers = {"Authorization": f"token {self.hub.token}"}
        none = aiohttp.DummyCookieJar()
        self._rest = await self._open(
            aiohttp.ClientSession(cookie_jar=none, headers=headers, timeout=limit, connector=self._connector())
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    # -- as a browser

    @property
    def session(self) -> aiohttp.ClientSession:
        """The session with the cookies got so far, for websockets, streams, and header fields of the test's own."""
        return self._browser

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
        while not (started := (await self.servers()).get(server, {})).get("ready"):
            if not started:
                raise ServerError(f"The server {server!r} of {self.user} has failed.\n{self._log()}")
            await _pause(deadline, f"the server {server!r} of {self.user} is ready\n{self._log()}")

    async def stop_server(self, server: str = "", *, remove: bool = False) -> None:
        """Stop the server and wait until it is gone; with ``remove``, a named server is forgotten too."""
        await self.api("DELETE", self._server_api(server), {"remove": True} if remove else None)
        deadline = time.monotonic() + _STOP_SECONDS
        while server in (await self.servers()):
            await _pause(deadline, f"the server {server!r} of {self.user} stops\n{self._log()}")

    async def servers(self) -> dict[str, Any]:
        """The user's active servers by name, as the hub describes them."""
        servers: dict[str, Any] = (await self.api("GET", self._user_api)).json()["servers"]
        return {name: about for name, about in servers.items() if not about.get("stopped")}

    async def routes(self) -> dict[str, Any]:
        """Return the hub's list of routes, without ``last_activity``, which changes by itself."""
        routes: dict[str, Any] = (await self.api("GET", "/proxy")).json()
        for route in routes.values():
            route["data"].pop("last_activity", None)
        return routes

    async def check_routes(self) -> Answer:
        """Have the hub compare its routes with the proxy's, as it does every few minutes."""
        return await self.api("POST", "/proxy")

    # -- the user's server, through the proxy

    def server_path(self, server: str = "") -> str:
        """The server's path below the hub's URL, with a slash at its end."""
        return f"/user/{_quote(self.user)}/" + (f"{_quote(server)}/" if server else "")

    async def server_url(self, server: str = "") -> str:
        """The server's own URL, around the proxy; ends with a slash."""
        spec = self.hub.base_url.rstrip("/") + self.server_path(server)
        return str((await self.routes())[spec]["target"]) + spec

    async def server(self, method: str, path: str, content: Any = None, server: str = "", base: str = "") -> Answer:
        """Call the server's own REST API, ``path`` below its URL; with ``base``, below that one instead."""
        return await self._with_token(method, (base or self.hub.url + self.server_path(server)) + path, content)

    async def run(self, code: str, server: str = "", kernel: str = "") -> str:
        """Return the output of code in a kernel, over its websocket; in a new kernel unless one is given.

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

    def _log(self) -> str:
        """The hub's last log lines, without those about this client's own questions."""
        own = f"200 GET {URL(self.hub.base_url).path}hub/api{self._user_api} "
        return "\n".join([line for line in self.hub.log_text.splitlines() if own not in line][-_LINES:])

    def _connector(self) -> aiohttp.TCPConnector:
        return aiohttp.TCPConnector(ssl=self.hub.trust or True)

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
