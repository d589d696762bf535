"""A real HTTP and websocket server that says what reached it."""

from __future__ import annotations

from types import TracebackType

from aiohttp import WSMsgType, web

from kvproxy.testing.servers.loops import LoopThread

_CHUNK = 65536  # bytes


class EchoServer:
    """Answers any request with JSON: name, method, path, headers, body_length (bytes).

    ``path`` is the request target exactly as it stood on the wire, query included. A websocket opened on
    a path that ends in ``/ws`` gets each message back. The server runs in a thread of its own on
    127.0.0.1, on the given port or a free one.

    Example::

        with EchoServer("alice") as server:
            assert requests.get(server.url + "/a%2Fb").json()["path"] == "/a%2Fb"
    """

    def __init__(self, name: str = "echo", port: int = 0):
        self.name = name
        self.port = port
        self.requests = 0
        self._loop: LoopThread | None = None
        self._runner: web.ServerRunner | None = None

    @property
    def url(self) -> str:
        """The server's URL, without a slash at the end. Known once it was started."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> EchoServer:
        """Listen. Raises OSError if the port is taken."""
        self._loop = LoopThread(f"echo-{self.name}")
        try:
            self._loop.run(self._listen())
        except OSError:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """Close all connections and end the thread; nothing happens if it does not run."""
        if self._loop is not None:
            if self._runner is not None:
                self._loop.run(self._runner.cleanup())
            self._loop.stop()
        self._loop = self._runner = None

    def __enter__(self) -> EchoServer:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _listen(self) -> None:
        # No router between: it would judge and rewrite the paths that the tests are about.
        server = web.Server(self._answer, max_line_size=_CHUNK, max_field_size=_CHUNK)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests += 1
        path = request.raw_path
        if path.partition("?")[0].endswith("/ws") and "Upgrade" in request.headers:
            return await self._echo(request)
        length = 0
        async for chunk in request.content.iter_chunked(_CHUNK):
            length += len(chunk)
        headers = dict(request.headers)
        return web.json_response(
            {
                "name": self.name,
                "method": request.method,
                "path": path,
                "headers": headers,
                "body_length": length,
            }
        )

    async def _echo(self, request: web.BaseRequest) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data)
            elif message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
        return socket
